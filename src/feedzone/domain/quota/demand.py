"""What calls are to be expected at which time of the day, learned from the journal of the last days."""

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
"""The lane, in the journal, of calls that Strava counted and we did not make."""

HISTORY = Lane.BACKFILL.name.lower()

PRIOR = {"live": 0.10, "interactive": 0.02, "reconcile": 0.03, "recheck": 0.05}
"""Of the day's quota, what each lane is taken to need before a day has been seen."""

PRIOR_HOURS = 24.0
"""What is assumed beforehand weighs as much as a day that was seen."""

LIKELY_SHARE, LIKELY_HOURS = 0.5, 6.0
"""Room is kept with caution; a forecast that counts on as much is always too late. It takes so much of PRIOR
for likely, and soon believes what it sees."""

PRIOR_SPREAD, MOST_SPREAD = 4.0, 10.0

LONG = timedelta(hours=6)
"""A history that has waited for so long at midnight had what the day could give, and goes on to the next."""


class Counted(msgspec.Struct, frozen=True):
    """Calls of one lane in the quarter of an hour that began `quarter` quarters after 1970."""

    quarter: int
    lane: str
    calls: int


class Demand(msgspec.Struct, frozen=True, eq=False):
    """By lane, the calls expected from midnight (UTC) to the beginning of each quarter, and to the day's end.

    `spread` is how much a quarter's calls of live work scatter: variance by mean, 1 for single calls that
    come independently of each other. `likely` is the same as `sums` without caution, where that is known, and
    `hours` are those that `sums` rests on, what was assumed beforehand among them.

    Of the day on which it was learned (`day`, since 1970): what was known when it began (`dawn`), and what it
    had cost without histories at the beginning of each quarter from the first that was seen (`seen_from`) up
    to then (`passed`). `histories_since` is since when the oldest history has been waiting.
    """

    sums: Mapping[str, tuple[float, ...]]
    spread: float = PRIOR_SPREAD
    likely: Mapping[str, tuple[float, ...]] | None = None
    hours: float = PRIOR_HOURS
    day: int = 0
    at_midnight: Demand | None = None
    seen_from: int = 0
    passed: tuple[int, ...] = ()
    histories_since: datetime | None = None

    def expected(self, lanes: Iterable[str], start: float, end: float) -> float:
        """Calls of these lanes between two times of one day, both in quarters since midnight."""
        return _between(self.sums, lanes, start, end)

    def foreseen(self, lanes: Iterable[str], start: float, end: float) -> float:
        """The same, as a forecast counts on them."""
        return _between(self.sums if self.likely is None else self.likely, lanes, start, end)

    def is_of(self, now: datetime) -> bool:
        """Whether it was learned on this day."""
        return self.day == _day_of(now)

    def rations(self, now: datetime) -> bool:
        """Whether histories get their share of this day bit by bit, because one takes more than a day: so
        that a few calls more make it end an hour later and not a night."""
        return self.histories_since is not None and is_long(self.histories_since, now)

    def after(self, hours: float) -> Demand:
        """What will have been learned by then, if what is likely comes."""
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
    """Whether a history that waits since then had waited for LONG when this day began."""
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
    """The demand of the days from `since` on; hours that were not seen are taken for average ones. `dawn`:
    what was known when this day began, where that has been worked out."""
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
    """From midnight to each quarter's begin; `usual` calls a day weigh as much as so many `hours` seen."""
    mean = (usual * hours / 24 + sum(calls.values())) / (hours + sum(seen))
    in_hour = [0] * 24
    for quarter, count in calls.items():
        in_hour[quarter // 4 % 24] += count
    rates = [(mean + count) / (1.0 + passed) / 4 for count, passed in zip(in_hour, seen, strict=True)]
    return tuple(accumulate(chain.from_iterable(zip(rates, rates, rates, rates, strict=True)), initial=0.0))


def _hours_seen(since: datetime | None, now: datetime) -> list[float]:
    """How often each hour of the day has passed since then."""
    begun = now if since is None else min(since, now)
    days = (now - begun).days
    seen, at = [float(days)] * 24, begun + timedelta(days=days)
    while at < now:
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
    # Within an hour, one quarter is expected to be like the other.
    off += passed * sum((sums[n + 1] - sums[n]) ** 2 for n in range(0, QUARTERS, 4)) / 24
    return min(MOST_SPREAD, max(1.0, off / (passed * mean)))
