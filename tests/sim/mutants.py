"""Shows that the simulation bites: each deliberate mutation of the engine must be found by some seed.

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
"""A seed that needs more of the processor than that, ten times the usual, has got stuck."""

LIMIT_S = 600
"""And so has one that takes so long, whatever it waits for."""

STOOD_STILL = "the world stood still"

USED = sorted({scenario for mutation in MUTATIONS for scenario in mutation.scenarios})
ENGINE = Mutation("(the engine as it is)", "nothing", (), None, tuple(USED))


@dataclass
class Verdict:
    """What the seeds said of one mutation."""

    mutation: Mutation
    worlds: int = 0
    found: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    """How many worlds had a divergence of each kind."""

    def add(self, divergences: Iterable[str]) -> None:
        kinds = {kind_of(line) for line in divergences}
        self.worlds += 1
        self.found += bool(kinds)
        self.messages.update(sorted(kinds))


def kind_of(message: str) -> str:
    """A divergence without what differs from one world to the next."""
    line = message.partition("\n")[0]
    if line.startswith(("a bug was logged", "the simulation itself failed")):
        return line.partition(":")[0]
    line = re.sub(r"\(.*", "", line)
    line = re.sub(r"'[^']*'|\bNone\b|\bTrue\b|\bFalse\b", "...", line)
    line = re.sub(
        r"\b(title|name|description|visibility|private|[a-z]*_?type|gear_id) is", "a field is", line
    )
    line = re.sub(r"(stored|left|still \w+|overdue[^:]*|cause|lease|came|wait|shows|has): .*", r"\1", line)
    line = re.sub(r"overdue since \S+", "overdue", line)
    return re.sub(r"\b\d[\d.]*\b", "N", line).strip()


# -- in the child: the worlds of one mutant ------------------------------------------------------------------


def live(scenario: str, seeds: list[int]) -> None:
    """Tell each seed's divergences as a line. A world that gets stuck is ended by a signal."""
    for seed in seeds:
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        result = run_seeds(small(scenario), [seed])[0]
        print(json.dumps(result.divergences), flush=True)


# -- in the parent -------------------------------------------------------------------------------------------


def judge(mutation: Mutation, seeds: list[int]) -> Verdict:
    """Copy the source, mutate it, and let it live in every seed's world."""
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
    """Each seed's divergences. When the child dies, the seed it had begun stood still; the rest follows."""
    path = os.pathsep.join((str(source), str(ROOT / "tests")))
    waiting = list(seeds)
    while waiting:
        command = [sys.executable, "-m", "sim.mutants", "--live", scenario, "--seeds"]
        child = subprocess.run(
            [*command, ",".join(map(str, waiting))],
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        told = [json.loads(line) for line in child.stdout.splitlines()]
        yield from told
        del waiting[: len(told)]
        if waiting:
            last = child.stderr.strip().splitlines()[-1:] if child.returncode > 0 else []
            yield [": ".join((STOOD_STILL, *last))]
            del waiting[0]


def table(verdicts: list[Verdict], seeds: list[int]) -> str:
    """docs/mutations.md."""
    rows = [
        f"| {v.mutation.name} | {v.mutation.breaks} | {v.mutation.guarantee or ''} | "
        f"{', '.join(v.mutation.scenarios)} | {v.found} of {v.worlds} | {_first(v)} |"
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
    parser.add_argument("--jobs", type=int, default=2, help="how many mutants at a time")
    parser.add_argument("--only", metavar="NAME", help="this mutation alone; writes no table")
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
                print(f"{verdict.found:3} of {verdict.worlds:3}  {verdict.mutation.name}", flush=True)
                for kind, count in verdict.messages.most_common(4):
                    print(f"{count:14}  {kind}", flush=True)
                verdicts.append(verdict)
    except MutationDoesNotFit as problem:
        print(problem)
        return 2
    if not chosen.only:
        TABLE.write_text(table(verdicts, seeds))
    return verdict_of(verdicts)


def verdict_of(verdicts: list[Verdict]) -> int:
    """1 when a mutation was found by no world, or the engine as it is by one."""
    wrong = [v for v in verdicts if bool(v.found) == (v.mutation is ENGINE)]
    for verdict in wrong:
        print(f"{verdict.mutation.name}: {'found' if verdict.found else 'not found'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
