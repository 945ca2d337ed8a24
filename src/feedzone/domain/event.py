"""Strava's webhook event: its shape, its identity, its job (docs/strava-api.md#webhook-events)."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from ..errors import InvalidInput
from . import json_text
from .job import Action, JobSpec, Lane, PlainHint, RefreshHint, RevokeHint, activity_key, athlete_key

DEBOUNCE = timedelta(seconds=3)
"""One save at Strava makes several updates. When none has come for this long, one fetch confirms them all.
Changes that the update itself does not carry are fetched after this delay at the latest."""

MAX_DEBOUNCE = timedelta(seconds=30)
"""The longest delay of a fetch by further updates, where the stored activity is right already."""

BULK = 10
"""Updates of one athlete that wait. From this number on (people edit hundreds at once), the fetches that only
confirm a shown update go behind live work."""

Signature = Literal["verified", "mismatch", "absent"]
EventStatus = Literal["pending", "processing", "completed", "failed", "ignored"]
IgnoredBecause = Literal["foreign_subscription", "unknown_kind", "nothing_to_do"]
"""Why an event causes no job: it belongs to another subscription, its kind is unknown, or it changes
nothing that we keep."""

KIND_LENGTH = 64
"""Characters of an object type or aspect type, at most. Strava adds new ones."""

UPDATES_LIMIT = 16 * 1024
"""Bytes of `updates` in the stored text, at most. Strava sends a title of 255 characters at most."""

FACTS = ("object_type", "object_id", "aspect_type", "owner_id", "subscription_id", "event_time")
UPDATES = ("title", "type", "private", "visibility", "authorized")
"""The members of an event and of its `updates` that Strava documents."""

Int64 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Kind = Annotated[str, msgspec.Meta(min_length=1, max_length=KIND_LENGTH)]


class Refusals(msgspec.Struct, frozen=True):
    """The deliveries that were answered 503 and are not stored yet."""

    since: datetime
    events: int
    athletes: int


class _Payload(msgspec.Struct):
    object_type: Kind
    object_id: Int64
    aspect_type: Kind
    owner_id: Int64
    subscription_id: Int64
    event_time: Int64
    # PHP-born logs show `[]` for an empty object, and some deliveries have no `updates` at all.
    updates: dict[str, Any] | list[Any] | None = None


class StravaEvent(msgspec.Struct, frozen=True):
    """One event, as Strava sent it. `event_time` is in epoch seconds, with one second resolution."""

    object_type: str
    object_id: int
    aspect_type: str
    owner_id: int
    subscription_id: int
    event_time: int
    updates: dict[str, Any]
    raw: str
    """The body, encoded again from its parsed value, so that every decoder can read it later."""

    @property
    def has_words(self) -> bool:
        """Whether the body may hold more than the facts: a title, or members that we do not know."""
        members = len(FACTS) + ('"updates":' in self.raw)
        return bool(self.updates) or self.raw.count('":') > members

    @property
    def is_known_kind(self) -> bool:
        """Whether we know what this event means."""
        return self.object_type in ("activity", "athlete") and self.aspect_type in (
            "create",
            "update",
            "delete",
        )

    @property
    def dedup_key(self) -> str:
        """Strava gives events no id, so their content is their identity: equal copies are one event."""
        updates = msgspec.json.encode(self.updates, order="sorted")
        parts = (
            self.subscription_id,
            self.object_type,
            self.object_id,
            self.aspect_type,
            self.owner_id,
            self.event_time,
        )
        digest = hashlib.sha256("|".join(map(str, parts)).encode() + b"|" + updates)
        return digest.hexdigest()

    def happened(self, received: datetime) -> int:
        """Return `event_time`, but no later than the event was received: it would outrank all true events."""
        return min(self.event_time, int(received.timestamp()))

    @property
    def is_deauthorization(self) -> bool:
        """Athlete *update* with `authorized` "false" (string or boolean), and only that."""
        authorized = self.updates.get("authorized")
        return (
            self.object_type == "athlete"
            and self.aspect_type == "update"
            and (authorized is False or authorized == "false")
        )


def redacted(raw: str) -> str:
    """The event without words: titles are the athlete's own, and members that we do not know may be.

    Whether an athlete is `authorized` stays, because it proves a departure.
    """
    payload = msgspec.json.decode(raw)
    bare = {name: payload[name] for name in FACTS if name in payload}
    updates = payload.get("updates")
    if isinstance(updates, dict):
        bare["updates"] = {name: _fact(name, updates[name]) for name in UPDATES if name in updates}
    elif "updates" in payload:
        bare["updates"] = None if updates is None else []
    return raw if bare == payload else msgspec.json.encode(bare).decode()


def _fact(name: str, value: Any) -> Any:
    return value if name == "authorized" and _flag(value) is not None else None


def parse_event(body: bytes) -> StravaEvent:
    """Read a delivery's body. Raises InvalidInput that names the field and what it takes."""
    members = json_text.parse(body)
    try:
        payload = msgspec.convert(members, _Payload)
    except msgspec.ValidationError as problem:
        raise InvalidInput(f"not an event of Strava's: {json_text.failure(problem)}") from None
    updates = payload.updates or {}
    if isinstance(updates, list):
        raise InvalidInput("not an event of Strava's: Expected `object` - at `$.updates`")
    if len(msgspec.json.encode(updates)) > UPDATES_LIMIT:
        raise InvalidInput(
            f"not an event of Strava's: Expected at most {UPDATES_LIMIT} bytes - at `$.updates`"
        )
    return StravaEvent(
        payload.object_type,
        payload.object_id,
        payload.aspect_type,
        payload.owner_id,
        payload.subscription_id,
        payload.event_time,
        updates,
        msgspec.json.encode(members).decode(),
    )


