"""What a record means: days and windows, 429s, latencies, who waited longest, which promises were kept."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .plan import DAY_S, HOUR_S, QUARTER_S
from .record import Promise, Record

WINDOW_TOLERANCE_S = QUARTER_S
"""Nobody can tell an end more exactly than calls are allowed: a window."""

LONG_S = HOUR_S
PROMPT_S = 60.0


class Day(NamedTuple):
    """A UTC day since all history was asked for. Counted are reads; a refused one is not `ours`."""

    number: int
    whole: bool
    """A whole day that is counted."""
    ours: int
    others: int
    refused: int
    possible: int
    """What could have been spent: the quota, or less where the history was asked for late in the day."""
    waited: bool
    """Work waited until the day's end."""

    @property
    def share(self) -> float:
        """Of what could be spent, by us and others together."""
        return (self.ours + self.others) / self.possible if self.possible else 1.0


class Latency(NamedTuple):
    """An upload that was announced while a history was being fetched, in seconds; None: never."""

    detail: float | None
    streams: float | None
    gone: bool
    """The day's quota was gone when the event came, or within a minute after it."""


class Wait(NamedTuple):
    """An athlete's history: what was fetched of it, and the longest time, in seconds, in which nothing was
    although others advanced. (While calls are kept for live work, all histories wait together.)"""

    athlete_id: int
    done: int
    left: int
    longest_s: float


@dataclass
class Figures:
    days: list[Day]
    refused_in_window: dict[float, int]
    """Our 429s by the begin of their window; only windows that have some."""
    latencies: list[Latency]
    waits: list[Wait]
    promises: list[Promise]
    done_a_day: float
    """Activities that were stored whole in a counted day."""

    def percentile(self, share: float, *, gone: bool = False, streams: bool = False) -> float:
        """Of the seconds from delivery to the stored detail, or to the streams. `gone`: of all, also of those
        that came when the day's quota was gone."""
        held = [each for each in self.latencies if gone or not each.gone]
        found = [each.streams if streams else each.detail for each in held]
        return percentile([math.inf if took is None else took for took in found], share)

    @property
    def refused_in_a_day(self) -> int:
        return max((day.refused for day in self.days), default=0)

    @property
    def refused_at_once(self) -> int:
        """The most 429s in one window."""
        return max(self.refused_in_window.values(), default=0)


