"""Read Strava's JSON into typed values, and those into columns (docs/strava-api.md#resources)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from ..domain.activity import ActivityRecord, Level
from ..domain.athlete import AthleteProfile, TokenGrant
from ..domain.gear import GearKind, GearListing, GearRecord
from ..domain.photos import Photo
from ..errors import TransientError

# Absent and null are not the same: a summary lacks members that only the detail has.
Text = str | msgspec.UnsetType | None
# A number that fits no column makes no sense either: leave it out; the JSON as received keeps it.
Whole = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] | msgspec.UnsetType | None
Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | msgspec.UnsetType | None
Number = float | msgspec.UnsetType | None
Flag = bool | msgspec.UnsetType | None


class _Ref(msgspec.Struct):
    id: int


class _Map(msgspec.Struct):
    summary_polyline: str | None = None


class _Activity(msgspec.Struct):
    """The members of a summary or detailed activity that have typed columns; all others stay in `raw`."""

    id: int
    athlete: _Ref
    name: Text = msgspec.UNSET
    sport_type: Text = msgspec.UNSET
    type: Text = msgspec.UNSET
    workout_type: Whole = msgspec.UNSET
    start_date: Text = msgspec.UNSET
    start_date_local: Text = msgspec.UNSET
    timezone: Text = msgspec.UNSET
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
    visibility: Text = msgspec.UNSET
    flagged: Flag = msgspec.UNSET
    hide_from_home: Flag = msgspec.UNSET
    gear_id: Text = msgspec.UNSET
    device_name: Text = msgspec.UNSET
    description: Text = msgspec.UNSET
    upload_id: Long = msgspec.UNSET
    external_id: Text = msgspec.UNSET
    total_photo_count: Whole = msgspec.UNSET
    map: _Map | msgspec.UnsetType | None = msgspec.UNSET
    start_latlng: list[float] | msgspec.UnsetType | None = msgspec.UNSET


_FIELDS = msgspec.structs.fields(_Activity)
_decoder = msgspec.json.Decoder(_Activity, strict=False)
_pages = msgspec.json.Decoder(list[msgspec.Raw])


def activity(body: bytes, level: Level, call: str) -> ActivityRecord:
    """Read one activity. Raises TransientError when the response is not an activity at all.

    A field of an unexpected type is no error: it has no column value, and `raw` keeps it.
    """
    try:
        raw = body.decode()
    except UnicodeDecodeError:
        raise TransientError(200, "the response is not UTF-8", body=_excerpt(body), call=call) from None
    try:
        parsed = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        parsed = _leniently(body, call)
    return ActivityRecord(parsed.id, parsed.athlete.id, level, _columns(parsed), raw)


def activity_page(body: bytes, call: str) -> list[ActivityRecord]:
    """Read one page of `GET /athlete/activities`: every entry, or TransientError."""
    try:
        entries = _pages.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise TransientError(200, "the response is not a list", body=_excerpt(body), call=call) from None
    return [activity(bytes(entry), "summary", call) for entry in entries]


def _leniently(body: bytes, call: str) -> _Activity:
    """Read field by field; leave out optional fields of an unexpected type."""
    try:
        members = msgspec.json.decode(body)
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
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        raise TransientError(200, "the response is not an activity", body=_excerpt(body), call=call) from None


_CONVERTED = {
    "id",
    "athlete",
    "start_date",
    "start_date_local",
    "timezone",
    "utc_offset",
    "map",
    "start_latlng",
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
    if isinstance(parsed.map, _Map):
        columns["summary_polyline"] = parsed.map.summary_polyline or None
    if parsed.start_latlng is not msgspec.UNSET:
        at = parsed.start_latlng or []
        columns["start_lat"], columns["start_lng"] = (at[0], at[1]) if len(at) == 2 else (None, None)
    return columns


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
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _wall_time(text: str) -> datetime:
    # The Z of start_date_local is wrong: it is wall time (docs/strava-api.md#common-misbeliefs).
    return datetime.fromisoformat(text).replace(tzinfo=None, microsecond=0)


def iana_name(text: str) -> str:
    """Return the zone of `(GMT-05:00) America/New_York` without the offset, which ignores summer time."""
    return re.sub(r"^\(GMT[^)]*\)\s*", "", text).strip()


def athlete(members: Any) -> AthleteProfile:
    """Return the profile; raise msgspec.ValidationError when `members` is not one."""
    return msgspec.convert(members, AthleteProfile, strict=False)


_profiles = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SUMMARY = b"2"


def gear(body: bytes, call: str) -> GearListing:
    """Return the gear in an athlete's profile. Raises TransientError when the response is no profile.

    A summary, which Strava sends without the scope `profile:read_all`, says nothing about gear. A list
    that cannot be read in full counts as unknown too: its unreadable entries were not deleted.
    """
    try:
        members = _profiles.decode(body)
        athlete_id = msgspec.json.decode(members["id"], type=int)
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        raise TransientError(200, "the response is not an athlete", body=_excerpt(body), call=call) from None
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
    try:
        entries = _pages.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise TransientError(200, "the response is not a list", body=_excerpt(body), call=call) from None
    return [_photo(bytes(entry)) for entry in entries]


def _photo(entry: bytes) -> Photo:
    """Return the photo. An unreadable entry has no URLs, and so counts as not processed yet."""
    raw = entry.decode("utf-8", "replace")
    try:
        members = msgspec.json.decode(entry, type=dict[str, Any])
        urls = msgspec.convert(members.get("urls"), dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Photo(raw, ())
    usable = tuple(urls.values()) if all(urls.values()) else ()
    return Photo(raw, usable, flagged=members.get("placeholder_image") is True)


class _Grant(msgspec.Struct):
    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    refresh_token: Annotated[str, msgspec.Meta(min_length=1)]
    expires_at: int


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


def _excerpt(body: bytes) -> str:
    return body[:500].decode("utf-8", "replace")
