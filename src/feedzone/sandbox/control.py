"""The controls, as JSON under /control: act as an athlete, spend quota, inject faults, read logs.

They need no authentication, because the sandbox is for loopback use. Invalid input gets 400 with
{"error": ...}, an unknown id gets 404.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import msgspec

from .athletes import Athlete
from .grants import Grant, SeatsFullError
from .history import ActivitySpec
from .http import Request, Response, json_response
from .impostor import NAMES, Impostor
from .limits import Limits
from .records import Event
from .sender import Sender
from .world import NotFoundError, World

Body = dict[str, Any]
T = TypeVar("T")


class NewAthlete(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /control/athletes`."""

    history_days: int = 365
    per_week: float = 4.5


class NewActivity(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /control/activities`; `started_days_ago` makes it a late upload."""

    athlete_id: int
    sport: str = "Run"
    minutes: float = 45.0
    start: float | None = None
    started_days_ago: float | None = None
    name: str | None = None
    description: str | None = None
    manual: bool = False
    visibility: str = "everyone"
    workout_type: int | None = None
    gear_id: str | None = None
    start_hidden: bool = False
    photos: int | None = None


class NewConnection(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /control/athletes/{id}/connect`: consent and token exchange without a browser."""

    scopes: list[str] = msgspec.field(default_factory=lambda: ["read", "activity:read", "activity:read_all"])


class NewEvent(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /control/events`: an event to send, whether or not it is true."""

    object_id: int
    owner_id: int
    object_type: str = "activity"
    aspect_type: str = "update"
    event_time: int | None = None
    updates: dict[str, Any] = msgspec.field(default_factory=dict)


class NewImpostor(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /control/impostors`: answers that are not Strava's, for some seconds."""

    answer: str
    seconds: float
    endpoints: list[str] = msgspec.field(default_factory=list)
    ids: list[int] = msgspec.field(default_factory=list)
    rate: float = 1.0


class NewAddress(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /control/address`: the API moves to a host without prefix, or back."""

    moved: bool = True
    old_answer: str | None = None


class Control:
    """Handles the requests under /control."""

    def __init__(self, world: World, sender: Sender) -> None:
        self._world = world
        self._sender = sender

    def handle(self, request: Request, parts: list[str]) -> Response:
        """Return the response to a control request."""
        try:
            if request.method == "GET":
                return self._get(parts, request.query)
            if request.method == "POST":
                return json_response(self._post(parts, request.json()))
        except NotFoundError as error:
            return json_response({"error": str(error)}, 404)
        except SeatsFullError:
            return json_response({"error": "no athlete seat is left"}, 400)
        except (ValueError, TypeError, KeyError, msgspec.ValidationError) as error:
            reason = f"the body lacks {error}" if isinstance(error, KeyError) else str(error)
            return json_response({"error": reason}, 400)
        return _unknown(parts)

    def _get(self, parts: list[str], query: dict[str, str]) -> Response:
        match parts:
            case ["athletes"]:
                return json_response([self._athlete(a) for a in self._world.athletes.values()])
            case ["truth", text]:
                scopes = query["scopes"].split(",") if "scopes" in query else None
                return json_response(self._world.truth(_id(text), scopes))
            case ["stats"]:
                return json_response(self.stats())
            case ["events"]:
                return json_response(
                    [{"number": n, **asdict(event)} for n, event in self._world.journal.events]
                )
            case ["deliveries"]:
                return json_response([asdict(delivery) for delivery in self._world.journal.deliveries])
            case ["calls"]:
                return json_response([asdict(call) for call in self._world.journal.calls])
            case ["faults"]:
                return json_response(self._world.faults.as_dict())
            case ["impostors"]:
                return json_response({"answers": NAMES, "active": self._impostors()})
            case ["address"]:
                return json_response(asdict(self._world.address))
            case ["limits"]:
                return json_response(asdict(self._world.meter.limits))
        return _unknown(parts)

    def stats(self) -> Body:
        """Return the counters of calls, limits, tokens, events and deliveries."""
        world, journal = self._world, self._world.journal
        return {
            "now": world.clock(),
            "calls": dict(journal.by_endpoint),
            "statuses": {str(status): count for status, count in journal.by_status.items()},
            "answered_429": journal.answered_429,
            "over_limit": journal.over_limit,
            "usage": world.meter.usage(world.clock()),
            "limits": asdict(world.meter.limits),
            "stale_token_uses": dict(world.grants.stale_token_uses),
            "connected": len(world.grants.live),
            "subscription": asdict(world.subscription) if world.subscription else None,
            "events": journal.event_count,
            "deliveries": dict(journal.outcomes),
            "pending_deliveries": self._sender.pending,
            "inactive": world.faults.inactive,
        }

    def _post(self, parts: list[str], body: Body) -> Any:
        match parts:
            case ["athletes"]:
                new = _convert(NewAthlete, body)
                return self._athlete(self._world.add_athlete(new.history_days, new.per_week))
            case ["athletes", text, action]:
                return self._act_on_athlete(_id(text), action, body)
            case ["activities"]:
                return self._record(_convert(NewActivity, body))
            case ["activities", text, action]:
                return _activity(self._act_on_activity(_id(text), action, body))
            case ["events"]:
                return self._emit(_convert(NewEvent, body))
        return self._act_on_application(parts, body)

    def _act_on_athlete(self, athlete_id: int, action: str, body: Body) -> Any:
        world = self._world
        match action:
            case "connect":
                return _grant(world.connect(athlete_id, _convert(NewConnection, body).scopes))
            case "deauthorize":
                return {"was_connected": world.deauthorize(athlete_id)}
            case "add-gear":
                return asdict(world.add_gear(athlete_id, _text(body, "kind"), _text(body, "name")))
            case "retire-gear":
                world.retire_gear(athlete_id, body["gear_id"], delete=bool(body.get("delete")))
                return self._athlete(world.athlete(athlete_id))
        raise NotFoundError(f"athletes cannot {action}")

    def _act_on_activity(self, activity_id: int, action: str, body: Body) -> ActivitySpec:
        world = self._world
        actions: dict[str, Callable[[], ActivitySpec]] = {
            "rename": lambda: world.rename(activity_id, _text(body, "name")),
            "type": lambda: world.change_type(activity_id, _text(body, "sport_type")),
            "edit": lambda: world.edit_silently(activity_id, **body),
            "alter": lambda: world.alter(activity_id, **body),
            "visibility": lambda: world.set_visibility(activity_id, _text(body, "visibility")),
            "hide": lambda: world.hide(activity_id),
            "unhide": lambda: world.unhide(activity_id),
            "delete": lambda: world.delete(activity_id),
            "photos": lambda: world.set_photos(activity_id, int(body["count"])),
        }
        if action not in actions:
            raise NotFoundError(f"activities cannot {action}")
        return actions[action]()

    def _act_on_application(self, parts: list[str], body: Body) -> Any:
        world = self._world
        match parts:
            case ["limits"]:
                world.meter.limits = msgspec.convert({**asdict(world.meter.limits), **body}, Limits)
                return asdict(world.meter.limits)
            case ["consume"]:
                world.consume(int(body["calls"]), read=bool(body.get("read", True)))
                return world.meter.usage(world.clock())
            case ["faults"]:
                world.faults.change(body)
                return world.faults.as_dict()
            case ["impostors"]:
                new = _convert(NewImpostor, body)
                until, names = world.clock() + new.seconds, frozenset(new.endpoints)
                world.impostors.begin(Impostor(new.answer, until, names, frozenset(new.ids), new.rate))
                return self._impostors()
            case ["impostors", "end"]:
                world.impostors.end()
                return self._impostors()
            case ["address"]:
                move = _convert(NewAddress, body)
                world.address.move(move.moved, move.old_answer)
                return asdict(world.address)
            case ["inactive"]:
                world.faults.change({"inactive": body["inactive"]})
                return {"inactive": world.faults.inactive}
            case ["subscription", "drop"]:
                world.drop_subscription()
                return {"subscription": None}
        raise NotFoundError(f"there is no /control/{'/'.join(parts)}")

    def _impostors(self) -> list[Body]:
        return [
            asdict(i) | {"endpoints": sorted(i.endpoints), "ids": sorted(i.ids)}
            for i in self._world.impostors.active
        ]

    def _record(self, new: NewActivity) -> Body:
        start = new.start
        if new.started_days_ago is not None:
            start = self._world.clock() - new.started_days_ago * 86_400
        spec = self._world.record(
            new.athlete_id, new.sport, new.minutes, start=start, name=new.name,
            description=new.description, manual=new.manual, visibility=new.visibility,
            workout_type=new.workout_type, gear_id=new.gear_id, start_hidden=new.start_hidden,
            photos=new.photos,
        )  # fmt: skip
        return _activity(spec)

    def _emit(self, new: NewEvent) -> Body:
        at = int(self._world.clock()) if new.event_time is None else new.event_time
        kind, aspect = new.object_type, new.aspect_type
        event = Event(kind, new.object_id, aspect, new.owner_id, at, new.updates)
        return {"number": self._world.emit(event), **asdict(event)}

    def _athlete(self, athlete: Athlete) -> Body:
        grant = self._world.grants.live.get(athlete.id)
        return {
            "id": athlete.id,
            "name": athlete.full_name,
            "city": athlete.city.name,
            "activities": len(self._world.visible(athlete.id, private_too=True)),
            "connected": grant is not None,
            "scopes": sorted(grant.scopes) if grant else [],
            "gear": [asdict(gear) for gear in athlete.gear],
        }


def _grant(grant: Grant) -> Body:
    return {**asdict(grant), "scopes": sorted(grant.scopes)}


def _activity(spec: ActivitySpec) -> Body:
    return {**asdict(spec), "private": spec.private, "type": spec.legacy_type}


def _convert(body_type: type[T], body: Body) -> T:
    return msgspec.convert(body, body_type)


def _id(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not an id")
    return int(text)


def _text(body: Body, name: str) -> str:
    value = body[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is a text that is not empty")
    return value


def _unknown(parts: list[str]) -> Response:
    return json_response({"error": f"there is no /control/{'/'.join(parts)}"}, 404)
