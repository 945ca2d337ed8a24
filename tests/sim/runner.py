"""Run many seeds in several processes; print a summary, and the command that replays each failure."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import groupby
from multiprocessing.util import Finalize
from operator import attrgetter
from pathlib import Path

from .scenario import SCENARIOS, Scenario, small
from .simulation import Result, simulate
from .storage import make_template, workplace

MAX_SHOWN = 12
"""Divergences printed of one seed."""


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sim", description=__doc__)
    parser.add_argument("--seeds", default="0-299", help="7, 0-299 or 3,5,9")
    parser.add_argument("--scenario", default="hostile", choices=[*SCENARIOS, "all"])
    parser.add_argument("--small", action="store_true", help="the small worlds of the test suite")
    parser.add_argument("--days", type=float)
    parser.add_argument("--athletes", type=int)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--acts-a-day", type=float, dest="acts_a_day", help="actions of each athlete a day")
    parser.add_argument("--settle-hours", type=float, dest="settle_hours")
    parser.add_argument("--jobs", type=int, default=2, help="the number of seeds that run at a time")
    parser.add_argument("--trace", action="store_true", help="print all that happens in one seed")
    parser.add_argument("--profile", action="store_true", help="show where the time of one seed goes")
    return parser.parse_args(arguments)


def seeds_of(text: str) -> list[int]:
    """Return the seeds of a text such as `7`, `0-299` or `3,5,9`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds.extend(range(int(first), int(last or first) + 1))
    return seeds


def scenarios_of(chosen: argparse.Namespace) -> list[Scenario]:
    names = list(SCENARIOS) if chosen.scenario == "all" else [chosen.scenario]
    options = ("days", "athletes", "processes", "settle_hours", "acts_a_day")
    sizes = {option: getattr(chosen, option) for option in options if getattr(chosen, option) is not None}
    return [replace(small(name) if chosen.small else SCENARIOS[name], **sizes) for name in names]


def replay_command(result: Result) -> str:
    """Return the command that replays the seed exactly."""
    scenario = result.scenario
    world = f"make sim SEEDS={result.seed} SCENARIO={scenario.name}"
    if scenario == small(scenario.name):
        return f"{world} SMALL=1 MORE=--trace"
    return (
        f"{world} DAYS={scenario.days:g} "
        f"ATHLETES={scenario.athletes} PROCESSES={scenario.processes} "
        f"SETTLE={scenario.settle_hours:g} ACTS={scenario.acts_a_day:g} MORE=--trace"
    )


@cache
def _files_of(_process: int) -> tuple[Path, Path]:
    """Return the folder and template that all worlds of a process share. They stay until it ends."""
    folder = workplace()
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)
    return folder, make_template(folder)


def run_seeds(scenario: Scenario, seeds: list[int]) -> list[Result]:
    """Run the seeds one after the other in this process."""
    folder, template = _files_of(os.getpid())
    return [simulate(seed, scenario, template, folder) for seed in seeds]


def _chunks(seeds: list[int], jobs: int) -> list[list[int]]:
    size = max(1, min(10, len(seeds) // (jobs * 2)))
    return [seeds[n : n + size] for n in range(0, len(seeds), size)]


def run_all(scenarios: list[Scenario], seeds: list[int], jobs: int) -> Iterator[Result]:
    """Yield the results, scenario by scenario."""
    if jobs == 1 or len(seeds) * len(scenarios) == 1:
        for scenario in scenarios:
            yield from run_seeds(scenario, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        chunks = [(scenario, chunk) for scenario in scenarios for chunk in _chunks(seeds, jobs)]
        for results in pool.map(run_seeds, *zip(*chunks, strict=True)):
            yield from results


def report(result: Result) -> str:
    lines = [f"seed {result.seed} ({result.scenario.name}): {len(result.divergences)} divergences"]
    lines += [f"    {line}" for line in result.divergences[:MAX_SHOWN]]
    if len(result.divergences) > MAX_SHOWN:
        lines.append(f"    and {len(result.divergences) - MAX_SHOWN} more")
    lines.append(f"  replay: {replay_command(result)}")
    return "\n".join(lines)


def summary(results: list[Result], elapsed: float) -> str:
    failing = [result for result in results if result.divergences]
    totals = Counter[str]()
    for result in results:
        for name in ("calls", "events", "deliveries", "jobs", "kills", "transactions", "answered_429"):
            totals[name] += getattr(result, name)
    hours, seconds = sum(r.hours for r in results), sum(r.seconds for r in results)
    figures = ", ".join(
        f"{count:,} {name.replace('answered_', 'answers ')}" for name, count in totals.items()
    )
    return (
        f"{len(results)} seeds, {len(failing)} with divergences "
        f"({sum(len(r.divergences) for r in failing)} divergences in all)\n"
        f"{figures}\n"
        f"{hours:,.0f} simulated hours in {elapsed:.1f} s ({seconds:.1f} s of work): "
        f"{hours / max(elapsed, 1e-9):,.0f} simulated hours per second"
    )


def line_of(name: str, results: list[Result]) -> str:
    """Return the summary line of one scenario among several."""
    failing = [result for result in results if result.divergences]
    calls, jobs = sum(result.calls for result in results), sum(result.jobs for result in results)
    return (
        f"{name}: {len(results)} seeds, {len(failing)} with divergences, {calls:,} calls, {jobs:,} jobs, "
        f"{sum(result.seconds for result in results):.1f} s of work"
    )


def main(arguments: list[str] | None = None) -> int:
    chosen = options(arguments)
    seeds, scenarios = seeds_of(chosen.seeds), scenarios_of(chosen)
    if chosen.trace or chosen.profile:
        return _run_one(scenarios[0], seeds[0], trace=chosen.trace, profile=chosen.profile)
    began, results = time.perf_counter(), []
    by_scenario = groupby(run_all(scenarios, seeds, chosen.jobs), key=attrgetter("scenario.name"))
    for name, group in by_scenario:
        results_of_scenario = []
        for result in group:
            results_of_scenario.append(result)
            if result.divergences:
                print(report(result), flush=True)
        if len(scenarios) > 1:
            print(line_of(name, results_of_scenario), flush=True)
        results += results_of_scenario
    print(summary(results, time.perf_counter() - began))
    return 1 if any(result.divergences for result in results) else 0


def _run_one(scenario: Scenario, seed: int, *, trace: bool, profile: bool) -> int:
    folder = workplace()
    try:
        template: Path = make_template(folder)
        if profile:
            import cProfile
            import pstats

            profiler = cProfile.Profile()
            result = profiler.runcall(simulate, seed, scenario, template, folder)
            pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(45)
        else:
            result = simulate(seed, scenario, template, folder, print_line=print if trace else None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(report(result) if result.divergences else f"seed {seed}: no divergence")
    print(f"trace {result.digest}")
    print(summary([result], result.seconds))
    return 1 if result.divergences else 0
