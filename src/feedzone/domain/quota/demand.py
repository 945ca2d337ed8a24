"""The expected calls of each lane by time of day, learned from the call log of the last days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain

import msgspec

from ..job import Lane
from .windows import window_start

QUARTERS = 96
"""Quarters of an hour in a day. Times of the day below are in quarters since midnight (UTC)."""
QUARTER = timedelta(minutes=15)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OTHERS = "others"
"""The lane, in the call log, of calls that Strava counted and we did not make."""

IN_VAIN = "in_vain"
"""The lane here of live calls that Strava answered with 404. Nothing is reserved for them: forged events
would otherwise take calls from backfills for a week."""

BACKFILL = Lane.BACKFILL.name.lower()

PRIOR = {"live": 0.10, "interactive": 0.02, "reconcile": 0.03, "recheck": 0.05}
"""The fraction of the day's quota that each lane is assumed to need before a day was observed."""

PRIOR_HOURS = 24.0
"""The weight of that assumption, in hours of observation: as much as one observed day."""

LIKELY_SHARE, LIKELY_HOURS = 0.5, 6.0
"""The reserve is cautious; a forecast with the same caution would always be too late. So the forecast assumes
LIKELY_SHARE of PRIOR with the weight of LIKELY_HOURS, and soon follows the observations."""

PRIOR_SPREAD, MAX_SPREAD = 4.0, 10.0
"""`Demand.spread` before a day was observed, and its largest value."""

LONG_WAIT = timedelta(hours=6)
"""A backfill that has waited for this long at midnight takes more than a day."""


def quarter_of(instant: datetime) -> int:
    """Return the number of quarters of an hour from 1970 to this instant."""
    return (instant - EPOCH) // QUARTER


class Counted(msgspec.Struct, frozen=True):
    """The calls of one lane in one quarter of an hour; `quarter` counts quarters since 1970."""

    quarter: int
    lane: str
    calls: int


class Demand(msgspec.Struct, frozen=True, eq=False):
    """The calls that each lane is expected to make, by time of day (UTC)."""

    sums: Mapping[str, tuple[float, ...]]
    """By lane, the expected calls from midnight to the beginning of each quarter, and to the day's end.

    Before enough is observed they are more than is likely: the reserve is cautious.
    """
    spread: float = PRIOR_SPREAD
    """Variance divided by mean of a quarter's live calls; 1: single, independent calls."""
    likely: Mapping[str, tuple[float, ...]] | None = None
    """The same without caution, for forecasts. None: use `sums`."""
    hours: float = PRIOR_HOURS
    """The hours that `sums` rests on, including the weight of the assumptions."""
    day: int = 0
    """The day on which this was learned, in days since 1970."""
    at_midnight: Demand | None = None
    """The demand as known when that day began."""
    first_seen_quarter: int = 0
    """The first observed quarter of that day."""
    spent_by_quarter: tuple[int, ...] = ()
    """The day's calls without backfills, up to the beginning of each quarter from `first_seen_quarter` on."""
    oldest_backfill_since: datetime | None = None
    """When the oldest backfill that waits was enqueued."""

    def expected(self, lanes: Iterable[str], start: float, end: float) -> float:
        """Return the expected calls of these lanes between two times, in quarters since midnight."""
        return _between(self.sums, lanes, start, end)

    def likely_calls(self, lanes: Iterable[str], start: float, end: float) -> float:
        """Return the likely calls of these lanes between two times, in quarters since midnight."""
        return _between(self.sums if self.likely is None else self.likely, lanes, start, end)

    def is_of(self, now: datetime) -> bool:
        """Whether this was learned on the day of `now`."""
        return self.day == _day_of(now)

    def rations(self, now: datetime) -> bool:
        """Whether backfills get their calls of this day in parts, because one takes more than a day.

        Then a few calls more delay its end by an hour, and not by a night.
        """
        return self.oldest_backfill_since is not None and waited_long(self.oldest_backfill_since, now)

    def after(self, hours: float) -> Demand:
        """Return the demand as it will be learned `hours` later, if the likely calls come."""
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


def waited_long(since: datetime, now: datetime) -> bool:
    """Whether a backfill that waits since then had waited for LONG_WAIT when the day of `now` began."""
    return since <= window_start("read_day", now) - LONG_WAIT


def _between(
    by_lane: Mapping[str, tuple[float, ...]], lanes: Iterable[str], start: float, end: float
) -> float:
    return sum(
        _calls_until(sums, end) - _calls_until(sums, start) for lane in lanes if (sums := by_lane.get(lane))
    )


def _calls_until(sums: tuple[float, ...], time: float) -> float:
    """Return the calls from midnight to a time, in quarters since midnight; interpolate within a quarter."""
    quarter = min(int(time), QUARTERS - 1)
    return sums[quarter] + (sums[quarter + 1] - sums[quarter]) * (time - quarter)


