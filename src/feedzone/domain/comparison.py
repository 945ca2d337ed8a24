"""The jobs that a comparison with Strava needs and causes."""

from __future__ import annotations

from .job import JobSpec, Lane, ReconcileHint, RefreshHint, activity_key, athlete_key, job_now


def comparison(athlete_id: int, days: int, *, full: bool = True, to_end: bool = True) -> JobSpec:
    """Compare the athlete's last `days` with Strava."""
    hint = ReconcileHint(days=days, full=full, to_end=to_end)
    return job_now("reconcile_athlete", athlete_key(athlete_id), athlete_id, hint, Lane.RECONCILE)


def refresh(athlete_id: int, activity_id: int) -> JobSpec:
    """The list tells of something that we do not have."""
    hint = RefreshHint(cause="sweep")
    return job_now("refresh_activity", activity_key(activity_id), athlete_id, hint, Lane.RECONCILE)


def confirm_deletion(athlete_id: int, activity_id: int) -> JobSpec:
    """Not in the list: gone only when Strava says so when asked for it."""
    hint = RefreshHint(action="delete", cause="sweep")
    return job_now("refresh_activity", activity_key(activity_id), athlete_id, hint, Lane.RECONCILE)
