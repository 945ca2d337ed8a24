"""Measure feedzone and its peers in interleaved rounds, and print one table.

    python -m bench [--quick] [--rounds 3] [--minutes 30] [--only door,peer] [--write] [--check]

`--write` puts the table into docs/benchmarks.md, `--check` fails below half of a goal. Every program stores
durably, and what it stored is counted: a lost or doubled event ends the run with an error.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .cases import QUICK, Bench, Case, Sizes, cases, lines
from .databases import databases
from .peers import doors
from .peers.installed import install
from .table import Key, far_below, table

QUICK_MIN = 2.3
"""Minutes after which a quick run begins no further case, so that it ends within three."""

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PLACE = re.compile(r"(<!-- make bench: begin -->\n).*?(<!-- make bench: end -->)", re.S)


def plan(all_cases: Sequence[Case], rounds: int, *, quick: bool, only: Sequence[str] = ()) -> list[Case]:
    """Return the cases in the order in which they run: round by round, then what runs once."""
    chosen = [case for case in all_cases if not only or any(case.name.startswith(name) for name in only)]
    often, once = ([case for case in chosen if case.once is only_once] for only_once in (False, True))
    return often * rounds + ([] if quick else once)


def without_peers(all_cases: Sequence[Case]) -> tuple[list[Case], list[str]]:
    """Leave out the peers whose programs this machine lacks; say which."""
    absent = {f"peer {peer.name}": peer.needs() for peer in doors.PEERS if peer.needs()}
    words = [
        f"{name.removeprefix('peer ')} is left out: {', '.join(programs)} is not installed."
        for name, programs in absent.items()
    ]
    return [case for case in all_cases if case.name not in absent], words


def machine() -> str:
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load average {load}"
    )


def run(chosen: Any) -> int:
    sizes = QUICK if chosen.quick else Sizes()
    sizes = replace(sizes, rounds=chosen.rounds or sizes.rounds)
    install()
    present, notes = without_peers(cases())
    only = [name for name in chosen.only.split(",") if name]
    order = plan(present, sizes.rounds, quick=chosen.quick, only=only)
    within_min = chosen.minutes or (QUICK_MIN if chosen.quick else math.inf)
    figures: dict[Key, list[float]] = {}
    began, before = time.monotonic(), machine()
    stopped = False
    try:
        with databases() as maker:
            bench = Bench(maker, sizes, lambda key, value: figures.setdefault(key, []).append(value))
            for done, case in enumerate(order):
                if (time.monotonic() - began) / 60 > within_min:
                    missing = ", ".join(dict.fromkeys(case.name for case in order[done:]))
                    notes.append(f"Left out, because the time was over: {missing}.")
                    break
                at = time.monotonic()
                case.run(bench)
                print(f"{case.name}: {time.monotonic() - at:.0f} s", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        stopped = True
        notes.append("Stopped before the end.")
    times = "one round" if sizes.rounds == 1 else f"medians of {sizes.rounds} interleaved rounds"
    text = "\n".join(
        [f"{before} at the beginning and {machine().rpartition(' ')[2]} at the end; {times}.", *notes]
    )
    text += "\n\n" + table(lines(), figures) + "\n"
    print(text)
    if chosen.write and not stopped:
        PAGE.write_text(PLACE.sub(lambda found: found[1] + text + found[2], PAGE.read_text()))
    below = far_below(lines(), figures) if chosen.check else []
    for line in below:
        print(f"below half of its goal: {line.measure}: {line.program}", file=sys.stderr)
    return 1 if below or stopped else 0


def _stop(_number: int, _frame: object) -> None:
    """End as Ctrl-C does, so that every program stops."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float, help="begin nothing after so many minutes")
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    signal.signal(signal.SIGTERM, _stop)
    return run(parser.parse_args(arguments))