NOTHING = Demand({})
"""No lane is expected to call."""


def learn(
    counted: Iterable[Counted],
    since: datetime | None,
    now: datetime,
    day_quota: int,
    *,
    oldest_backfill_since: datetime | None = None,
    at_midnight: Demand | None = None,
) -> Demand:
    """Return the demand learned from the days since `since`; unobserved hours count as average ones.

    `at_midnight`: the demand as known when this day began, if it was calculated before.
    """
    counted, midnight = list(counted), window_start("read_day", now)
    first_today = quarter_of(midnight)
    current = quarter_of(now) - first_today
    first_seen = quarter_of(max(midnight, since or now)) - first_today
    calls = [0] * (current + 1)
    for row in counted:
        if row.quarter >= first_today and row.lane != BACKFILL:
            calls[min(row.quarter - first_today, current)] += row.calls
    return msgspec.structs.replace(
        _learned(counted, since, now, day_quota),
        day=_day_of(now),
        at_midnight=at_midnight
        or _learned([row for row in counted if row.quarter < first_today], since, midnight, day_quota),
        first_seen_quarter=first_seen,
        spent_by_quarter=tuple(accumulate(calls[first_seen:current], initial=0)),
        oldest_backfill_since=oldest_backfill_since,
    )


def _learned(counted: Iterable[Counted], since: datetime | None, now: datetime, day_quota: int) -> Demand:
    observed = _times_observed(since, now)
    by_lane: dict[str, dict[int, int]] = {lane: {} for lane in PRIOR}
    for row in counted:
        quarters = by_lane.setdefault(row.lane, {})
        quarters[row.quarter] = quarters.get(row.quarter, 0) + row.calls
    sums, likely = {}, {}
    for lane, quarters in by_lane.items():
        assumed = PRIOR.get(lane, 0.0) * day_quota
        sums[lane] = _running_sums(quarters, observed, assumed, PRIOR_HOURS)
        likely[lane] = _running_sums(quarters, observed, assumed * LIKELY_SHARE, LIKELY_HOURS)
    hours = sum(observed)
    return Demand(sums, _spread(by_lane["live"], sums["live"], hours), likely, PRIOR_HOURS + hours)


def _day_of(now: datetime) -> int:
    """Return the days since 1970."""
    return (now - EPOCH).days


def _running_sums(
    calls: Mapping[int, int], observed: Sequence[float], assumed: float, weight: float
) -> tuple[float, ...]:
    """Return the expected calls from midnight to each quarter, and to the day's end.

    `calls`: the calls made, by quarter since 1970. `observed`: how often each hour of the day was observed.
    `assumed`: calls a day without any observation, with a weight in hours of observation.
    """
    hourly_mean = (assumed * weight / 24 + sum(calls.values())) / (weight + sum(observed))
    in_hour = [0] * 24
    for quarter, count in calls.items():
        in_hour[quarter // 4 % 24] += count
    # Each hour of the day counts the mean as one observation.
    rates = [
        (hourly_mean + count) / (1.0 + times) / 4 for count, times in zip(in_hour, observed, strict=True)
    ]
    return tuple(accumulate(chain.from_iterable(zip(rates, rates, rates, rates, strict=True)), initial=0.0))


def _times_observed(since: datetime | None, now: datetime) -> list[float]:
    """Return how often each hour of the day has passed since then, with fractions."""
    begun = now if since is None else min(since, now)
    days = (now - begun).days
    times, instant = [float(days)] * 24, begun + timedelta(days=days)
    while instant < now:
        hour_end = min(now, instant.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
        times[instant.hour] += (hour_end - instant).total_seconds() / 3600
        instant = hour_end
    return times


def _spread(calls: Mapping[int, int], sums: tuple[float, ...], hours: float) -> float:
    """Return the variance of a quarter's calls around the expected ones, divided by their mean.

    `calls`: the calls made in `hours` of observation, by quarter since 1970.
    """
    mean = sums[QUARTERS] / QUARTERS
    quarters = hours * 4
    if quarters < QUARTERS or mean <= 0:
        return PRIOR_SPREAD
    squares = 0.0
    for quarter, count in calls.items():
        expected = sums[quarter % QUARTERS + 1] - sums[quarter % QUARTERS]
        # Quarters without a call are not in `calls`; each adds the square of its expected calls (below).
        squares += (count - expected) ** 2 - expected**2
    # The four quarters of an hour have the same expected calls.
    squares += quarters * sum((sums[n + 1] - sums[n]) ** 2 for n in range(0, QUARTERS, 4)) / 24
    return min(MAX_SPREAD, max(1.0, squares / (quarters * mean)))
