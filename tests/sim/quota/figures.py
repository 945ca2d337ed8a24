"""The figures of a record: days and windows, 429s, latencies, waits, and errors of the forecasts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .plan import DAY_S, HOUR_S, QUARTER_S
from .record import Prediction, Record

WINDOW_TOLERANCE_S = QUARTER_S
"""A forecast cannot be more exact than a window, because calls are allowed by the window."""

LONGEST_PAUSE_S = 7 * HOUR_S

LONG_S = HOUR_S
"""Forecasts of shorter backfills are not evaluated."""

PROMPT_S = 60.0
"""A detail that is stored later than this is late."""


class Day(NamedTuple):
    """The reads of a UTC day since the request of the backfills. `own` has no refused reads."""

    number: int
    full: bool
    """Whether it is a whole day that counts."""
    own: int
    others: int
    refused: int
    possible: int
    """The reads that could be used: the quota, or less if the backfills were requested late in the day."""
    waited: bool
    """Whether work was queued until the day's end."""

    @property
    def share(self) -> float:
        """Return the used share of the possible reads, by us and others together."""
        return (self.own + self.others) / self.possible if self.possible else 1.0


class Latency(NamedTuple):
    """The seconds from an upload's delivery, during a backfill, to its detail and streams. None: never."""

    detail: float | None
    streams: float | None
    gone: bool
    """Whether the upload was late and the day's quota was used up on arrival or within a minute."""


class Wait(NamedTuple):
    """The progress of an athlete's backfill.

    `longest_s` is the longest time, in seconds, in which it stood still while others advanced. (While calls
    are reserved for live work, all backfills stand still.)
    """

    athlete_id: int
    done: int
    left: int
    longest_s: float


@dataclass
class Figures:
    days: list[Day]
    refused_in_window: dict[float, int]
    """The number of our 429s by the begin of the window, for windows with any."""
    latencies: list[Latency]
    waits: list[Wait]
    predictions: list[Prediction]
    done_a_day: float
    """The mean number of activities that were completed in a counted day."""
    found: list[float]
    """The seconds from each upload whose event was lost to its detail. Infinite: it was never found."""

    def percentile(self, share: float, *, gone: bool = False, streams: bool = False) -> float:
        """Return a percentile of the seconds from delivery to the stored detail, or to the streams.

        `gone`: include the uploads that arrived when the day's quota was used up.
        """
        selected = [latency for latency in self.latencies if gone or not latency.gone]
        seconds = [latency.streams if streams else latency.detail for latency in selected]
        return percentile([math.inf if took is None else took for took in seconds], share)

    @property
    def refused_in_a_day(self) -> int:
        return max((day.refused for day in self.days), default=0)

    @property
    def refused_at_once(self) -> int:
        """Return the largest number of 429s in one window."""
        return max(self.refused_in_window.values(), default=0)


