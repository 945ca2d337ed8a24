"""Read Strava's JSON into typed values, and those into columns (docs/strava-api.md#resources)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import structlog

from ..domain import json_text
from ..domain.activity import ActivityRecord, Level
from ..domain.athlete import AthleteProfile, TokenGrant
from ..domain.gear import GearKind, GearListing, GearRecord
from ..domain.instants import is_possible
from ..domain.photos import Photo
from ..errors import InvalidInput, TransientError

log = structlog.get_logger("feedzone.strava")

# Absent and null are not the same: a summary lacks members that only the detail has.
Text = str | msgspec.UnsetType | None
# A number that fits no column makes no sense either: leave it out; the JSON as received keeps it.
Whole = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] | msgspec.UnsetType | None
Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | msgspec.UnsetType | None
Number = float | msgspec.UnsetType | None
# An index of PostgreSQL takes no text of many thousand characters, and a code or name of a type is short.
Code = Annotated[str, msgspec.Meta(max_length=255)] | msgspec.UnsetType | None
Flag = bool | msgspec.UnsetType | None


Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class _Ref(msgspec.Struct):
    id: Id


class _Map(msgspec.Struct):
    id: Any = None
    summary_polyline: str | None = None
    polyline: str | None = None


class _Activity(msgspec.Struct):
    """The members of a summary or detailed activity that have typed columns; all others stay in `raw`."""

    id: Id
    athlete: _Ref
    name: Text = msgspec.UNSET
    sport_type: Code = msgspec.UNSET
    type: Code = msgspec.UNSET
    workout_type: Whole = msgspec.UNSET
    start_date: Text = msgspec.UNSET
    start_date_local: Text = msgspec.UNSET
    timezone: Code = msgspec.UNSET
    utc_offset: Number = msgspec.UNSET
    distance: Number = msgspec.UNSET
    moving_time: Whole = msgspec.UNSET
    elapsed_time: Whole = msgspec.UNSET
    total_elevation_gain: Number = msgspec.UNSET
    elev_high: Number = msgspec.UNSET
    elev_low: Number = msgspec.UNSET
    average_speed: Number = msgspec.UNSET
    max_speed: Number = msgspec.UNSET
    average_heartrate: Number = msgspec.UNSET
    max_heartrate: Number = msgspec.UNSET
    average_cadence: Number = msgspec.UNSET
    average_watts: Number = msgspec.UNSET
    max_watts: Number = msgspec.UNSET
    weighted_average_watts: Number = msgspec.UNSET
    device_watts: Flag = msgspec.UNSET
    kilojoules: Number = msgspec.UNSET
    calories: Number = msgspec.UNSET
    average_temp: Number = msgspec.UNSET
    suffer_score: Number = msgspec.UNSET
    perceived_exertion: Number = msgspec.UNSET
    trainer: Flag = msgspec.UNSET
    commute: Flag = msgspec.UNSET
    manual: Flag = msgspec.UNSET
    private: Flag = msgspec.UNSET
    visibility: Code = msgspec.UNSET
    flagged: Flag = msgspec.UNSET
    hide_from_home: Flag = msgspec.UNSET
    gear_id: Code = msgspec.UNSET
    device_name: Text = msgspec.UNSET
    description: Text = msgspec.UNSET
    upload_id: Long = msgspec.UNSET
    external_id: Code = msgspec.UNSET
    total_photo_count: Whole = msgspec.UNSET
    map: _Map | msgspec.UnsetType | None = msgspec.UNSET
    start_latlng: list[float] | msgspec.UnsetType | None = msgspec.UNSET
    end_latlng: list[float] | msgspec.UnsetType | None = msgspec.UNSET
    has_heartrate: Flag = msgspec.UNSET


_FIELDS = msgspec.structs.fields(_Activity)
_decoder = msgspec.json.Decoder(_Activity, strict=False)
_ACTIVITY_MEMBERS = frozenset({"athlete", "start_date", "sport_type", "type", "distance"})
_decoder_of_ids = msgspec.json.Decoder(_Ref)
_pages = msgspec.json.Decoder(list[msgspec.Raw])


def activity(body: bytes, level: Level, call: str) -> ActivityRecord:
    """Read one activity. Raises TransientError when the response is not an activity at all.

    A field of an unexpected type is no error: it has no column value, and `raw` keeps it.
    """
    raw = _readable(body, "an activity", call)
    try:
        parsed = _decoder.decode(raw)
    except msgspec.MsgspecError:
        parsed = _leniently(raw, call)
    return ActivityRecord(
        parsed.id, parsed.athlete.id, level, _columns(parsed), raw, _traits(parsed), _shows_track(parsed)
    )


NOBODYS = ActivityRecord(0, 0, "summary", {}, "null")
"""Stands for an entry that cannot be read, so that its page does not look like the end of the list."""


def activity_page(body: bytes, call: str, athlete_id: int, *, first: bool = True) -> list[ActivityRecord]:
    """Read one page of `GET /athlete/activities`. An entry that cannot be read costs only itself.

    If it has an id, its activity is listed without values, so that it is fetched. Otherwise NOBODYS stands in
    its place. Raises TransientError when the response is no list, or a list of other things.
    """
    entries = _entries(body, call)
    records = [_listed(entry, call, athlete_id) for entry in entries]
    # A later page may consist of a single damaged entry. The list of another call has objects.
    foreign = first or any(entry.lstrip()[:1] == b"{" for entry in entries)
    if entries and foreign and not any(_is_of_activity(entry) for entry in entries):
        raise TransientError(200, "the response lists no activity", call=call)
    return records


def _is_of_activity(entry: bytes) -> bool:
    """Return whether the entry has a member of an activity: the list of another call has none."""
    try:
        members = msgspec.json.decode(json_text.readable(entry))
    except InvalidInput:
        return False
    return isinstance(members, dict) and not _ACTIVITY_MEMBERS.isdisjoint(members)


def _listed(entry: bytes, call: str, athlete_id: int) -> ActivityRecord:
    try:
        return activity(entry, "summary", call)
    except TransientError:
        pass
    try:
        text = json_text.readable(entry)
        return ActivityRecord(_decoder_of_ids.decode(text).id, athlete_id, "summary", {}, text)
    except (InvalidInput, msgspec.MsgspecError):
        log.warning("list_entry_unreadable", call=call, athlete_id=athlete_id, bytes=len(entry))
        return NOBODYS


def _entries(body: bytes, call: str) -> list[bytes]:
    """Return the JSON text of each entry of a list. Raises TransientError when the response is no list."""
    try:
        return [bytes(entry) for entry in _pages.decode(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    with contextlib.suppress(InvalidInput):
        entries = json_text.repair(body)
        if isinstance(entries, list):
            return [msgspec.json.encode(entry) for entry in entries]
    with contextlib.suppress(InvalidInput):
        return json_text.split_list(body)
    raise TransientError(200, "the response is not a list", call=call)


def _readable(body: bytes, expected: str, call: str) -> str:
    """Return text that every decoder reads; raise TransientError when the response is not JSON."""
    try:
        return json_text.readable(body)
    except InvalidInput:
        raise TransientError(200, f"the response is not {expected}", call=call) from None


def _leniently(text: str, call: str) -> _Activity:
    """Read field by field; leave out optional fields of an unexpected type."""
    try:
        members = msgspec.json.decode(text)
        known: dict[str, Any] = {}
        for field in _FIELDS:
            if field.name not in members:
                continue
            try:
                known[field.name] = msgspec.convert(members[field.name], field.type, strict=False)
            except msgspec.ValidationError:
                if field.required:
                    raise
        return _Activity(**known)
    except (msgspec.MsgspecError, TypeError):
        raise TransientError(200, "the response is not an activity", call=call) from None


_CONVERTED = {
    "id",
    "athlete",
    "start_date",
    "start_date_local",
    "timezone",
    "utc_offset",
    "map",
    "start_latlng",
    "end_latlng",
    "has_heartrate",
}


def _columns(parsed: _Activity) -> dict[str, Any]:
    columns = {
        field.name: value
        for field in _FIELDS
        if field.name not in _CONVERTED and (value := getattr(parsed, field.name)) is not msgspec.UNSET
    }
    _convert(columns, "start_date", parsed.start_date, _instant)
    _convert(columns, "start_date_local", parsed.start_date_local, _wall_time)
    _convert(columns, "timezone", parsed.timezone, iana_name)
    _convert(columns, "utc_offset", parsed.utc_offset, _seconds)
    local = columns.get("start_date_local")
    if local is not None:
        # Strava shows a hidden start time as 00:00:01 (docs/strava-api.md#resources).
        columns["start_hidden"] = (local.hour, local.minute, local.second) == (0, 0, 1)
    if parsed.map is not msgspec.UNSET:
        columns["summary_polyline"] = (parsed.map and parsed.map.summary_polyline) or None
    if parsed.has_heartrate is False:
        # A list leaves the members of a lost channel out, and an absent member says nothing.
        columns = {"average_heartrate": None, "max_heartrate": None, **columns}
    if parsed.start_latlng is not msgspec.UNSET:
        at = parsed.start_latlng or []
        columns["start_lat"], columns["start_lng"] = (at[0], at[1]) if len(at) == 2 else (None, None)
    return columns


def _traits(parsed: _Activity) -> tuple[Any, ...]:
    track = parsed.map if isinstance(parsed.map, _Map) else _Map()
    return track.id, track.polyline or None, parsed.end_latlng or None, parsed.has_heartrate or None


def _shows_track(parsed: _Activity) -> bool | None:
    if parsed.map is msgspec.UNSET:
        return None
    return parsed.map is not None and bool(parsed.map.summary_polyline or parsed.map.polyline)


def _convert(columns: dict[str, Any], name: str, value: Any, convert: Callable[[Any], Any]) -> None:
    if value is msgspec.UNSET:
        return
    # A value that cannot be converted is left out, like any field of an unexpected type.
    with contextlib.suppress(ValueError, OverflowError):
        columns[name] = None if value is None else convert(value)


def _seconds(value: float) -> int:
    if abs(value) >= 2**31:
        raise OverflowError(value)
    return int(value)


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return _possible(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))


def _wall_time(text: str) -> datetime:
    # The Z of start_date_local is wrong: it is wall time (docs/strava-api.md#common-misbeliefs).
    return _possible(datetime.fromisoformat(text).replace(tzinfo=None, microsecond=0))


def _possible(moment: datetime) -> datetime:
    if not is_possible(moment):
        raise ValueError(moment)
    return moment


def iana_name(text: str) -> str:
    """Return the zone of `(GMT-05:00) America/New_York` without the offset, which ignores summer time."""
    return re.sub(r"^\(GMT[^)]*\)\s*", "", text).strip()


def athlete(members: Any) -> AthleteProfile:
    """Return the profile; raise msgspec.ValidationError when `members` is not one.

    A name of an unexpected type is left out.
    """
    number = msgspec.convert(members, _Ref, strict=False).id
    names = ((name, members.get(name)) for name in ("username", "firstname", "lastname"))
    texts = {name: json_text.clean_text(text) for name, text in names if isinstance(text, str)}
    return AthleteProfile(number, **texts)


_profiles = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SUMMARY = b"2"


def gear(body: bytes, call: str) -> GearListing:
    """Return the gear in an athlete's profile. Raises TransientError when the response is no profile.

    A summary, which Strava sends without the scope `profile:read_all`, says nothing about gear. A list
    that cannot be read in full counts as unknown too: its unreadable entries were not deleted.
    """
    try:
        members = _profiles.decode(_readable(body, "an athlete", call))
        athlete_id = msgspec.json.decode(members["id"], type=Id)
    except (msgspec.MsgspecError, KeyError):
        raise TransientError(200, "the response is not an athlete", call=call) from None
    if bytes(members.get("resource_state", b"")) == _SUMMARY:
        return GearListing(athlete_id)
    return GearListing(
        athlete_id, _gear_list(members.get("bikes"), "bike"), _gear_list(members.get("shoes"), "shoe")
    )


def _gear_list(text: msgspec.Raw | None, kind: GearKind) -> tuple[GearRecord, ...] | None:
    if text is None:
        return None
    try:
        return tuple(_gear(bytes(entry), kind) for entry in _pages.decode(text))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _gear(entry: bytes, kind: GearKind) -> GearRecord:
    members = msgspec.json.decode(entry, type=dict[str, Any])

    def member(name: str, of: Any) -> Any:
        """Return None for a field that is missing or has an unexpected type; `raw` keeps it."""
        try:
            return msgspec.convert(members.get(name), of | None)
        except msgspec.ValidationError:
            return None

    return GearRecord(
        id=msgspec.convert(members.get("id"), str),
        kind=kind,
        name=member("name", str),
        nickname=member("nickname", str) or None,
        is_primary=member("primary", bool),
        retired=member("retired", bool),
        distance=member("distance", float),
        raw=entry.decode(),
    )


def photos(body: bytes, call: str) -> list[Photo]:
    """Return the photos of an activity. Raises TransientError when the response is not a list."""
    return [_photo(entry) for entry in _entries(body, call)]


def _photo(entry: bytes) -> Photo:
    """Return the photo. An unreadable entry has no URLs, and so counts as not processed yet."""
    try:
        raw = json_text.readable(entry)
    except InvalidInput:
        return Photo("null", ())
    try:
        members = msgspec.json.decode(raw, type=dict[str, Any])
        urls = msgspec.convert(members.get("urls"), dict[str, str])
    except msgspec.MsgspecError:
        return Photo(raw, ())
    usable = tuple(urls.values()) if all(urls.values()) else ()
    return Photo(raw, usable, flagged=members.get("placeholder_image") is True)


class _Grant(msgspec.Struct):
    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    refresh_token: Annotated[str, msgspec.Meta(min_length=1)]
    expires_at: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


def grant(members: Any) -> TokenGrant:
    """Return a token pair; `expires_at` is in epoch seconds (docs/strava-api.md#token-exchange)."""
    parsed = msgspec.convert(members, _Grant, strict=False)
    return TokenGrant(
        parsed.access_token, parsed.refresh_token, datetime.fromtimestamp(parsed.expires_at, UTC)
    )


class Subscription(msgspec.Struct, frozen=True):
    """A push subscription. The response to its creation may contain nothing but the id.

    See docs/strava-api.md#push-subscriptions.
    """

    id: int
    callback_url: str = ""
    created_at: str = ""
