"""How values look to people, and how what people write is read."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from jinja2 import Environment

from ..domain.athlete import SEATS_WARN
from ..errors import InvalidInput
from ..views import Pulse

BEHIND_S = 60.0
"""Work that has been due for longer means that the worker does not keep up, or that none runs."""

QUIET_IS_BAD = 3
"""Comparisons within a day that found what no event had told of."""

CHECK = "feedzone doctor examines the webhook"

_EPOCH = re.compile(r"-?\d{1,12}(\.\d+)?")
_LOST_PLUS = re.compile(r"(T\S+) (\d\d:?\d\d)$")


def parse_moment(text: str, name: str) -> datetime:
    """An instant from ISO 8601 (UTC unless it says otherwise) or epoch seconds. Raises InvalidInput."""
    try:
        if _EPOCH.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC)
        # A plus sign that was not escaped in a query arrives as a space.
        moment = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"{name}: takes ISO 8601 (2026-11-01T08:00:00Z) or epoch seconds") from None


def instant(value: datetime | None) -> str:
    return "never" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def wall_time(value: datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}"


def kilometres(metres: float | None) -> str:
    return "" if not metres else f"{metres / 1000:.1f} km"


def duration(seconds: float) -> str:
    """In the largest unit that fits: what changes every second would make a live page flicker."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


class Verdict(NamedTuple):
    """One line of truth: `text` is complete sentences, worst first."""

    level: Literal["good", "warn", "bad"]
    text: str


def verdict(pulse: Pulse) -> Verdict:
    """What an operator has to know of, or that there is nothing."""
    bad, warn = _broken(pulse), _wanting(pulse)
    if bad or warn:
        return Verdict("bad" if bad else "warn", " ".join(bad + warn))
    if not pulse.athletes.get("active"):
        return Verdict("warn", "Nobody is connected yet.")
    return Verdict("good", f"All is well: {_count(pulse.athletes['active'], 'athlete')} in sync.")


def _broken(pulse: Pulse) -> list[str]:
    found = []
    if pulse.oldest_due_s is not None and pulse.oldest_due_s > BEHIND_S:
        waiting = duration(pulse.oldest_due_s)
        found.append(f"Work has been waiting for {waiting}: is a worker running (feedzone work)?")
    if pulse.paused_since is not None:
        found.append(
            f"Strava has switched this application off since {instant(pulse.paused_since)}: its owner "
            "needs a paid Strava subscription. Nothing is lost; the next look is at "
            f"{instant(pulse.probe_at)}."
        )
    if pulse.subscription is not None and not pulse.subscription.active:
        found.append("The push subscription is gone: run feedzone subscription ensure.")
    if pulse.quiet_sweeps >= QUIET_IS_BAD:
        found.append(
            f"{_count(pulse.unannounced, 'activity', 'activities')} came without any event: {CHECK}."
        )
    if pulse.open_conflicts:
        found.append("Strava lists far fewer activities than are held here: feedzone conflicts list.")
    if pulse.dead_letters:
        found.append(f"{_count(pulse.dead_letters, 'job')} failed for good: feedzone events list --failed.")
    return found


def _wanting(pulse: Pulse) -> list[str]:
    found = []
    if lost := pulse.athletes.get("needs_reauth", 0):
        found.append(f"{_count(lost, 'athlete')} must connect again.")
    if lost := pulse.athletes.get("needs_scope", 0):
        found.append(f"{_count(lost, 'athlete')} did not let us read activities.")
    if pulse.seats is not None and pulse.seats_used >= SEATS_WARN * pulse.seats:
        found.append(
            f"{pulse.seats_used} of {_count(pulse.seats, 'seat')} of the Strava application are taken: "
            "without a free one nobody else can connect."
        )
    if pulse.subscription is None:
        found.append("Strava sends no events, and is asked instead: run feedzone subscription ensure.")
    if 0 < pulse.quiet_sweeps < QUIET_IS_BAD:
        found.append(f"{_count(pulse.unannounced, 'activity', 'activities')} came without an event: {CHECK}.")
    spent = [window for window in pulse.quota if window.latched or window.used >= window.quota]
    if spent:
        until = max(window.ends_at for window in spent)
        found.append(f"The rate limit is spent: work goes on at {instant(until)}.")
    return found


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def schema_type(schema: dict[str, Any]) -> str:
    """An OpenAPI schema's type in a few words."""
    if reference := schema.get("$ref"):
        return str(reference).rpartition("/")[2]
    if options := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(dict.fromkeys(schema_type(option) for option in options))
    if "enum" in schema or "const" in schema:
        return " | ".join(
            str(value) for value in schema.get("enum", [schema.get("const")]) if value is not None
        )
    kinds = schema.get("type", "any")
    kind = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if "items" in schema:
        return f"list of {schema_type(schema['items'])}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def schema_meaning(schema: dict[str, Any]) -> str:
    """A member's description; where null is one of the options, the description is the other's."""
    told = [
        str(option["description"]) for option in (schema, *schema.get("oneOf", ())) if "description" in option
    ]
    return told[0] if told else ""


def register(environment: Environment) -> None:
    """Make these known to templates."""
    environment.filters.update(
        instant=instant,
        wall_time=wall_time,
        kilometres=kilometres,
        schema_type=schema_type,
        schema_meaning=schema_meaning,
    )
