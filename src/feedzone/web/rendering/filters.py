"""Template filters: times, sizes and labels in the viewer's time zone and units."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from ...domain.job_kinds import KINDS
from ...domain.wording import count, duration
from ...store.schema.personal import LABELS
from ..parsing import schema_meaning, schema_type
from .units import METRES_A_MILE

CAUSES: Mapping[str, tuple[str, str]] = {
    "no_answer": ("Strava did not respond", "Strava or the network was down. Retried automatically."),
    "strava_error": (
        "Strava server error",
        "Usually temporary, retried automatically. Discard a job that keeps failing for days.",
    ),
    "rate_limited": ("Rate limit reached", "Retried automatically when the limit allows."),
    "application_refused": (
        "Strava rejected the application's credentials",
        "Set STRAVA_CLIENT_ID and STRAVA_CLIENT_SECRET to the values from strava.com/settings/api and "
        "restart. Then the jobs are retried automatically.",
    ),
    "needs_scope": (
        "Missing permission",
        "Send the athlete the link to connect again. Then the jobs are retried automatically.",
    ),
    "token_rejected": (
        "Strava no longer accepts the athlete's token",
        "Send the athlete the link to connect again. Then the jobs are retried automatically.",
    ),
    "revoked": ("The athlete revoked access", "Nothing can be fetched until the athlete connects again."),
    "not_connected": ("The athlete is not connected", "Send the athlete the link to connect."),
    "not_visible": ("Not visible at Strava", "It was deleted or hidden. Discard the job."),
    "refused": (
        "Strava rejected the request",
        "See its response below. Retry only if something has changed.",
    ),
    "other": ("Unexpected error", "See the attempts for details."),
}
"""Title and advice for each class of failure (errors.py)."""

WINDOWS: Mapping[str, str] = {
    "overall_15min": "All requests, 15 min",
    "overall_day": "All requests, day",
    "read_15min": "Reads, 15 min",
    "read_day": "Reads, day",
}

LANES: Mapping[str, str] = {
    "live": "Webhooks",
    "interactive": "Manual",
    "reconcile": "Checks",
    "recheck": "Follow-up checks",
    "backfill": "Initial sync and history",
    "none": "Other",
}

STATES: Mapping[str, tuple[str, str]] = {
    "active": ("connected", "good"),
    "needs_reauth": ("must reconnect", "bad"),
    "needs_scope": ("missing permission", "warn"),
    "leaving": ("leaving", "bad"),
    "deauthorized": ("disconnected", "idle"),
    "quiet": ("no webhooks", "warn"),
    "pending": ("waiting", "idle"),
    "processing": ("processing", "live"),
    "completed": ("done", "good"),
    "failed": ("failed", "bad"),
    "ignored": ("ignored", "idle"),
    "syncing": ("syncing", "live"),
    "synced": ("synced", "good"),
    "deleted": ("deleted", "idle"),
}


@pass_context
def short_time(context: Context, value: datetime | None, otherwise: str = "never") -> str | Markup:
    """Return a point in time: today as `14:05`, this year without the year."""
    if value is None:
        return otherwise
    local, now = value.astimezone(context["viewer"].tz), context["now"].astimezone(context["viewer"].tz)
    if local.date() == now.date():
        text = f"{local:%H:%M}"
    elif local.year == now.year:
        text = f"{local.day} {local:%b %H:%M}"
    else:
        text = f"{local.day} {local:%b %Y}"
    return _time(context, value, text)


@pass_context
def time_of_day(context: Context, value: datetime) -> Markup:
    """Return `17:15`, for a time within the next day: the date would add nothing."""
    return _time(context, value, f"{value.astimezone(context['viewer'].tz):%H:%M}")


@pass_context
def exact_time(context: Context, value: datetime) -> str | Markup:
    """Return `short_time`, today to the second: entries of the same minute keep a visible order."""
    zone = context["viewer"].tz
    local, now = value.astimezone(zone), context["now"].astimezone(zone)
    return (
        _time(context, value, f"{local:%H:%M:%S}")
        if local.date() == now.date()
        else short_time(context, value)
    )


@pass_context
def ago(context: Context, value: datetime | None, otherwise: str = "never") -> str | Markup:
    """Return the time since then; the browser keeps counting."""
    if value is None:
        return otherwise
    seconds = (context["now"] - value).total_seconds()
    return _time(context, value, "just now" if seconds < 5 else f"{duration(seconds)} ago", counts=True)


def _time(context: Context, value: datetime, text: str, *, counts: bool = False) -> Markup:
    zone = context["viewer"].tz
    exact = f"{value.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    if context["viewer"].zone != "UTC":
        exact += f" ({value.astimezone(UTC):%H:%M:%S} UTC)"
    stamp = value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    counting = Markup(' data-ago=""') if counts else ""
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(stamp, exact, counting, text)


@pass_context
def distance(context: Context, metres: float | None) -> str:
    if not metres:
        return ""
    if context["viewer"].units == "imperial":
        return f"{metres / METRES_A_MILE:.1f} mi"
    return f"{metres / 1000:.1f} km"


@pass_context
def failure(context: Context, letter: Any) -> Markup:
    """Return the failure of a dead letter and the time of the first one."""
    job, subject = letter.job, KINDS[letter.job.kind].label
    if job.http_status is not None and job.http_status >= 400:
        text = f"Strava returns {job.http_status} for {subject}"
    elif job.error_class == "no_answer":
        text = f"Strava does not respond for {subject}"
    else:
        text = f"{CAUSES.get(job.error_class, CAUSES['other'])[0]} for {subject}"
    first = letter.attempts[0].ended_at if letter.attempts else job.updated_at
    return Markup("{}, since {}").format(text, _day(context, first))


def _day(context: Context, value: datetime) -> str | Markup:
    """Return a point in time, as the weekday if it is within the last week."""
    local, now = value.astimezone(context["viewer"].tz), context["now"].astimezone(context["viewer"].tz)
    days = (now.date() - local.date()).days
    return _time(context, value, f"{local:%A}") if 0 < days < 7 else short_time(context, value)


def elapsed(seconds: float | None) -> str:
    """Return the duration of a step, to the millisecond below one second."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def clock_time(seconds: int | None) -> str:
    """Return `1:02:03`, or `2:03` below one hour."""
    if not seconds:
        return ""
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def percent(share: float | None) -> str:
    """Return a percentage; only a share of exactly 1 becomes 100 %."""
    if share is None:
        return "—"
    return "100 %" if share == 1 else f"{min(99.9, share * 100):.1f} %"


