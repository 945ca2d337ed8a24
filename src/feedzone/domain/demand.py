"""What calls are to be expected at which time of the day, learned from the journal of the last days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import accumulate

import msgspec

QUARTERS = 96
QUARTER = timedelta(minutes=15)
OTHERS = "others"
"""The lane, in the journal, of calls that Strava counted and we did not make."""

PRIOR = {"live": 0.10, "interactive": 0.02, "reconcile": 0.03, "reread": 0.05}
"""Of the day's quota, what each lane is taken to need before a day has been seen."""

PRIOR_HOURS = 24.0
"""What is assumed beforehand weighs as much as a day that was seen."""

PRIOR_SPREAD, MOST_SPREAD = 4.0, 10.0


class Counted(msgspec.Struct, frozen=True):
    """Calls of one lane in the quarter of an hour that began `quarter` quarters after 1970."""

    quarter: int
    lane: str
    calls: int


class Demand(msgspec.Struct, frozen=True):
    """By lane, the calls expected from midnight (UTC) to the beginning of each quarter, and to the day's end.

    `spread` is how much a quarter's calls of live work scatter: variance by mean, 1 for single calls that
    come independently of each other.
    """

    sums: Mapping[str, tuple[float, ...]]
    spread: float = PRIOR_SPREAD

    def expected(self, lanes: Iterable[str], start: float, end: float) -> float:
        """Calls of these lanes between two times of one day, both in quarters since midnight."""
        return sum(_at(sums, end) - _at(sums, start) for lane in lanes if (sums := self.sums.get(lane)))


def _at(sums: tuple[float, ...], quarter: float) -> float:
    whole = min(int(quarter), QUARTERS - 1)
    return sums[whole] + (sums[whole + 1] - sums[whole]) * (quarter - whole)


NOTHING = Demand({})


def learn(counted: Iterable[Counted], since: datetime | None, now: datetime, day_quota: int) -> Demand:
    """The demand of the days from `since` on; hours that were not seen are taken for average ones."""
    seen = _hours_seen(since, now)
    whole = sum(seen)
    by_lane: dict[str, dict[int, int]] = {lane: {} for lane in PRIOR}
    for row in counted:
        quarters = by_lane.setdefault(row.lane, {})
        quarters[row.quarter] = quarters.get(row.quarter, 0) + row.calls
    sums = {}
    for lane, quarters in by_lane.items():
        total = sum(quarters.values())
        prior = (PRIOR.get(lane, 0.0) * day_quota + total) / (PRIOR_HOURS + whole)
        in_hour = [0] * 24
        for quarter, calls in quarters.items():
            in_hour[quarter // 4 % 24] += calls
        rates = [(prior + calls) / (1.0 + hours) for calls, hours in zip(in_hour, seen, strict=True)]
        sums[lane] = tuple(accumulate((rates[n // 4] / 4 for n in range(QUARTERS)), initial=0.0))
    return Demand(sums, _spread(by_lane["live"], sums["live"], whole))


def _hours_seen(since: datetime | None, now: datetime) -> list[float]:
    """How often each hour of the day has passed since then."""
    seen = [0.0] * 24
    at = since
    while at is not None and at < now:
        end = min(now, at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
        seen[at.hour] += (end - at).total_seconds() / 3600
        at = end
    return seen


def _spread(calls: Mapping[int, int], sums: tuple[float, ...], hours: float) -> float:
    """How much the calls of a quarter scatter around what its hour lets expect."""
    mean = sums[QUARTERS] / QUARTERS
    passed = hours * 4
    if passed < QUARTERS or mean <= 0:
        return PRIOR_SPREAD
    off = 0.0
    for quarter, count in calls.items():
        expected = sums[quarter % QUARTERS + 1] - sums[quarter % QUARTERS]
        # The quarters without a call would each have added the square of what was expected.
        off += (count - expected) ** 2 - expected**2
    off += passed * sum((sums[n + 1] - sums[n]) ** 2 for n in range(QUARTERS)) / QUARTERS
    return min(MOST_SPREAD, max(1.0, off / (passed * mean)))
