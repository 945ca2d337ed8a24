"""Run seeds and print a summary of each: `python -m sim.quota --seeds 0-4 --days 3 --others 0.33`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields

from feedzone.sandbox import Limits

from ..runner import seeds_of
from .figures import figures, summary
from .plan import Plan
from .world import live


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    defaults = Plan()
    parser = argparse.ArgumentParser(prog="python -m sim.quota", description=__doc__)
    parser.add_argument("--seeds", default="0", help="7, 0-4 or 3,5,9")
    parser.add_argument("--jobs", type=int, default=1, help="the number of seeds that run at a time")
    for name in ("days", "athletes", "history_days", "processes"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    for name in ("warm_up_days", "uploads_a_day", "per_week", "lost", "others"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(defaults, name))
    parser.add_argument("--short", type=int, default=defaults.limits.read_short, help="reads a window")
    parser.add_argument("--daily", type=int, default=defaults.limits.read_daily, help="reads a day")
    parser.add_argument("--staggered", action="store_true", help="backfills of different lengths")
    parser.add_argument("--until-done", action="store_true", help="stop when all backfills are complete")
    return parser.parse_args(arguments)


def plan_of(chosen: argparse.Namespace) -> Plan:
    values = {
        field.name: getattr(chosen, field.name) for field in fields(Plan) if hasattr(chosen, field.name)
    }
    limits = Limits(2 * chosen.short, 2 * chosen.daily, chosen.short, chosen.daily)
    return Plan(**values, limits=limits)


def summary_of(seed: int, plan: Plan) -> str:
    record = live(seed, plan)
    return summary(record, figures(record))


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    seeds, plan = seeds_of(chosen.seeds), plan_of(chosen)
    if chosen.jobs == 1:
        for seed in seeds:
            print(summary_of(seed, plan), flush=True)
        return 0
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for text in pool.map(summary_of, seeds, [plan] * len(seeds)):
            print(text, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