class _Updates(msgspec.Struct):
    updates: dict[str, Any] | list[Any] | None = None


_updates_decoder = msgspec.json.Decoder(_Updates)


def stored_updates(raw: str) -> dict[str, Any]:
    """Return the `updates` of a stored event."""
    updates = _updates_decoder.decode(raw).updates
    return updates if isinstance(updates, dict) else {}


def job_for(
    event: StravaEvent,
    event_id: str,
    signature: Signature,
    received: datetime,
    *,
    recently_refetched: bool = False,
    in_bulk: bool = False,
) -> JobSpec | None:
    """Return the job that an event of a connected athlete causes. None: there is nothing to do.

    `recently_refetched`: within MAX_DEBOUNCE the activity has been updated, and fetched after that.
    `in_bulk`: BULK updates of the athlete's activities wait already.
    """
    if not event.is_known_kind:
        return None
    if event.object_type == "activity":
        action: Action = "delete" if event.aspect_type == "delete" else "refresh"
        refresh = RefreshHint(action=action, verified=signature == "verified", cause=f"event:{event_id}")
        settles = event.aspect_type == "update"
        shown = settles and _shows_all(event) and signature != "mismatch"
        longest = received + (MAX_DEBOUNCE if recently_refetched or shown else DEBOUNCE)
        return JobSpec(
            kind="refresh_activity",
            key=activity_key(event.object_id),
            athlete_id=event.owner_id,
            hint=refresh,
            hint_time=event.happened(received),
            lane=Lane.RECONCILE if in_bulk and shown else Lane.LIVE,
            due_at=received + DEBOUNCE if settles else None,
            debounce_until=longest if settles else None,
        )
    if event.is_deauthorization:
        revoke = RevokeHint(action="confirm", verified=signature == "verified", cause=f"event:{event_id}")
        return JobSpec(
            kind="revoke_athlete",
            key=athlete_key(event.owner_id),
            athlete_id=event.owner_id,
            hint=revoke,
            hint_time=event.happened(received),
            lane=Lane.LIVE,
        )
    return None


CROWD_WAITS = timedelta(minutes=1)
"""How long events past their athlete's limit wait for the list call that they share."""


def without_own_call(spec: JobSpec, received: datetime, *, is_stored: bool) -> JobSpec:
    """Return the job of an event that is past the limit of its athlete.

    A stored activity keeps its job, behind live work: there are only as many as the athlete has activities.
    Anybody can invent others, so one list call shows which of them exist.
    """
    if spec.kind != "refresh_activity":
        return spec
    if is_stored:
        return msgspec.structs.replace(spec, lane=max(spec.lane, Lane.RECONCILE))
    return JobSpec(
        kind="list_activities",
        key=athlete_key(spec.athlete_id),
        athlete_id=spec.athlete_id,
        hint=PlainHint(),
        hint_time=0,
        lane=Lane.LIVE,
        due_at=received + CROWD_WAITS,
        first=True,
    )


def _shows_all(event: StravaEvent) -> bool:
    """Whether all changes of an update are visible before the fetch (visible_update)."""
    shown = _flag(event.updates.get("private")) is not False
    return shown and bool(event.updates) and event.updates.keys() <= {"title", "type", "private"}


class VisibleUpdate(msgspec.Struct, frozen=True):
    """The changes that an update event carries: visible at once, and confirmed by a fetch later."""

    activity_id: int
    athlete_id: int
    event_time: int
    event_id: str
    name: str | None = None
    type: str | None = None
    private: bool | None = None


def visible_update(event: StravaEvent, event_id: str, received: datetime) -> VisibleUpdate | None:
    """Return the title, type and privacy that an activity update carries. None: it carries none of them."""
    if event.object_type != "activity" or event.aspect_type != "update":
        return None
    title, kind = event.updates.get("title"), event.updates.get("type")
    update = VisibleUpdate(
        event.object_id,
        event.owner_id,
        event.happened(received),
        event_id,
        name=title if isinstance(title, str) else None,
        type=kind if isinstance(kind, str) else None,
        private=_flag(event.updates.get("private")),
    )
    return None if update.name is None and update.type is None and update.private is None else update


def _flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return None
