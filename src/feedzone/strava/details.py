"""The parts of a detail without a typed column (payloads.py): laps, splits, full track, gear."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ..domain.activity_details import ActivityDetails, Lap, Split

T = TypeVar("T")


class _Map(msgspec.Struct):
    polyline: str | None = None


class _Gear(msgspec.Struct):
    name: str | None = None
    nickname: str | None = None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parts(detail: str) -> ActivityDetails:
    """Read a detail as it was received. Leave out parts of an unexpected shape; never raise."""
    try:
        members = _members.decode(detail)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ActivityDetails()
    gear = _member(members, "gear", _Gear, _Gear())
    return ActivityDetails(
        laps=_member(members, "laps", tuple[Lap, ...], ()),
        kilometres=_member(members, "splits_metric", tuple[Split, ...], ()),
        miles=_member(members, "splits_standard", tuple[Split, ...], ()),
        polyline=_member(members, "map", _Map, _Map()).polyline or None,
        gear_name=gear.nickname or gear.name or None,
    )


def _member(members: dict[str, msgspec.Raw], name: str, kind: Any, otherwise: T) -> T:
    raw = members.get(name)
    if raw is None or bytes(raw) == b"null":
        return otherwise
    try:
        value: T = msgspec.json.decode(raw, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return otherwise
    return value
