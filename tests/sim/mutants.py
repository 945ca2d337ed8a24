"""Check the simulation: at least one world must find each deliberate mutation of the engine.

`python -m sim.mutants --seeds 0-19 --jobs 2 [--only NAME]`; the result is docs/mutations.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .mutations import MUTATIONS, Mutation, MutationDoesNotFit
from .runner import run_seeds, seeds_of
from .scenario import small

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "mutations.md"

CPU_LIMIT_S = 40
"""A seed that needs more CPU time hangs: this is ten times the usual."""

WALL_LIMIT_S = 600
"""So does a seed that takes more wall time."""

NEXT_SECTION = "## Small mistakes everywhere"
"""The table of tests/planted, in the same document."""

CRASHED = "the world crashed or hung"

USED = sorted({scenario for mutation in MUTATIONS for scenario in mutation.scenarios})
ENGINE = Mutation("(the engine as it is)", "nothing", (), None, tuple(USED))


@dataclass
class Verdict:
    """The result of one mutation in all its worlds."""

    mutation: Mutation
    worlds: int = 0
    finds: int = 0
    """The number of worlds with a divergence."""
    messages: Counter[str] = field(default_factory=Counter)
    """The number of worlds with each kind of divergence."""

    def add(self, divergences: Iterable[str]) -> None:
        kinds = {kind_of(line) for line in divergences}
        self.worlds += 1
        self.finds += bool(kinds)
        self.messages.update(sorted(kinds))


def kind_of(message: str) -> str:
    """Return a divergence message without the parts that differ between worlds."""
    line = message.partition("\n")[0]
    if line.startswith(("a bug was logged", "the simulation itself failed")):
        return line.partition(":")[0]
    line = re.sub(r"\(.*", "", line)
    line = re.sub(r"'[^']*'|\bNone\b|\bTrue\b|\bFalse\b", "...", line)
    line = re.sub(
        r"\b(title|name|description|visibility|private|[a-z]*_?type|gear_id) is", "a field is", line
    )
    line = re.sub(
        r"(stored|left|still \w+|overdue[^:]*|cause|lease|arrived|wait|shows|it|them|dead letter): .*",
        r"\1",
        line,
    )
    line = re.sub(r"overdue since \S+", "overdue", line)
    return re.sub(r"\b\d[\d.]*\b", "N", line).strip()


# -- in the child: the worlds of one mutant ------------------------------------------------------------------


def live(scenario: str, seeds: list[int]) -> None:
    """Print each seed's divergences as a line of JSON. A signal ends a world that hangs."""
    for seed in seeds:
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)
        signal.setitimer(signal.ITIMER_REAL, WALL_LIMIT_S)
        result = run_seeds(small(scenario), [seed])[0]
        print(json.dumps(result.divergences), flush=True)


# -- in the parent -------------------------------------------------------------------------------------------


def judge(mutation: Mutation, seeds: list[int]) -> Verdict:
    """Copy the source, mutate the copy, and run it in every seed's world."""
    folder = Path(tempfile.mkdtemp(prefix="feedzone-mutant-"))
    try:
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        mutation.apply(folder / "src" / "feedzone")
        verdict = Verdict(mutation)
        for scenario in mutation.scenarios:
            for divergences in _worlds(folder / "src", scenario, seeds):
                verdict.add(divergences)
        return verdict
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _worlds(source: Path, scenario: str, seeds: list[int]) -> Iterable[list[str]]:
    """Yield each seed's divergences.

    If the child process dies, its current seed counts as crashed, and a new child runs the others.
    """
    path = os.pathsep.join((str(source), str(ROOT / "tests")))
    remaining = list(seeds)
    while remaining:
        command = [sys.executable, "-m", "sim.mutants", "--live", scenario, "--seeds"]
        child = subprocess.run(
            [*command, ",".join(map(str, remaining))],
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        results = [json.loads(line) for line in child.stdout.splitlines()]
        yield from results
        del remaining[: len(results)]
        if remaining:
            last = child.stderr.strip().splitlines()[-1:] if child.returncode > 0 else []
            yield [": ".join((CRASHED, *last))]
            del remaining[0]


def table(verdicts: list[Verdict], seeds: list[int]) -> str:
    """Return the text of docs/mutations.md."""
    rows = [
        f"| {v.mutation.name} | {v.mutation.breaks} | {v.mutation.guarantee or ''} | "
        f"{', '.join(v.mutation.scenarios)} | {v.finds} of {v.worlds} | {_first(v)} |"
        for v in verdicts
    ]
    return "\n".join((INTRODUCTION.format(first=seeds[0], last=seeds[-1]), *rows, ""))


def _first(verdict: Verdict) -> str:
    if not verdict.messages:
        return ""
    kind, count = verdict.messages.most_common(1)[0]
    return f"{kind} ({count})"


INTRODUCTION = """\
# Deliberate mutations

Does the [simulated world](simulation.md) find mistakes? Each row is the engine with one deliberate mistake
(`tests/sim/mutations.py`), and says how many small worlds (half a day, two athletes) found it. The third
column is the guarantee in [ARCHITECTURE.md](../ARCHITECTURE.md) that the mistake breaks. The first row is
the engine without a mistake. `make mutants` writes this table, and fails if no world finds a mutation.

Seeds {first} to {last}:

| Mutation | Effect | Guarantee | Worlds | Found by | Most frequent finding (number of worlds) |
|---|---|---|---|---|---|"""


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sim.mutants", description=__doc__)
    parser.add_argument("--seeds", default="0-19", help="7, 0-299 or 3,5,9")
    parser.add_argument("--jobs", type=int, default=2, help="the number of mutants that run at a time")
    parser.add_argument("--only", metavar="NAME", help="run this mutation alone, and write no table")
    parser.add_argument("--live", metavar="SCENARIO", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    chosen = options(arguments)
    seeds = seeds_of(chosen.seeds)
    if chosen.live:
        live(chosen.live, seeds)
        return 0
    mutants = [ENGINE, *MUTATIONS]
    if chosen.only and not (mutants := [m for m in mutants if m.name == chosen.only]):
        print(f"no mutation is called {chosen.only!r}; there are: {', '.join(m.name for m in MUTATIONS)}")
        return 2
    try:
        with ThreadPoolExecutor(chosen.jobs) as pool:
            verdicts = []
            for verdict in pool.map(judge, mutants, [seeds] * len(mutants)):
                print(f"{verdict.finds:3} of {verdict.worlds:3}  {verdict.mutation.name}", flush=True)
                for kind, count in verdict.messages.most_common(4):
                    print(f"{count:14}  {kind}", flush=True)
                verdicts.append(verdict)
    except MutationDoesNotFit as problem:
        print(problem)
        return 2
    if not chosen.only:
        rest = TABLE.read_text().partition(NEXT_SECTION)
        TABLE.write_text("\n".join((table(verdicts, seeds), *filter(None, ["".join(rest[1:])]))))
    return verdict_of(verdicts)


def verdict_of(verdicts: list[Verdict]) -> int:
    """Return 1 if no world found a mutation, or if a world found a divergence of the engine as it is."""
    wrong = [v for v in verdicts if bool(v.finds) == (v.mutation is ENGINE)]
    for verdict in wrong:
        print(f"{verdict.mutation.name}: {'found' if verdict.finds else 'not found'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
