"""What such a world is like, and what people do in it: decided by the seed, before anything has happened."""

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
"""Whoever connects with a small application lives near its author: one time zone a world."""

WEEKDAY = ((0.35, 6.75, 0.7), (0.15, 12.4, 0.5), (0.5, 18.5, 1.3))
WEEKEND = ((0.6, 10.0, 1.7), (0.25, 15.5, 1.5), (0.15, 19.0, 1.0))
"""When people come home: share of the uploads, hour of their clocks, and how far they stray from it."""

SPORTS = ("Run", "Ride", "Walk", "WeightTraining")
LATEST_LOCAL_H = 23.9


@dataclass(frozen=True)
class Plan:
    """`days` whole UTC days follow the day in which all history is asked for, at any time of that day."""

    days: int = 3
    warm_up_days: float = 3.0
    """Athletes are connected and upload for so long before anybody asks for their history."""
    athletes: int = 10
    uploads_a_day: float = 5.0
    history_days: int = 6 * 365
    staggered: bool = False
    """The first athlete has a share of that history, the last one all of it, and each more than the last."""
    per_week: float = 3.9
    processes: int = 4
    limits: Limits = field(default_factory=Limits)
    others: float = 0.0
    """The share of each day's reads that somebody else wants."""
    until_done: bool = False
    """Stop when the last history is fetched."""

    def history_of(self, number: int) -> int:
        return self.history_days * (number + 1) // self.athletes if self.staggered else self.history_days


class Times(NamedTuple):
    """In epoch seconds: the world's beginning, when all history is asked for, and the end."""

    begin: float
    asked: float
    end: float


class Upload(NamedTuple):
    """Somebody uploads what has just ended. `athlete` is a number, not an id."""

    at: float
    athlete: int
    sport: str
    minutes: int


class Take(NamedTuple):
    """Somebody else makes so many calls with the same application."""

    at: float
    calls: int


def times(seed: int, plan: Plan) -> Times:
    rng = random.Random(f"{seed}:times")
    begin = EPOCH.timestamp() + rng.uniform(0, 7) * DAY_S
    asked = begin + plan.warm_up_days * DAY_S + rng.uniform(0, DAY_S)
    return Times(begin, asked, (asked // DAY_S + 1 + plan.days) * DAY_S)


def uploads(seed: int, plan: Plan) -> list[Upload]:
    """All uploads of the world, in their order: mornings and evenings, more and later at weekends."""
    rng = random.Random(f"{seed}:uploads")
    zone, (begin, _, end) = rng.choice(ZONES_H), times(seed, plan)
    found = []
    for athlete in range(plan.athletes):
        habit = rng.gauss(0, 0.5)
        for day in range(int(begin // DAY_S) - 1, int(end // DAY_S) + 2):
            weekend = (day + 3) % 7 >= 5
            found += _day(rng, plan, athlete, day * DAY_S - zone * HOUR_S, habit, weekend=weekend)
    return sorted(upload for upload in found if begin < upload.at < end)


def _day(
    rng: random.Random, plan: Plan, athlete: int, midnight: float, habit: float, *, weekend: bool
) -> Iterator[Upload]:
    wanted = plan.uploads_a_day * (1.2 if weekend else 0.92)
    hours = WEEKEND if weekend else WEEKDAY
    for _ in range(int(wanted) + (rng.random() < wanted % 1)):
        _, usual, spread = rng.choices(hours, [share for share, _, _ in hours])[0]
        hour = min(max(rng.gauss(usual + habit, spread), 0.1), LATEST_LOCAL_H)
        yield Upload(midnight + hour * HOUR_S, athlete, rng.choice(SPORTS), rng.randrange(15, 60))


def takes(seed: int, plan: Plan) -> list[Take]:
    """What somebody else wants: little for a while, then a burst; the day's share in the end.

    They come at each window's begin, as timers do, be it only for what they were refused before, and whenever
    they like.
    """
    rng = random.Random(f"{seed}:others")
    begin, _, end = times(seed, plan)
    found: list[Take] = []
    if not plan.others:
        return found
    for day in range(int(begin // DAY_S), int(end // DAY_S)):
        weights = [rng.expovariate(1) ** 2 for _ in range(DAY_S // QUARTER_S)]
        unit, owed = plan.others * plan.limits.read_daily / sum(weights), 0.0
        for quarter, weight in enumerate(weights):
            owed += unit * weight
            cuts = sorted(rng.randrange(int(owed) + 1) for _ in range(rng.randrange(1, 4)))
            first, *later = (b - a for a, b in zip([0, *cuts], [*cuts, int(owed)], strict=True))
            start = day * DAY_S + quarter * QUARTER_S
            found.append(Take(start + rng.uniform(0.1, 5), first))
            found += [Take(start + rng.uniform(5, QUARTER_S - 1), calls) for calls in later if calls]
            owed -= int(owed)
    return sorted(take for take in found if begin < take.at < end)
