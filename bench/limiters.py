"""Compare feedzone with other rate limiters in the same simulated week, within the same limits.

    python -m bench limiters [--days 7] [--seed 0] [--others 0.33] [--write]

Print a table; `--write` writes docs/limiters.md. feedzone's week runs the real engine and takes minutes.
With `--others`, another client uses the same application.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from sim.quota.figures import figures  # noqa: E402  (the simulated world is part of the tests)
from sim.quota.plan import Plan  # noqa: E402
from sim.quota.record import Record  # noqa: E402
from sim.quota.world import live  # noqa: E402

from . import rivals  # noqa: E402

PAGE = ROOT / "docs" / "limiters.md"

RUN_IN_DAYS = 1

RIVALS: dict[str, Callable[[rivals.Clock], rivals.Policy]] = {
    "stravalib, priority high (its default)": partial(rivals.Stravalib, priority="high"),
    "stravalib, priority medium": partial(rivals.Stravalib, priority="medium"),
    "stravalib, priority low": partial(rivals.Stravalib, priority="low"),
    "stravalib, high, waking on time": partial(rivals.StravalibOnTime, priority="high"),
    "stravalib, medium, waking on time": partial(rivals.StravalibOnTime, priority="medium"),
    "stravalib, low, waking on time": partial(rivals.StravalibOnTime, priority="low"),
    "sleep(0.5) between calls": partial(rivals.FixedSleep, seconds=0.5),
    "sleep(1) between calls": partial(rivals.FixedSleep, seconds=1.0),
    "sleep(9): 100 calls in 15 minutes": partial(rivals.FixedSleep, seconds=9.0),
    "sleep(86.4): 1000 calls in a day": partial(rivals.FixedSleep, seconds=86.4),
    "exponential backoff on 429": partial(rivals.Backoff, rng=random.Random(1)),
}

HEAD = """\
| | reads used of a day's quota: mean (worst day) | answers 429 a day: mean (worst) | activities done a day \
| a new activity is stored after: median | p99 |
|---|---|---|---|---|---|
"""

ABOUT = """\
# The rate limit: feedzone and the limiters in use today

`python -m bench limiters --write` (`make limiters`) writes this page.

A simulated week with real windows: {athletes} athletes upload {uploads:g} times a day each, in the morning
and in the evening, and each has a backfill of {years:g} years under way. The limits are those of a new
application: 100 reads a quarter of an hour, 1,000 a day. There is more to fetch than that allows. A good
limiter uses all of it, causes few refusals, and lets a new activity overtake the old ones.

The table counts whole UTC days, from the second day on. The first day would reward a limiter that uses a
day's quota up by noon and postpones the afternoon's uploads. *Reads used* are answered calls, ours and
others', as a share of the day's quota. *Activities done* have their detail and streams. Times run from
the event to the stored detail, over all events, including those that found the day's quota used up.
"""

HOW = """\
## How the rivals are modelled

The row of feedzone is the engine itself: {processes} processes on one database, over a simulated network,
against the sandbox (`tests/sim/quota/`). For {warm_up:g} days before the week there is no backfill, so it can
learn how much is uploaded at which hour.

The others are models (`bench/rivals.py`): one worker process with one queue. New activities have the
highest priority, then rechecks, then backfill. Calls are counted by the same code (the sandbox's `Meter`),
and the same uploads come at the same times.

- stravalib's limiter is the installed package's own code with a simulated clock. It wakes within the last
  second of a window and is refused. If such a refusal arrives after midnight, the limiter counts it
  towards the new day, and sleeps through that day. *Waking on time* is the same code, but a sleep that
  ends in that last second lasts until the window ends.
- Fixed sleeps try again a quarter of an hour after a 429.
- Backoff tries again after 1, 2, 4 and so on up to 900 seconds.

All have the same work: a detail and streams for each activity, three rechecks of a new one, a
reconciliation of each athlete every six hours, and one read of the gear a day. A rival's reconciliation
takes two list calls. Three of four of feedzone's take one, if nothing has changed, and feedzone has
learned not to fetch at once an object that is never ready at once. Without those two savings it did 338
activities a day, counted from the first day on, and the best rival did 391. The models favour the rivals:
they lose nothing, never stop, and each refusal carries the headers that say how long to wait.

If another program uses the same application (`--others 0.33`), a limiter that calls in bursts at the
beginning of a window takes the calls of the other program. feedzone does not: it then makes one call at a
time and meets at most one 429 a window. The other program's calls reduce what feedzone can do.
"""


def row(name: str, record: Record) -> str:
    """Return one row of the table."""
    results = figures(checked(record), first=RUN_IN_DAYS)
    days = [day for day in results.days if day.full]
    shares = [day.share for day in days]
    refused = [day.refused for day in days]
    cells = (
        name,
        f"{sum(shares) / len(days):.1%} ({min(shares):.1%})",
        f"{sum(refused) / len(days):.1f} ({max(refused)})",
        f"{results.done_a_day:.0f}",
        duration(results.percentile(0.5, gone=True)),
        duration(results.percentile(0.99, gone=True)),
    )
    return f"| {' | '.join(cells)} |"


def duration(seconds: float) -> str:
    """Return a duration in the unit that people would choose."""
    if math.isinf(seconds):
        return "never"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def compare(seed: int, plan: Plan) -> str:
    """Return the table of feedzone and all other limiters."""
    lines = [row("**feedzone**", live(seed, plan))]
    lines += [row(name, rivals.run(seed, plan, policy)) for name, policy in RIVALS.items()]
    return HEAD + "\n".join(lines) + "\n"


def checked(record: Record) -> Record:
    """Return the record; exit if the simulation failed or the backfill ended before the week did."""
    if record.crashes:
        sys.exit(f"the simulation failed: {record.crashes[0]}")
    if not record.looks[-1].left:
        sys.exit("the backfill ended before the week did: use fewer --days")
    return record


def page(seed: int, plan: Plan) -> str:
    about = ABOUT.format(athletes=plan.athletes, years=plan.history_days / 365, uploads=plan.uploads_a_day)
    how = HOW.format(processes=plan.processes, warm_up=plan.warm_up_days)
    return "\n".join((about, compare(seed, plan), how))


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench limiters")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--history-days", type=int, default=Plan().history_days)
    parser.add_argument(
        "--others", type=float, default=0.0, help="the share of the quota that another client asks for"
    )
    parser.add_argument("--rivals", action="store_true", help="only the models, which take seconds")
    parser.add_argument("--write", action="store_true", help="write docs/limiters.md")
    options = parser.parse_args(arguments)
    days = options.days + RUN_IN_DAYS
    plan = Plan(days=days, history_days=options.history_days, others=options.others)
    if options.rivals:
        for name, policy in RIVALS.items():
            print(row(name, rivals.run(options.seed, plan, policy)), flush=True)
        return
    if options.write and plan.others:
        parser.error("--write: the page describes an application with a single client")
    text = page(options.seed, plan)
    print(text)
    if options.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
