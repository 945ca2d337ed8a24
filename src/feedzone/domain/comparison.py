"""The jobs that a comparison with Strava needs and causes, and how far back it reaches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from .job import JobSpec, Lane, ReconcileHint, RefreshHint, activity_key, athlete_key, job_now

WHOLE_EVERY = 28
"""Days after which all that we hold of an athlete is compared again."""

OVERLAP = timedelta(days=1)
"""What is looked at again of the time before an athlete was seen last: uploads come late."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Known(msgspec.Struct, frozen=True):
    """What we know of an athlete's activities; of one who is new, or whose rows were purged, nothing."""

    listed: bool = False
    """Whether the list of the last sync has reached its end."""
    since: datetime | None = None
    """Start of all that was synced; None with `listed`: all of the history."""
    seen: datetime | None = None
    """When we last had all that Strava lists: by a full comparison, or by the first sync."""


def reach(known: Known, days: int, now: datetime, *, whole: bool = False) -> datetime | None:
    """Where a list must begin that leaves no gap; None: the last `days` will do.

    Who was away for longer is looked at from when they were last seen (pain 40). `whole`: all that we hold
    is looked at (pain 52), of who has not synced yet no more than usual.
    """
    wanted = [] if known.seen is None else [known.seen - OVERLAP]
    if whole and known.listed:
        wanted.append(known.since or BEGINNING)
    return min((at for at in wanted if at < now - timedelta(days=days)), default=None)


def is_due_whole(athlete_id: int, verified: datetime, now: datetime) -> bool:
    """Whether all that we hold of the athlete is to be compared now: first on each 28th day (UTC), or as soon
    as may be after it. `verified`: when the athlete was last compared, or connected."""

    def turn(at: datetime) -> int:
        return ((at - BEGINNING).days + athlete_id) // WHOLE_EVERY

    return turn(verified) < turn(now)


def comparison(
    athlete_id: int, days: int, *, full: bool = True, to_end: bool = True, since: datetime | None = None
) -> JobSpec:
    """Compare the athlete's last `days` with Strava, and what began from `since` on before that."""
    hint = ReconcileHint(
        days=days, full=full, to_end=to_end, since=None if since is None else int(since.timestamp())
    )
    return job_now("reconcile_athlete", athlete_key(athlete_id), athlete_id, hint, Lane.RECONCILE)


def refresh(athlete_id: int, activity_id: int, *, manual: bool = False) -> JobSpec:
    """The list tells of something that we do not have."""
    hint = RefreshHint(cause="reconciliation", manual=manual)
    return job_now("refresh_activity", activity_key(activity_id), athlete_id, hint, Lane.RECONCILE)


def confirm_deletion(athlete_id: int, activity_id: int) -> JobSpec:
    """Not in the list: gone only when Strava says so when asked for it."""
    hint = RefreshHint(action="delete", cause="reconciliation")
    return job_now("refresh_activity", activity_key(activity_id), athlete_id, hint, Lane.RECONCILE)
