"""The expected calls of each lane by time of day, learned from the call log of the last days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain

import msgspec

from ..job import Lane
from .windows import window_start

QUARTERS = 96
QUARTER = timedelta(minutes=15)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OTHERS = "others"
"""The lane, in the call log, of calls that Strava counted and we did not make."""

HISTORY = Lane.BACKFILL.name.lower()

PRIOR = {"live": 0.10, "interactive": 0.02, "reconcile": 0.03, "recheck": 0.05}
"""The share of the day's quota that each lane is assumed to need before a day was observed."""

PRIOR_HOURS = 24.0
"""The weight of that assumption: as much as one observed day."""

LIKELY_SHARE, LIKELY_HOURS = 0.5, 6.0
"""The reserve is cautious; a forecast with the same caution would always be too late. So the forecast assumes
LIKELY_SHARE of PRIOR with the weight of LIKELY_HOURS, and soon follows the observations."""

PRIOR_SPREAD, MOST_SPREAD = 4.0, 10.0

LONG = timedelta(hours=6)
"""A backfill that has waited for this long at midnight takes more than a day."""


class Counted(msgspec.Struct, frozen=True):
    """The calls of one lane in one quarter of an hour; `quarter` counts quarters since 1970."""

    quarter: int
    lane: str
    calls: int


class Demand(msgspec.Struct, frozen=True, eq=False):
    """The calls that each lane is expected to make, by time of day (UTC)."""

    sums: Mapping[str, tuple[float, ...]]
    """By lane, the expected calls from midnight to the beginning of each quarter, and to the day's end."""
    spread: float = PRIOR_SPREAD
    """Variance divided by mean of a quarter's live calls; 1: single, independent calls."""
    likely: Mapping[str, tuple[float, ...]] | None = None
    """`sums` without caution, for forecasts. None: not known."""
    hours: float = PRIOR_HOURS
    """The hours that `sums` rests on, including the weight of the assumptions."""
    day: int = 0
    """The day on which this was learned, in days since 1970."""
    at_midnight: Demand | None = None
    """What was known when that day began."""
    seen_from: int = 0
    """The first observed quarter of that day."""
    passed: tuple[int, ...] = ()
    """The day's calls without backfills up to the beginning of each quarter from `seen_from` on."""
    histories_since: datetime | None = None
    """When the oldest backfill that waits was enqueued."""

    def expected(self, lanes: Iterable[str], start: float, end: float) -> float:
        """Return the expected calls of these lanes between two times, in quarters since midnight."""
        return _between(self.sums, lanes, start, end)

    def foreseen(self, lanes: Iterable[str], start: float, end: float) -> float:
        """Return the same for a forecast, without caution."""
        return _between(self.sums if self.likely is None else self.likely, lanes, start, end)

    def is_of(self, now: datetime) -> bool:
        """Whether this was learned on the day of `now`."""
        return self.day == _day_of(now)

    def rations(self, now: datetime) -> bool:
        """Whether backfills get their calls of this day in parts, because one takes more than a day.

        Then a few calls more delay its end by an hour, and not by a night.
        """
        return self.histories_since is not None and is_long(self.histories_since, now)

    def after(self, hours: float) -> Demand:
        """Return the demand as learned `hours` later, if the likely calls come."""
        if self.likely is None:
            return self
        share = hours / (self.hours + hours)
        return msgspec.structs.replace(
            self,
            sums={
                lane: tuple(
                    old + share * (new - old) for old, new in zip(sums, self.likely[lane], strict=True)
                )
                for lane, sums in self.sums.items()
            },
        )


def is_long(since: datetime, now: datetime) -> bool:
    """Whether a backfill that waits since then had waited for LONG when this day began."""
    return since <= window_start("read_day", now) - LONG


def _between(
    by_lane: Mapping[str, tuple[float, ...]], lanes: Iterable[str], start: float, end: float
) -> float:
    return sum(_at(sums, end) - _at(sums, start) for lane in lanes if (sums := by_lane.get(lane)))


def _at(sums: tuple[float, ...], quarter: float) -> float:
    whole = min(int(quarter), QUARTERS - 1)
    return sums[whole] + (sums[whole + 1] - sums[whole]) * (quarter - whole)


