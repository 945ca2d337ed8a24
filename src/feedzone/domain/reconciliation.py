"""The jobs that a reconciliation needs and causes, and how far back it reaches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from .job import JobSpec, Lane, ReconcileHint, RefreshHint, activity_key, athlete_key, job_now

FULL_EVERY_DAYS = 28
"""Days after which all stored activities of an athlete are compared with Strava again."""

OVERLAP = timedelta(days=1)
"""How much of the time before the last check is checked again: uploads can come late."""

COMPARED_EVERY = timedelta(hours=6)
"""The longest pause between two comparisons of an athlete, however few calls are left."""

SHORTEST_PAUSE = timedelta(minutes=10)
"""The pause for recently active athletes, when calls are idle."""

RESTING_TIMES = 4
"""How many times longer the pause is for all other athletes."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class SyncedRange(msgspec.Struct, frozen=True):
    """The range of an athlete's activities that was synced. The defaults mean: none.

    That is so for a new athlete, and for one whose rows were purged.
    """

    listed: bool = False
    """Whether the list of the last backfill was read to its end."""
    since: datetime | None = None
    """The start of the synced range. None with `listed` set means: from the first activity on."""
    seen: datetime | None = None
    """When we last had everything that Strava lists: after a full reconciliation or the backfill."""


class Pauses(NamedTuple):
    """How long to wait after a comparison before the next one, for active athletes and for resting ones."""

    active: timedelta
    resting: timedelta


def pauses(calls_an_hour: float, active: int, resting: int) -> Pauses:
    """Return the pauses that spend `calls_an_hour` on all athletes, at one call a comparison."""
    if calls_an_hour <= 0:
        return Pauses(COMPARED_EVERY, COMPARED_EVERY)
    even = timedelta(
        hours=min(COMPARED_EVERY / timedelta(hours=1), (active + resting / RESTING_TIMES) / calls_an_hour)
    )
    pause = min(max(even, SHORTEST_PAUSE), COMPARED_EVERY)
    return Pauses(pause, min(RESTING_TIMES * pause, COMPARED_EVERY))


def list_from(synced: SyncedRange, days: int, now: datetime, *, everything: bool = False) -> datetime | None:
    """Return where a list must begin to leave no gap. None means: the last `days` suffice.

    After an absence of more than `days`, the list begins where the last one ended. With `everything`
    it covers everything that we store, except for an athlete whose backfill has not been listed yet:
    then it covers no more than usual.
    """
    starts = [] if synced.seen is None else [synced.seen - OVERLAP]
    if everything and synced.listed:
        starts.append(synced.since or BEGINNING)
    return min((start for start in starts if start < now - timedelta(days=days)), default=None)


def full_reconciliation_is_due(athlete_id: int, verified: datetime, now: datetime) -> bool:
    """Return whether to compare all stored activities of the athlete with Strava now.

    It is due on every 28th day (UTC), or as soon as possible after it. The id spreads athletes over those
    days. `verified` is when the athlete was last reconciled, or else connected.
    """

    def period(instant: datetime) -> int:
        return ((instant - BEGINNING).days + athlete_id) // FULL_EVERY_DAYS

    return period(verified) < period(now)


def reconciliation_job(
    athlete_id: int,
    days: int,
    *,
    full: bool = True,
    to_end: bool = True,
    since: datetime | None = None,
    everything: bool = False,
    lane: Lane = Lane.RECONCILE,
) -> JobSpec:
    """Compare the athlete's last `days`, and anything from `since` to then, with Strava."""
    hint = ReconcileHint(
        days=days,
        full=full,
        to_end=to_end,
        since=None if since is None else int(since.timestamp()),
        everything=everything,
    )
    return job_now("reconcile_athlete", athlete_key(athlete_id), athlete_id, hint, lane)


def refresh(athlete_id: int, activity_id: int, *, manual: bool = False) -> JobSpec:
    """Fetch an activity that the list shows and that we do not have in this form."""
    hint = RefreshHint(cause="reconciliation", manual=manual)
    return job_now("refresh_activity", activity_key(activity_id), athlete_id, hint, Lane.RECONCILE)


def look_at(athlete_id: int, activity_id: int) -> JobSpec:
    """Fetch a stored activity that no list of ours covers, when calls are left."""
    return msgspec.structs.replace(refresh(athlete_id, activity_id), lane=Lane.BACKFILL)


def ask_for_streams(athlete_id: int, activity_id: int, lane: Lane = Lane.RECHECK) -> JobSpec:
    """Fetch the streams alone: an activity should have some, or its stored ones may be old."""
    hint = RefreshHint(cause="reconciliation", streams_only=True)
    return job_now("refresh_activity", activity_key(activity_id), athlete_id, hint, lane)


def confirm_deletion(athlete_id: int, activity_id: int, *, accepted: bool = False) -> JobSpec:
    """Ask Strava for an activity that the list lacks: only its own answer means that it is gone.

    With `accepted` a person has decided that many missing activities are gone.
    """
    hint = RefreshHint(action="delete", cause="request" if accepted else "reconciliation")
    return job_now("refresh_activity", activity_key(activity_id), athlete_id, hint, Lane.RECONCILE)
