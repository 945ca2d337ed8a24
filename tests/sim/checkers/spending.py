"""A flood of forged events spends a small share of the rate limit, and delays no other athlete's upload."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from .evidence import Evidence, epoch

SHARE = 0.1
"""The share of a day's reads that forged events may spend."""

STORED_WITHIN_S = 10.0
RECOVERY_S = 60.0
"""While somebody else answers instead of Strava, nothing is fetched until the breaker's next probe."""

CALLS_OF_AN_EVENT = 8
"""The most calls that a true event causes: detail, streams, and both again while Strava is not ready."""

EVENT_LISTS = "SELECT sent_at FROM call_log WHERE lane = 'live' AND endpoint = 'GET athlete/activities'"
LIVE_CALLS = "SELECT sent_at FROM call_log WHERE lane = 'live' AND athlete_id = ?"


def check(evidence: Evidence) -> Iterator[str]:
    attacked = evidence.ledger.attacked
    if attacked is None:
        return
    allowed = SHARE * evidence.world.meter.limits.read_daily
    for day, calls in sorted(spent_on_inventions(evidence).items()):
        if calls > allowed:
            yield f"{calls} of at most {allowed:.0f} calls were spent on invented activities on {day}"
    events = Counter(
        day_of(evidence.world_start + at)
        for identity, at in evidence.ledger.acknowledged.items()
        if identity[3] == attacked and identity not in evidence.ledger.forged
    )
    live = Counter(day_of(epoch(row["sent_at"])) for row in evidence.all(LIVE_CALLS, attacked))
    for day, calls in sorted(live.items()):
        if calls > allowed + CALLS_OF_AN_EVENT * events[day]:
            yield f"the attacked athlete cost {calls} live calls on {day}, for {events[day]} true events"
    for activity_id, seconds in sorted(uploads(evidence).items()):
        if seconds > STORED_WITHIN_S:
            yield f"another athlete's upload {activity_id} was fetched only after {seconds:.1f} s"


def spent_on_inventions(evidence: Evidence) -> Counter[str]:
    """Return the calls about activities that never existed, and the lists that events caused, by UTC day."""
    calls = Counter(day_of(evidence.world_start + at) for at in evidence.ledger.for_nothing)
    return calls + Counter(day_of(epoch(row["sent_at"])) for row in evidence.all(EVENT_LISTS))


def uploads(evidence: Evidence) -> dict[int, float]:
    """Return the seconds from the delivery to the detail, by upload of the athletes who are not attacked.

    Uploads that waited because somebody else answered instead of Strava, or because Strava answered 404 about
    an activity that it showed already, say nothing about the forged events.
    """
    seconds = {}
    visible_after = evidence.world.faults.visible_delay_s
    for identity, at in evidence.ledger.acknowledged.items():
        kind, activity_id, aspect, owner, _ = identity
        if (kind, aspect) != ("activity", "create") or owner == evidence.ledger.attacked:
            continue
        spec = evidence.world.activities.get(activity_id)
        if spec is None or identity in evidence.ledger.forged or activity_id in evidence.ledger.touched:
            continue
        shown = evidence.ledger.first_shown.get(activity_id, evidence.now - evidence.world_start)
        looks = evidence.ledger.fetched.get(activity_id, [])
        strayed = any(at + visible_after < look < shown for look in looks)
        if not strayed and not _impersonated(evidence, at - RECOVERY_S, shown):
            seconds[activity_id] = shown - at
    return seconds


def _impersonated(evidence: Evidence, since: float, until: float) -> bool:
    times = evidence.ledger.impersonations
    first = bisect_left(times, since)
    return first < len(times) and times[first] <= until


def day_of(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d")
