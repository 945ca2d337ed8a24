"""How values look to people: in the reader's time zone and units, with the exact instant at hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from ...domain.job_kinds import KINDS
from ...domain.wording import count, duration
from ..parsing import schema_meaning, schema_type
from .units import METRES_A_MILE

CAUSES: Mapping[str, tuple[str, str]] = {
    "no_answer": (
        "Strava did not answer",
        "Strava or the network was away. It is tried again by itself, or now, if you like.",
    ),
    "strava_error": (
        "Strava answered with an error of its own",
        "It usually passes, and is tried again by itself. What fails for days can be discarded.",
    ),
    "rate_limited": ("The rate limit was spent", "It is tried again by itself, when there is room."),
    "application_refused": (
        "Strava refused this application's own credentials",
        "Set STRAVA_CLIENT_ID and STRAVA_CLIENT_SECRET as strava.com/settings/api has them, and restart; "
        "then it runs by itself.",
    ),
    "needs_scope": (
        "The athlete did not grant what is needed",
        "Send them the link to connect again; then it runs by itself.",
    ),
    "token_rejected": (
        "Strava no longer accepts the athlete's token",
        "Send them the link to connect again; then it runs by itself.",
    ),
    "revoked": ("The athlete has withdrawn the access", "Nothing can be fetched until they connect again."),
    "not_connected": ("The athlete is not connected", "Send them the link to connect."),
    "not_visible": ("Strava does not show it to us", "It was deleted or hidden: discard it."),
    "refused": ("Strava refused the request", "Its answer is below. A retry helps if something has changed."),
    "other": ("Something else went wrong", "Each attempt tells what."),
}
"""Classes of failure (errors.py) in words, and what to do."""

WINDOWS: Mapping[str, str] = {
    "overall_15min": "All calls",
    "overall_day": "All calls",
    "read_15min": "Reads",
    "read_day": "Reads",
}

LANES: Mapping[str, str] = {
    "live": "Events",
    "interactive": "On request",
    "reconcile": "Comparisons",
    "recheck": "Later looks",
    "backfill": "First syncs",
    "none": "Outside of jobs",
}

TABLES: Mapping[str, str] = {
    "strava_activities": "activities",
    "activity_streams": "streams",
    "activity_photos": "lists of photos",
    "activity_changes": "entries of the audit trail",
    "webhook_events": "events",
    "strava_gear": "bikes and shoes",
    "jobs": "jobs that wait",
    "job_attempts": "failed attempts",
    "token_uses": "notes on the use of tokens",
    "reconciliations": "comparisons",
    "conflicts": "questions",
}

STATES: Mapping[str, tuple[str, str]] = {
    "active": ("connected", "good"),
    "needs_reauth": ("must connect again", "bad"),
    "needs_scope": ("missing scope", "warn"),
    "deauthorized": ("left", "idle"),
    "quiet": ("no events come", "warn"),
    "pending": ("waiting", "idle"),
    "processing": ("under way", "live"),
    "completed": ("done", "good"),
    "failed": ("failed", "bad"),
    "ignored": ("ignored", "idle"),
    "syncing": ("being fetched", "live"),
    "synced": ("stored", "good"),
    "deleted": ("deleted", "idle"),
}


@pass_context
def moment(context: Context, value: datetime | None, otherwise: str = "never") -> str | Markup:
    """A point in time: of today the clock, of this year no year."""
    if value is None:
        return otherwise
    local, now = value.astimezone(context["reader"].tz), context["now"].astimezone(context["reader"].tz)
    if local.date() == now.date():
        text = f"{local:%H:%M}"
    elif local.year == now.year:
        text = f"{local.day} {local:%b %H:%M}"
    else:
        text = f"{local.day} {local:%b %Y}"
    return _time(context, value, text)


@pass_context
def instant(context: Context, value: datetime) -> str | Markup:
    """As `moment`, to the second where it is of today: what happened within one minute has an order."""
    zone = context["reader"].tz
    local, now = value.astimezone(zone), context["now"].astimezone(zone)
    return (
        _time(context, value, f"{local:%H:%M:%S}") if local.date() == now.date() else moment(context, value)
    )


@pass_context
def ago(context: Context, value: datetime | None, otherwise: str = "never") -> str | Markup:
    """How long ago; it goes on counting in the browser."""
    if value is None:
        return otherwise
    seconds = (context["now"] - value).total_seconds()
    return _time(context, value, "just now" if seconds < 5 else f"{duration(seconds)} ago", counts=True)


def _time(context: Context, value: datetime, text: str, *, counts: bool = False) -> Markup:
    zone = context["reader"].tz
    exact = f"{value.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    if context["reader"].zone != "UTC":
        exact += f" ({value.astimezone(UTC):%H:%M:%S} UTC)"
    stamp = value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    counting = Markup(' data-ago=""') if counts else ""
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(stamp, exact, counting, text)


@pass_context
def distance(context: Context, metres: float | None) -> str:
    if not metres:
        return ""
    if context["reader"].units == "imperial":
        return f"{metres / METRES_A_MILE:.1f} mi"
    return f"{metres / 1000:.1f} km"


@pass_context
def failure(context: Context, letter: Any) -> Markup:
    """What has been happening to a dead letter, and since when."""
    job, subject = letter.job, KINDS[letter.job.kind].label
    if job.http_status is not None and job.http_status >= 400:
        said = f"Strava answers {job.http_status} for {subject}"
    elif job.error_class == "no_answer":
        said = f"Strava does not answer for {subject}"
    else:
        said = f"{CAUSES.get(job.error_class, CAUSES['other'])[0]}, asked for {subject}"
    first = letter.attempts[0].ended_at if letter.attempts else job.updated_at
    return Markup("{}, since {}").format(said, _day(context, first))


def _day(context: Context, value: datetime) -> str | Markup:
    """A point in time, by its weekday where that says enough."""
    local, now = value.astimezone(context["reader"].tz), context["now"].astimezone(context["reader"].tz)
    days = (now.date() - local.date()).days
    return _time(context, value, f"{local:%A}") if 0 < days < 7 else moment(context, value)


def took(seconds: float | None) -> str:
    """How long a step took."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def clock_time(seconds: int | None) -> str:
    """1:02:03"""
    if not seconds:
        return ""
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def percent(share: float | None) -> str:
    """Never 100 % of what is not all."""
    if share is None:
        return "—"
    return "100 %" if share == 1 else f"{min(99.9, share * 100):.1f} %"


def sport(name: str | None) -> str:
    """MountainBikeRide: Mountain bike ride."""
    if not name:
        return "Activity"
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return spaced.strip().capitalize()


def happened(event: Any) -> str:
    """What an event says, in words."""
    if event.object_type == "athlete":
        return "left" if event.aspect_type in ("update", "delete") else event.aspect_type
    verbs = {
        "create": "uploaded an activity",
        "update": "changed an activity",
        "delete": "deleted an activity",
    }
    return verbs.get(event.aspect_type, f"{event.aspect_type} of an {event.object_type}")


def register(environment: Environment) -> None:
    """Make these known to templates."""
    environment.filters.update(
        moment=moment,
        instant=instant,
        ago=ago,
        distance=distance,
        took=took,
        clock_time=clock_time,
        duration=duration,
        percent=percent,
        sport=sport,
        happened=happened,
        failure=failure,
        schema_type=schema_type,
        schema_meaning=schema_meaning,
        number=lambda value: f"{value:,}",
    )
    environment.globals.update(
        count=count, causes=CAUSES, windows=WINDOWS, lanes=LANES, tables=TABLES, states=STATES
    )