def sport(name: str | None) -> str:
    """Return `Mountain bike ride` for `MountainBikeRide`."""
    if not name:
        return "Activity"
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return spaced.strip().capitalize()


def describe_event(event: Any) -> str:
    """Return what a webhook event reports, as a verb after the athlete's name."""
    if event.object_type == "athlete":
        return "disconnected" if event.aspect_type in ("update", "delete") else event.aspect_type
    verbs = {
        "create": "uploaded an activity",
        "update": "updated an activity",
        "delete": "deleted an activity",
    }
    return verbs.get(event.aspect_type, f"{event.aspect_type} of an {event.object_type}")


def register(environment: Environment) -> None:
    """Add these filters and labels to the templates' environment."""
    environment.filters.update(
        short_time=short_time,
        time_of_day=time_of_day,
        exact_time=exact_time,
        ago=ago,
        distance=distance,
        elapsed=elapsed,
        clock_time=clock_time,
        duration=duration,
        percent=percent,
        sport=sport,
        describe_event=describe_event,
        failure=failure,
        schema_type=schema_type,
        schema_meaning=schema_meaning,
        number=lambda value: f"{value:,}",
    )
    environment.globals.update(
        count=count, causes=CAUSES, windows=WINDOWS, lanes=LANES, kinds=KINDS, tables=LABELS, states=STATES
    )
