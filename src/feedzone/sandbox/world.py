"""The world behind the fake Strava: athletes, activities, connections, quota and events.

Pure state, no I/O and no clock of its own: the same seed and the same calls give the same world, byte for
byte. All random values come from generators that are seeded per athlete or activity, so the order of reads
changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from . import efforts, history, payloads, streams, totals
from .address import ApiAddress
from .athletes import Athlete, Gear, make_athlete, new_gear
from .faults import Faults
from .grants import SCOPES, Grant, Grants, Rotation
from .history import VISIBILITIES, ActivitySpec
from .impostor import Impostors
from .limits import Limits, Meter
from .motion import KNOT_S, Motion, Terrain, simulate
from .places import City
from .recording import alter, as_altered
from .records import Event, Journal
from .seeded_random import seeded_random
from .totals import Totals

_CACHED_MOTIONS = 16


@dataclass(frozen=True, slots=True)
class Application:
    """The API application whose credentials clients use."""

    client_id: str = "12345"
    client_secret: str = "sandbox-secret"  # noqa: S105 - the published default of a fake service
    callback_domain: str = "localhost"
    signing_secret: str | None = None


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Choices where Strava's behaviour is not certain: token rotation, events, seats; and level of detail."""

    rotation: Rotation = "on_new_access"
    revoke_sends_event: bool = True
    seats: int | None = None
    seats_checked: Literal["consent", "exchange", "both"] = "both"
    sample_s: int = 1
    knot_s: int = KNOT_S
    journal_size: int = 200_000
    long_details: bool = False
    """Whether details have efforts on segments, and so the recorded size."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """The application's push subscription."""

    id: int
    callback_url: str
    created_at: float


class NotFoundError(LookupError):
    """No such athlete, activity or gear."""