NOTHING = Demand({})


def learn(
    counted: Iterable[Counted],
    since: datetime | None,
    now: datetime,
    day_quota: int,
    *,
    histories_since: datetime | None = None,
    at_midnight: Demand | None = None,
) -> Demand:
    """Return the demand learned from the days since `since`; unobserved hours count as average ones.

    `at_midnight`: what was known when this day began, if it was calculated before.
    """
    counted, midnight = list(counted), window_start("read_day", now)
    first = (midnight - EPOCH) // QUARTER
    begun, seen_from = ((at - EPOCH) // QUARTER - first for at in (now, max(midnight, since or now)))
    calls = [0] * (begun + 1)
    for row in counted:
        if row.quarter >= first and row.lane != HISTORY:
            calls[min(row.quarter - first, begun)] += row.calls
    return msgspec.structs.replace(
        _learned(counted, since, now, day_quota),
        day=_day_of(now),
        at_midnight=at_midnight
        or _learned([row for row in counted if row.quarter < first], since, midnight, day_quota),
        seen_from=seen_from,
        passed=tuple(accumulate(calls[seen_from:begun], initial=0)),
        histories_since=histories_since,
    )


def _learned(counted: Iterable[Counted], since: datetime | None, now: datetime, day_quota: int) -> Demand:
    seen = _hours_seen(since, now)
    by_lane: dict[str, dict[int, int]] = {lane: {} for lane in PRIOR}
    for row in counted:
        quarters = by_lane.setdefault(row.lane, {})
        quarters[row.quarter] = quarters.get(row.quarter, 0) + row.calls
    sums, likely = {}, {}
    for lane, quarters in by_lane.items():
        usual = PRIOR.get(lane, 0.0) * day_quota
        sums[lane] = _sums(quarters, seen, usual, PRIOR_HOURS)
        likely[lane] = _sums(quarters, seen, usual * LIKELY_SHARE, LIKELY_HOURS)
    whole = sum(seen)
    return Demand(sums, _spread(by_lane["live"], sums["live"], whole), likely, PRIOR_HOURS + whole)


def _day_of(now: datetime) -> int:
    """Days since 1970."""
    return (now - EPOCH).days


def _sums(calls: Mapping[int, int], seen: Sequence[float], usual: float, hours: float) -> tuple[float, ...]:
    """Return the calls from midnight to each quarter; `usual` calls a day weigh `hours` of observation."""
    mean = (usual * hours / 24 + sum(calls.values())) / (hours + sum(seen))
    in_hour = [0] * 24
    for quarter, count in calls.items():
        in_hour[quarter // 4 % 24] += count
    rates = [(mean + count) / (1.0 + passed) / 4 for count, passed in zip(in_hour, seen, strict=True)]
    return tuple(accumulate(chain.from_iterable(zip(rates, rates, rates, rates, strict=True)), initial=0.0))


def _hours_seen(since: datetime | None, now: datetime) -> list[float]:
    """Return how often each hour of the day has passed since then."""
    begun = now if since is None else min(since, now)
    days = (now - begun).days
    seen, at = [float(days)] * 24, begun + timedelta(days=days)
    while at < now:
        end = min(now, at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
        seen[at.hour] += (end - at).total_seconds() / 3600
        at = end
    return seen


def _spread(calls: Mapping[int, int], sums: tuple[float, ...], hours: float) -> float:
    """Return the variance of a quarter's calls around the expected ones, divided by their mean."""
    mean = sums[QUARTERS] / QUARTERS
    passed = hours * 4
    if passed < QUARTERS or mean <= 0:
        return PRIOR_SPREAD
    off = 0.0
    for quarter, count in calls.items():
        expected = sums[quarter % QUARTERS + 1] - sums[quarter % QUARTERS]
        # Quarters without a call are not in `calls`; each adds the square of its expected calls (below).
        off += (count - expected) ** 2 - expected**2
    # Within an hour, one quarter is expected to be like the other.
    off += passed * sum((sums[n + 1] - sums[n]) ** 2 for n in range(0, QUARTERS, 4)) / 24
    return min(MOST_SPREAD, max(1.0, off / (passed * mean)))
