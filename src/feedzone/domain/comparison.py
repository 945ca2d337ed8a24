"""The jobs that a comparison with Strava needs and causes."""

from __future__ import annotations

from datetime import datetime

from .job import Hint, JobKind, JobSpec, Lane, ReconcileHint, RefreshHint, activity_key, athlete_key


def comparison(athlete_id: int, days: int, now: datetime, *, full: bool = True) -> JobSpec:
    """Compare the athlete's last `days` with Strava."""
    hint = ReconcileHint(days=days, full=full)
    return _job("reconcile_athlete", athlete_key(athlete_id), athlete_id, hint, now)


def refresh(athlete_id: int, activity_id: int, now: datetime) -> JobSpec:
    """The list tells of something that we do not have."""
    hint = RefreshHint(cause="sweep")
    return _job("refresh_activity", activity_key(activity_id), athlete_id, hint, now)


def confirm_deletion(athlete_id: int, activity_id: int, now: datetime) -> JobSpec:
    """Not in the list: gone only when Strava says so when asked for it."""
    hint = RefreshHint(action="delete", cause="sweep")
    return _job("refresh_activity", activity_key(activity_id), athlete_id, hint, now)


def _job(kind: JobKind, key: str, athlete_id: int, hint: Hint, now: datetime) -> JobSpec:
    return JobSpec(
        kind=kind,
        key=key,
        athlete_id=athlete_id,
        hint=hint,
        hint_time=0,
        lane=Lane.RECONCILE,
        rank=int(now.timestamp() * 1000),
    )
