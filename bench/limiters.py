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
    "stravalib, high, were it to wake on time": partial(rivals.StravalibOnTime, priority="high"),
    "stravalib, medium, on time": partial(rivals.StravalibOnTime, priority="medium"),
    "stravalib, low, on time": partial(rivals.StravalibOnTime, priority="low"),
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
# The rate limit: feedzone and what people use today

`python -m bench limiters --write` (`make limiters`) makes this page.

A simulated week with real windows: {athletes} athletes with {years:g} years of history each, all of which
is asked for, upload {uploads:g} times a day each, in the morning and evening. The limits are those of a new
application: 100 reads a quarter of an hour, 1,000 a day. There is more to fetch than that allows, so a
limiter can be judged by how much of it is used, by what Strava refuses, and by how long a new activity
waits behind the old ones.

Counted are whole UTC days, from the second on: whoever spends a day's quota by noon puts off what the
afternoon brings, and the first day would count that as a gain. *Reads used* are calls that Strava answered,
ours and others', as a share of the day's quota; *activities done* have their detail and streams; times are
from the event to the stored detail, of all events, also of those for which a spent day left nothing.
"""

HOW = """\
## What was modelled, and how

The line of feedzone is the engine itself: {processes} processes on one database, over a simulated network,
against the sandbox (`tests/sim/quota/`), after {warm_up:g} days without any history to fetch, in which it
could learn how much is uploaded at which hour. The others are models (`bench/rivals.py`): one worker
process with one queue, in which new activities go first, then later looks, then history, against the same
counting of calls (the sandbox's `Meter`) and the same uploads at the same times. stravalib's limiter is the
installed package's own code, run with a simulated clock: it wakes within the last second of a window, is
refused there, and where such a refusal arrives after midnight it is taken for one of the new day, which is
then slept through; *on time* is the same code for which such a moment lasts until the window ends. Fixed
sleeps try again a quarter of an hour after a 429, backoff after 1, 2, 4 and so on up to 900 seconds. All of
them have the same to do: a detail and streams for each activity, three later looks at a new one, a comparison
of each athlete every six hours, one look a day at the gear. A rival's comparison is two list calls; three of
four of feedzone's are one, as long as nothing has changed, and it has learned before not to ask at once for
what is never there yet. Without those two savings it did 338 activities a day, counted from the first day on,
where the best rival did 391. Rivals are treated kindly: they lose nothing, never stop, and a refusal always
carries the headers that tell them how long to wait.

Where somebody else uses the same application (`--others 0.33`), whoever asks in bursts at a window's begin
takes the calls that the other wanted. feedzone does not: it makes one call at a time then, meets at most one
429 a window, and what the other takes is missing in what it can do.
"""


def row(name: str, record: Record) -> str:
    """Return one row of the table."""
    results = figures(checked(record), first=RUN_IN_DAYS)
    days = [day for day in results.days if day.whole]
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