def figures(record: Record, *, first: int = 0) -> Figures:
    """Return the figures of a record, without its first `first` whole days."""
    gone, days = _gone(record), _days(record, first)
    counted = {day.number for day in days if day.full}
    done = sum(int(at // DAY_S) in counted for at in record.done)
    return Figures(
        days,
        _refused(record),
        _latencies(record, gone),
        _waits(record),
        [p for p in record.predictions if p.ended_at is not None and p.ended_at - p.begun_at > LONG_S],
        done / max(1, len(counted)),
        _found(record),
    )


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed, or 0 without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else 0.0


def error(prediction: Prediction) -> float:
    """Return the error of a forecast, as a share of the remaining time, or of a window if that is longer.

    1 means: the forecast was twice as long as the backfill took. No forecast is an infinite error.
    """
    assert prediction.ended_at is not None
    if prediction.expected_at is None:
        return math.inf
    missed = max(0.0, abs(prediction.expected_at - prediction.ended_at) - WINDOW_TOLERANCE_S)
    return missed / max(prediction.ended_at - prediction.made_at, WINDOW_TOLERANCE_S)


def _days(record: Record, uncounted: int) -> list[Day]:
    counted: defaultdict[int, Counter[str]] = defaultdict(Counter)
    before: Counter[int] = Counter()
    in_window = 0
    requested = record.times.backfill_at
    for read in record.reads:
        kind = "refused" if read.refused else "own" if read.own else "others"
        counted[int(read.at // DAY_S)][kind] += read.calls
        if read.at < requested:
            before[int(read.at // DAY_S)] += read.calls
            in_window += read.calls * (read.at // QUARTER_S == requested // QUARTER_S)
    left_at = {int(look.at // DAY_S): sum(look.left.values()) for look in record.looks}
    days = []
    for number, left in sorted(left_at.items()):
        limits, since = record.plan.limits, number - int(requested // DAY_S)
        possible = limits.read_daily
        if since == 0:
            later = ((number + 1) * DAY_S - requested) // QUARTER_S
            room = limits.read_short * (later + 1) - in_window
            possible = int(min(possible, before[number] + room))
        day = counted[number]
        days.append(
            Day(
                number,
                since > uncounted,
                day["own"],
                day["others"],
                day["refused"],
                possible,
                waited=left > 0,
            )
        )
    return days


def _refused(record: Record) -> dict[float, int]:
    refused: Counter[float] = Counter()
    for read in record.reads:
        if read.refused and read.at >= record.times.backfill_at:
            refused[read.at // QUARTER_S * QUARTER_S] += read.calls
    return dict(refused)


def _gone(record: Record) -> dict[int, float]:
    """Return the time at which each day's reads were used up."""
    spent: Counter[int] = Counter()
    gone: dict[int, float] = {}
    for read in record.reads:
        day = int(read.at // DAY_S)
        spent[day] += read.calls
        if spent[day] >= record.plan.limits.read_daily:
            gone.setdefault(day, read.at)
    return gone


def _is_gone(gone: dict[int, float], at: float) -> bool:
    return gone.get(int(at // DAY_S), math.inf) <= at


def _latencies(record: Record, gone: dict[int, float]) -> list[Latency]:
    latencies = []
    last = max((look.at for look in record.looks if look.left), default=0.0)
    for story in record.stories.values():
        at = story.delivered_at
        # An upload in the last hour may lack the time that it is allowed.
        if at is None or not record.times.backfill_at <= at <= min(last, record.times.end - HOUR_S):
            continue
        detail, streams = (None if t is None else t - at for t in (story.detail_at, story.streams_at))
        late = detail is None or detail > PROMPT_S
        spent = _is_gone(gone, at) or _is_gone(gone, at + PROMPT_S)
        latencies.append(Latency(detail, streams, late and spent))
    return latencies


def _found(record: Record) -> list[float]:
    """Return how long uploads without an event took, if they had the longest pause to be found."""
    return [
        (story.detail_at or math.inf) - story.happened_at
        for story in record.stories.values()
        if story.delivered_at is None and story.happened_at < record.times.end - LONGEST_PAUSE_S
    ]


def _waits(record: Record) -> list[Wait]:
    """Return the progress by athlete, exact to half a window: the queue is observed that often."""
    longest: Counter[int] = Counter()
    waiting: Counter[int] = Counter()
    first: dict[int, int] = {}
    remaining: dict[int, int] = {}
    for earlier, look in zip(record.looks, record.looks[1:], strict=False):
        advanced = any(left < earlier.left.get(athlete_id, 0) for athlete_id, left in look.left.items())
        for athlete_id, left in look.left.items():
            first[athlete_id] = max(first.get(athlete_id, 0), left)
            if left < earlier.left.get(athlete_id, 0):
                waiting[athlete_id] = 0
            elif advanced:
                waiting[athlete_id] += round(look.at - earlier.at)
            longest[athlete_id] = max(longest[athlete_id], waiting[athlete_id])
        remaining = look.left
    return [
        Wait(
            athlete_id,
            total - remaining.get(athlete_id, 0),
            remaining.get(athlete_id, 0),
            longest[athlete_id],
        )
        for athlete_id, total in first.items()
    ]


def summary(record: Record, figures: Figures) -> str:
    """Return some lines of text."""
    lines = [f"seed {record.seed}: {record.seconds:.0f} s of CPU time"]
    lines += [f"  a bug: {crash}" for crash in record.crashes]
    for day in figures.days:
        lines.append(
            f"  day {day.number}: {day.own} reads of ours and {day.others} of others, {day.share:.1%} of "
            f"{day.possible}, {day.refused} answers 429, {'work' if day.waited else 'no work'} left"
        )
    lanes = ", ".join(f"{lane} {calls}" for lane, calls in record.lanes.most_common())
    lines += [
        f"  our calls: {lanes}; {figures.done_a_day:.0f} activities completed a day",
        f"  429s: at most {figures.refused_at_once} in a window, {figures.refused_in_a_day} in a day",
        f"  {len(figures.latencies)} uploads during backfills, "
        f"{sum(latency.gone for latency in figures.latencies)} of them late because of the day's quota",
        f"  to the detail: median {figures.percentile(0.5):.1f} s, p99 {figures.percentile(0.99):.1f} s; "
        f"including those: median {figures.percentile(0.5, gone=True):.1f} s, "
        f"p99 {figures.percentile(0.99, gone=True):.0f} s",
        f"  to the streams: median {figures.percentile(0.5, streams=True):.0f} s, "
        f"p99 {figures.percentile(0.99, streams=True):.0f} s",
        _lost(figures.found),
        _progress(figures.waits),
        _forecasts(figures.predictions),
    ]
    return "\n".join(line for line in lines if line)


def _lost(found: Sequence[float]) -> str:
    if not found:
        return ""
    p50, p95 = (percentile(found, share) / 60 for share in (0.5, 0.95))
    return (
        f"  {len(found)} uploads without an event were found after {p50:.0f} min (p50), {p95:.0f} min (p95)"
    )


def _progress(waits: Sequence[Wait]) -> str:
    if not waits:
        return "  no backfill waited"
    done = [wait.done for wait in waits]
    worst = max(wait.longest_s for wait in waits)
    return (
        f"  backfills: {sum(done)} jobs done, {min(done)} to {max(done)} an athlete; "
        f"none stood still for more than {worst / HOUR_S:.1f} h while others advanced"
    )


def _forecasts(predictions: Sequence[Prediction]) -> str:
    if not predictions:
        return ""
    worst = max(predictions, key=error)
    right = sum(error(prediction) <= 0.15 for prediction in predictions)
    return (
        f"  forecasts: {right} of {len(predictions)} within 15 %; the worst at tenth {worst.tenth} of "
        f"{worst.athlete_id or 'all'}: {error(worst):.0%} off"
    )