class World:
    """The entire state of the sandbox. `clock` gives epoch seconds; `on_event` is called for every event."""

    def __init__(self, seed: int, clock: Callable[[], float], limits: Limits | None = None,
                 application: Application | None = None, behaviour: Behaviour | None = None,
                 faults: Faults | None = None) -> None:  # fmt: skip
        self.seed = seed
        self.clock = clock
        self.application = application or Application()
        self.behaviour = behaviour or Behaviour()
        self.faults = faults or Faults()
        self.impostors = Impostors()
        self.address = ApiAddress()
        # Two generators: the number of requests must not decide which events are lost.
        self.fault_rng = seeded_random(seed, "faults")
        self.delivery_rng = seeded_random(seed, "deliveries")
        self.meter = Meter(limits or Limits())
        self.grants = Grants(seed, self.behaviour.rotation, self.behaviour.seats)
        self.journal = Journal(self.behaviour.journal_size)
        self.athletes: dict[int, Athlete] = {}
        self.activities: dict[int, ActivitySpec] = {}
        self.subscription: Subscription | None = None
        self.on_event: Callable[[int, Event], None] | None = None
        self._by_athlete: dict[int, list[ActivitySpec]] = {}
        self._terrains: dict[str, Terrain] = {}
        self._totals: dict[int, Totals] = {}
        self._motions: dict[int, Motion] = {}
        self._subscriptions_made = 0

    # -- athletes -------------------------------------------------------------------------------------------

    def add_athlete(self, history_days: int = 365, per_week: float = 4.5) -> Athlete:
        """Add an athlete with past activities of this number of days; no events are sent."""
        now = self.clock()
        athlete = make_athlete(self.seed, len(self.athletes), now)
        self.athletes[athlete.id] = athlete
        self._by_athlete[athlete.id] = []
        for spec in history.make_history(self.seed, athlete, now, history_days, per_week):
            self._add_activity(spec)
        return athlete

    def athlete(self, athlete_id: int) -> Athlete:
        """Return the athlete; raise NotFoundError for an unknown id."""
        if athlete_id not in self.athletes:
            raise NotFoundError(f"no athlete {athlete_id}")
        return self.athletes[athlete_id]

    def connect(self, athlete_id: int, scopes: Iterable[str]) -> Grant:
        """Connect an athlete without a browser: consent and token exchange in one step."""
        granted = frozenset(scopes)
        if unknown := granted.difference(SCOPES):
            raise ValueError(f"no scope is called {sorted(unknown)[0]!r}")
        code = self.grants.authorize(self.athlete(athlete_id).id, granted, self.clock())
        return self.grants.exchange(code, self.clock(), check_seats=True)

    def deauthorize(self, athlete_id: int, by_application: bool = False) -> bool:
        """End a connection and send an athlete *update* event. Return False if there was none."""
        if not self.grants.drop(self.athlete(athlete_id).id):
            return False
        if not by_application or self.behaviour.revoke_sends_event:
            self.emit(self._event("athlete", athlete_id, "update", athlete_id, {"authorized": "false"}))
        return True

    # -- actions of athletes --------------------------------------------------------------------------------

    def record(self, athlete_id: int, sport: str = "Run", minutes: float = 45.0, *,
               start: float | None = None, name: str | None = None, description: str | None = None,
               manual: bool = False, visibility: str = "everyone", workout_type: int | None = None,
               gear_id: str | None = None,
               start_hidden: bool = False, photos: int | None = None) -> ActivitySpec:  # fmt: skip
        """Upload an activity now. Without `start` it has just ended; an early `start` makes a late upload."""
        athlete, now = self.athlete(athlete_id), self.clock()
        _check_activity(minutes, visibility)
        elapsed = max(60, int(minutes * 60))
        started = int(now - elapsed - 30 if start is None else start)
        activity_id = history.id_at(now, athlete.number)
        while activity_id in self.activities:
            activity_id += 40
        spec = ActivitySpec(
            activity_id, athlete_id, sport, sport, started, elapsed,
            name or history.default_name(athlete, sport, started), now, description, manual, visibility,
            workout_type, gear_id or history.default_gear(athlete, sport), start_hidden=start_hidden,
        )  # fmt: skip
        self._add_activity(spec)
        if photos is not None:
            self.set_photos(spec.id, photos)
        self._emit_change(spec, "create", {})
        return spec

    def rename(self, activity_id: int, name: str) -> ActivitySpec:
        """Change the title."""
        spec = self.activity(activity_id)
        spec.name = name
        self._emit_change(spec, "update", {"title": name})
        return spec

    def change_type(self, activity_id: int, sport: str) -> ActivitySpec:
        """Change the sport; the event carries only the legacy type (docs/strava-api.md#webhook-events)."""
        spec = self.activity(activity_id)
        spec.sport_type = sport
        self._emit_change(spec, "update", {"type": spec.legacy_type})
        return spec

    def edit_silently(self, activity_id: int, **changes: Any) -> ActivitySpec:
        """Change description, gear_id, workout_type or commute: Strava sends no event for these."""
        spec = self.activity(activity_id)
        for field, value in changes.items():
            if field not in ("description", "gear_id", "workout_type", "commute"):
                raise ValueError(f"{field} cannot be edited silently")
            kinds = {"workout_type": int, "commute": bool}.get(field, str)
            if not isinstance(value, kinds) and (value is not None or field == "commute"):
                raise ValueError(f"{field} does not take {value!r}")
            setattr(spec, field, value)
        return spec

    def alter(self, activity_id: int, **changes: Any) -> ActivitySpec:
        """Change the recording (recording.py); Strava sends no event for it."""
        spec = self.activity(activity_id)
        alter(spec, changes, self.clock())
        self._motions.pop(spec.id, None)
        self._totals.pop(spec.id, None)
        return spec

    def set_photos(self, activity_id: int, count: int) -> ActivitySpec:
        """Add photos or remove the last ones to reach this count; Strava sends no event for it."""
        if not 0 <= count <= 100:
            raise ValueError("count is a number from 0 to 100")
        spec = self.activity(activity_id)
        times = payloads.photo_times(spec)
        spec.photos = times[:count] + [self.clock()] * (count - len(times))
        return spec

    def set_visibility(self, activity_id: int, visibility: str) -> ActivitySpec:
        """Change the visibility. Without `activity:read_all`, the application sees hiding as a delete."""
        _check_activity(1, visibility)
        spec = self.activity(activity_id)
        was_private, spec.visibility = spec.private, visibility
        if spec.private != was_private:
            grant = self.grants.live.get(spec.athlete_id)
            if grant and grant.reads_private:
                self._emit_change(spec, "update", {"private": "true" if spec.private else "false"})
            elif spec.private:
                self._emit_change(spec, "delete", {}, even_if_private=True)
            else:
                self._emit_change(spec, "create", {})
        return spec

    def hide(self, activity_id: int) -> ActivitySpec:
        """Set the visibility to "Only You"."""
        return self.set_visibility(activity_id, "only_me")

    def unhide(self, activity_id: int) -> ActivitySpec:
        """Set the visibility to everyone."""
        return self.set_visibility(activity_id, "everyone")

    def delete(self, activity_id: int) -> ActivitySpec:
        """Delete an activity permanently."""
        spec = self.activity(activity_id)
        spec.deleted = True
        self._by_athlete[spec.athlete_id].remove(spec)
        self._emit_change(spec, "delete", {})
        return spec

    def add_gear(self, athlete_id: int, kind: str, name: str) -> Gear:
        """Add an unused `bike` or `shoe`; Strava sends no event for it."""
        athlete = self.athlete(athlete_id)
        gear = new_gear(athlete, kind, name)
        athlete.gear.append(gear)
        return gear

    def retire_gear(self, athlete_id: int, gear_id: str, *, delete: bool = False) -> None:
        """Retire or delete a bike or shoes; Strava sends no event for either."""
        for gear in self.athlete(athlete_id).gear:
            if gear.id == gear_id:
                gear.retired, gear.deleted = True, delete
                return
        raise NotFoundError(f"no gear {gear_id}")

    # -- reads ----------------------------------------------------------------------------------------------

    def activity(self, activity_id: int) -> ActivitySpec:
        """Return an activity; raise NotFoundError for an unknown or deleted one."""
        spec = self.activities.get(activity_id)
        if spec is None or spec.deleted:
            raise NotFoundError(f"no activity {activity_id}")
        return spec

    def visible(self, athlete_id: int, private_too: bool, before: float | None = None,
                after: float | None = None) -> list[ActivitySpec]:  # fmt: skip
        """Return the athlete's existing activities by start time, oldest first; bounds are exclusive."""
        specs = self._by_athlete[athlete_id]
        first = 0 if after is None else bisect_right(specs, after, key=_start)
        last = len(specs) if before is None else bisect_left(specs, before, key=_start)
        return [s for s in specs[first:last] if private_too or not s.private]

    def totals(self, spec: ActivitySpec) -> Totals:
        """Return the activity's totals; cached, because computing them takes a simulation."""
        cached = self._totals.get(spec.id)
        if cached is None:
            motion = self.motion(spec)
            if motion is None:
                cached = payloads.manual_totals(spec, self.athletes[spec.athlete_id])
            else:
                cached = totals.total(motion, self.stride(spec))
            self._totals[spec.id] = cached
        return cached

    def motion(self, spec: ActivitySpec) -> Motion | None:
        """Return the motion; None for manual activities. A few are cached for the detail and streams."""
        if spec.manual:
            return None
        motion = self._motions.get(spec.id)
        if motion is None:
            athlete = self.athletes[spec.athlete_id]
            terrain = self._terrain(athlete.city)
            motion = as_altered(simulate(self.seed, athlete, spec, terrain, self.behaviour.knot_s), spec)
            while len(self._motions) >= _CACHED_MOTIONS:
                del self._motions[next(iter(self._motions))]
            self._motions[spec.id] = motion
        return motion

    def _terrain(self, city: City) -> Terrain:
        if city.name not in self._terrains:
            self._terrains[city.name] = Terrain(self.seed, city)
        return self._terrains[city.name]

    def stride(self, spec: ActivitySpec) -> int:
        """Return the seconds between the samples of its streams."""
        return streams.stride_for(spec.elapsed, self.behaviour.sample_s)

    def summary(self, spec: ActivitySpec) -> dict[str, Any]:
        """Return the activity as a row of the list."""
        return payloads.summary(spec, self.athletes[spec.athlete_id], self.totals(spec))

    def detail(self, spec: ActivitySpec) -> dict[str, Any]:
        """Return the detailed activity."""
        athlete, motion, stride = self.athletes[spec.athlete_id], self.motion(spec), self.stride(spec)
        body = payloads.detail(spec, athlete, self.totals(spec), motion, stride)
        if motion is not None and self.behaviour.long_details:
            efforts.lengthen(body, spec, athlete, motion, stride)
        return body

    def truth(self, athlete_id: int, scopes: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Return the activities that a client with these scopes should store, newest first.

        The default is the granted scopes; without any activity scope the list is empty. Rows are summaries
        with `description` and without polylines.
        """
        self.athlete(athlete_id)
        grant = self.grants.live.get(athlete_id)
        granted = set(scopes if scopes is not None else grant.scopes if grant else ())
        if not granted & {"activity:read", "activity:read_all"}:
            return []
        rows = self.visible(athlete_id, "activity:read_all" in granted)
        return [_truth_row(self.summary(spec), spec) for spec in reversed(rows)]

    # -- subscription and events ----------------------------------------------------------------------------

    def subscribe(self, callback_url: str) -> Subscription:
        """Open the subscription; the caller has already verified the callback."""
        self._subscriptions_made += 1
        self.subscription = Subscription(120_475 + self._subscriptions_made, callback_url, self.clock())
        return self.subscription

    def drop_subscription(self) -> None:
        """Delete the subscription; no notice is sent, as when Strava drops it on its own."""
        self.subscription = None

    def consume(self, calls: int, *, read: bool = True) -> None:
        """Spend quota as another client of the same application."""
        if calls < 0:
            raise ValueError("calls is a number that is not negative")
        self.meter.spend(self.clock(), read=read, calls=calls)

    def emit(self, event: Event) -> int:
        """Send an event, true or forged; return its number among the recorded events."""
        number = self.journal.add_event(event)
        if self.on_event is not None:
            self.on_event(number, event)
        return number

    def _emit_change(
        self, spec: ActivitySpec, aspect: str, updates: dict[str, Any], even_if_private: bool = False
    ) -> None:
        """Send an event about an activity, if the application has the scope to see that activity."""
        grant = self.grants.live.get(spec.athlete_id)
        if grant is None or not grant.reads_activities:
            return
        if spec.private and not grant.reads_private and not even_if_private:
            return
        self.emit(self._event("activity", spec.id, aspect, spec.athlete_id, updates))

    def _event(self, kind: str, object_id: int, aspect: str, owner_id: int, updates: dict[str, Any]) -> Event:
        return Event(kind, object_id, aspect, owner_id, int(self.clock()), updates)

    def _add_activity(self, spec: ActivitySpec) -> None:
        while spec.id in self.activities:
            spec.id += 40
        self.activities[spec.id] = spec
        insort(self._by_athlete[spec.athlete_id], spec, key=_start)


def _start(spec: ActivitySpec) -> int:
    return spec.start


def _check_activity(minutes: float, visibility: str) -> None:
    if visibility not in VISIBILITIES:
        raise ValueError(f"visibility is one of {', '.join(VISIBILITIES)}")
    if not 0 < minutes <= 1440:
        raise ValueError("minutes is a number between 0 and 1440")


def _truth_row(summary: dict[str, Any], spec: ActivitySpec) -> dict[str, Any]:
    return {**{k: v for k, v in summary.items() if k != "map"}, "description": spec.description}
