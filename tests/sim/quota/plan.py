"""The size of the world, and all uploads and calls of others in it: the seed decides them in advance."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from feedzone.sandbox import Limits

from ..process import EPOCH

DAY_S = 86_400
QUARTER_S = 900
HOUR_S = 3600

ZONES_H = (-8, -5, 0, 1, 9)
"""The athletes of a small application live near its author, so each world has one of these time zones."""

WEEKDAY = ((0.35, 6.75, 0.7), (0.15, 12.4, 0.5), (0.5, 18.5, 1.3))
WEEKEND = ((0.6, 10.0, 1.7), (0.25, 15.5, 1.5), (0.15, 19.0, 1.0))
"""When athletes upload: the share of uploads, the local hour, and its standard deviation in hours."""

SPORTS = ("Run", "Ride", "Walk", "WeightTraining")
LATEST_LOCAL_H = 23.9


@dataclass(frozen=True)
class Plan:
    """The size of the world.

    At any time of one UTC day all backfills are requested; `days` whole days follow.
    """

    days: int = 3
    warm_up_days: float = 3.0
    """The days in which athletes are connected and upload, before their backfills are requested."""
    athletes: int = 10
    uploads_a_day: float = 5.0
    history_days: int = 6 * 365
    staggered: bool = False
    """Whether the backfills have different lengths: each athlete has more history, the last one all of it."""
    per_week: float = 3.9
    processes: int = 4
    limits: Limits = field(default_factory=Limits)
    lost: float = 0.0
    """The share of uploads whose event is lost: only a comparison finds them."""
    others: float = 0.0
    """The share of each day's reads that another program wants to use."""
    until_done: bool = False
    """Whether the world ends with the last backfill."""

    def history_of(self, number: int) -> int:
        return self.history_days * (number + 1) // self.athletes if self.staggered else self.history_days


class Times(NamedTuple):
    """The world's begin, the request of all backfills, and the world's end, in epoch seconds."""

    begin: float
    backfill_at: float
    end: float


class Upload(NamedTuple):
    """An upload of an activity that has just ended. `athlete` is an index, not an id."""

    at: float
    athlete: int
    sport: str
    minutes: int


class Take(NamedTuple):
    """Calls that another program makes with the same application."""

    at: float
    calls: int


def times(seed: int, plan: Plan) -> Times:
    rng = random.Random(f"{seed}:times")
    begin = EPOCH.timestamp() + rng.uniform(0, 7) * DAY_S
    backfill_at = begin + plan.warm_up_days * DAY_S + rng.uniform(0, DAY_S)
    return Times(begin, backfill_at, (backfill_at // DAY_S + 1 + plan.days) * DAY_S)


def uploads(seed: int, plan: Plan) -> list[Upload]:
    """Return all uploads in order: mornings and evenings, more and later at weekends."""
    rng = random.Random(f"{seed}:uploads")
    zone, (begin, _, end) = rng.choice(ZONES_H), times(seed, plan)
    planned = []
    for athlete in range(plan.athletes):
        habit = rng.gauss(0, 0.5)
        for day in range(int(begin // DAY_S) - 1, int(end // DAY_S) + 2):
            weekend = (day + 3) % 7 >= 5
            planned += _day(rng, plan, athlete, day * DAY_S - zone * HOUR_S, habit, weekend=weekend)
    return sorted(upload for upload in planned if begin < upload.at < end)


def _day(
    rng: random.Random, plan: Plan, athlete: int, midnight: float, habit: float, *, weekend: bool
) -> Iterator[Upload]:
    expected = plan.uploads_a_day * (1.2 if weekend else 0.92)
    hours = WEEKEND if weekend else WEEKDAY
    for _ in range(int(expected) + (rng.random() < expected % 1)):
        _, usual, spread = rng.choices(hours, [share for share, _, _ in hours])[0]
        hour = min(max(rng.gauss(usual + habit, spread), 0.1), LATEST_LOCAL_H)
        yield Upload(midnight + hour * HOUR_S, athlete, rng.choice(SPORTS), rng.randrange(15, 60))


def takes(seed: int, plan: Plan) -> list[Take]:
    """Return the calls that another program wants: few for a while, then a burst.

    Over a day they add up to its share. The first of each window come at its begin, as a timer makes them,
    even if only to repeat calls that Strava refused. The others come at any time.
    """
    rng = random.Random(f"{seed}:others")
    begin, _, end = times(seed, plan)
    planned: list[Take] = []
    if not plan.others:
        return planned
    for day in range(int(begin // DAY_S), int(end // DAY_S)):
        weights = [rng.expovariate(1) ** 2 for _ in range(DAY_S // QUARTER_S)]
        unit, owed = plan.others * plan.limits.read_daily / sum(weights), 0.0
        for quarter, weight in enumerate(weights):
            owed += unit * weight
            cuts = sorted(rng.randrange(int(owed) + 1) for _ in range(rng.randrange(1, 4)))
            first, *later = (b - a for a, b in zip([0, *cuts], [*cuts, int(owed)], strict=True))
            start = day * DAY_S + quarter * QUARTER_S
            planned.append(Take(start + rng.uniform(0.1, 5), first))
            planned += [Take(start + rng.uniform(5, QUARTER_S - 1), calls) for calls in later if calls]
            owed -= int(owed)
    return sorted(take for take in planned if begin < take.at < end)