def figures(record: Record, *, first: int = 0) -> Figures:
    """`first` whole days are not counted."""
    gone, days = _gone(record), _days(record, first)
    whole = {day.number for day in days if day.whole}
    done = sum(int(at // DAY_S) in whole for at in record.done)
    return Figures(
        days,
        _refused(record),
        _latencies(record, gone),
        _waits(record),
        [p for p in record.promises if p.kept_at is not None and p.kept_at - p.begun_at > LONG_S],
        done / max(1, len(whole)),
    )


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that so many are not above; 0 of none."""
    held = sorted(values)
    return held[max(0, math.ceil(len(held) * share) - 1)] if held else 0.0


def error(promise: Promise) -> float:
    """How wrong it was, as a share of the time that it took from then on, or of a window if that is more.

    At the share of 1, what was told was twice as long as it took; nothing told is as wrong as can be.
    """
    assert promise.kept_at is not None
    if promise.told is None:
        return math.inf
    missed = max(0.0, abs(promise.told - promise.kept_at) - WINDOW_TOLERANCE_S)
    return missed / max(promise.kept_at - promise.made_at, WINDOW_TOLERANCE_S)


def _days(record: Record, uncounted: int) -> list[Day]:
    counted: defaultdict[int, Counter[str]] = defaultdict(Counter)
    before: Counter[int] = Counter()
    in_window = 0
    asked = record.times.asked
    for read in record.reads:
        kind = "refused" if read.refused else "ours" if read.ours else "others"
        counted[int(read.at // DAY_S)][kind] += read.calls
        if read.at < asked:
            before[int(read.at // DAY_S)] += read.calls
            in_window += read.calls * (read.at // QUARTER_S == asked // QUARTER_S)
    left_at = {int(look.at // DAY_S): sum(look.left.values()) for look in record.looks}
    found = []
    for number, left in sorted(left_at.items()):
        limits, since = record.plan.limits, number - int(asked // DAY_S)
        possible = limits.read_daily
        if since == 0:
            later = ((number + 1) * DAY_S - asked) // QUARTER_S
            room = limits.read_short * (later + 1) - in_window
            possible = int(min(possible, before[number] + room))
        day = counted[number]
        found.append(
            Day(
                number,
                since > uncounted,
                day["ours"],
                day["others"],
                day["refused"],
                possible,
                waited=left > 0,
            )
        )
    return found


def _refused(record: Record) -> dict[float, int]:
    found: Counter[float] = Counter()
    for read in record.reads:
        if read.refused and read.at >= record.times.asked:
            found[read.at // QUARTER_S * QUARTER_S] += read.calls
    return dict(found)


def _gone(record: Record) -> dict[int, float]:
    """When each day's reads were all spent."""
    spent: Counter[int] = Counter()
    found: dict[int, float] = {}
    for read in record.reads:
        day = int(read.at // DAY_S)
        spent[day] += read.calls
        if spent[day] >= record.plan.limits.read_daily:
            found.setdefault(day, read.at)
    return found


def _is_gone(gone: dict[int, float], at: float) -> bool:
    return gone.get(int(at // DAY_S), math.inf) <= at


def _latencies(record: Record, gone: dict[int, float]) -> list[Latency]:
    found = []
    last = max((look.at for look in record.looks if look.left), default=0.0)
    for story in record.stories.values():
        at = story.delivered_at
        # What comes in the last hour may not have had the time that it is allowed.
        if at is None or not record.times.asked <= at <= min(last, record.times.end - HOUR_S):
            continue
        detail, streams = (None if t is None else t - at for t in (story.detail_at, story.streams_at))
        late = detail is None or detail > PROMPT_S
        spent = _is_gone(gone, at) or _is_gone(gone, at + PROMPT_S)
        found.append(Latency(detail, streams, late and spent))
    return found


def _waits(record: Record) -> list[Wait]:
    """By athlete; a look is every half window, and half a window is as exact as this can be."""
    longest: Counter[int] = Counter()
    waiting: Counter[int] = Counter()
    first: dict[int, int] = {}
    held: dict[int, int] = {}
    for earlier, look in zip(record.looks, record.looks[1:], strict=False):
        advanced = any(left < earlier.left.get(one, 0) for one, left in look.left.items())
        for athlete_id, left in look.left.items():
            first[athlete_id] = max(first.get(athlete_id, 0), left)
            if left < earlier.left.get(athlete_id, 0):
                waiting[athlete_id] = 0
            elif advanced:
                waiting[athlete_id] += round(look.at - earlier.at)
            longest[athlete_id] = max(longest[athlete_id], waiting[athlete_id])
        held = look.left
    return [
        Wait(one, total - held.get(one, 0), held.get(one, 0), longest[one]) for one, total in first.items()
    ]


def summary(record: Record, found: Figures) -> str:
    """Some lines for people."""
    lines = [f"seed {record.seed}: {record.seconds:.0f} s of the processor"]
    lines += [f"  a bug: {crash}" for crash in record.crashes]
    for day in found.days:
        lines.append(
            f"  day {day.number}: {day.ours} reads of ours and {day.others} of others, {day.share:.1%} of "
            f"{day.possible}, {day.refused} answers 429, {'work' if day.waited else 'nothing'} waited"
        )
    lanes = ", ".join(f"{lane} {calls}" for lane, calls in record.lanes.most_common())
    lines += [
        f"  our calls: {lanes}; {found.done_a_day:.0f} activities done a day",
        f"  429s: at most {found.refused_at_once} in a window, {found.refused_in_a_day} in a day",
        f"  {len(found.latencies)} uploads while history was fetched, "
        f"{sum(each.gone for each in found.latencies)} of them with the day's quota gone",
        f"  to the detail: median {found.percentile(0.5):.1f} s, p99 {found.percentile(0.99):.1f} s; "
        f"with all that came too late in the day: median {found.percentile(0.5, gone=True):.1f} s, "
        f"p99 {found.percentile(0.99, gone=True):.0f} s",
        f"  to the streams: median {found.percentile(0.5, streams=True):.0f} s, "
        f"p99 {found.percentile(0.99, streams=True):.0f} s",
        _told(found.waits),
        _kept(found.promises),
    ]
    return "\n".join(line for line in lines if line)


def _told(waits: Sequence[Wait]) -> str:
    if not waits:
        return "  no history waited"
    done = [wait.done for wait in waits]
    worst = max(wait.longest_s for wait in waits)
    return (
        f"  histories: {sum(done)} jobs done, {min(done)} to {max(done)} an athlete; "
        f"nothing for {worst / HOUR_S:.1f} h at most while others advanced"
    )


def _kept(promises: Sequence[Promise]) -> str:
    if not promises:
        return ""
    worst = max(promises, key=error)
    kept = sum(error(promise) <= 0.15 for promise in promises)
    return (
        f"  ends foretold: {kept} of {len(promises)} within 15 %; the worst at tenth {worst.tenth} of "
        f"{worst.athlete_id or 'all'}: {error(worst):.0%} off"
    )
