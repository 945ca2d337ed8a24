"""Every call of feedzone to Strava, with the shape of its success and the resources its errors name.

See docs/strava-api.md#resources, #push-subscriptions, #token-refresh and #revoke.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from .. import offload
from ..domain import json_text
from ..domain.activity import ActivityRecord
from ..domain.athlete import AthleteProfile, TokenGrant
from ..domain.gear import GearListing
from ..domain.photos import Photo
from ..errors import InvalidInput
from . import payloads
from .payloads import Subscription
from .responses import Call

STREAMS_CHECKED = offload.THREAD_FROM
"""Bytes of streams whose channels are checked at once: errors and foreign answers are shorter."""


class _Channel(msgspec.Struct):
    data: msgspec.Raw


_channels = msgspec.json.Decoder(dict[str, _Channel])
_list = msgspec.json.Decoder(list[msgspec.Raw])


def activity(activity_id: int) -> Call[ActivityRecord]:
    name = f"GET activities/{activity_id}"

    def parse(body: bytes) -> ActivityRecord:
        record = payloads.activity(body, "detail", name)
        if record.id != activity_id:
            raise InvalidInput(f"it shows activity {record.id}")
        return record

    return Call(name, parse, frozenset({"Activity"}), object_id=activity_id)


def streams(activity_id: int) -> Call[bytes]:
    name = f"GET activities/{activity_id}/streams"
    resources = frozenset({"Activity", "Stream", "Streams", "StreamSet"})
    return Call(name, _streams, resources, passes_long=True)


def _streams(body: bytes) -> bytes:
    # Strava sends an empty set as [], as {} or as null.
    if body.strip() in (b"null", b"[]"):
        return b"{}"
    if len(body) >= STREAMS_CHECKED and body.lstrip()[:1] == b"{":
        # This runs on the event loop; whoever encodes so long streams away from it checks them there.
        return body
    try:
        channels = _channels.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        body = json_text.readable(body).encode()
        channels = _channels.decode(body)
    if not all(bytes(channel.data)[:1] == b"[" for channel in channels.values()):
        raise InvalidInput("a channel is no list")
    return body


def photos(activity_id: int) -> Call[Sequence[Photo]]:
    name = f"GET activities/{activity_id}/photos"

    def parse(body: bytes) -> Sequence[Photo]:
        _require_an_object(body)
        return payloads.photos(body, name)

    return Call(name, parse, frozenset({"Activity", "Photo"}))


def _require_an_object(body: bytes) -> None:
    entries = _list.decode(body)
    if entries and not any(bytes(entry)[:1] == b"{" for entry in entries):
        raise InvalidInput("no entry of the list is an object")


def activity_page(page: int, athlete_id: int) -> Call[Sequence[ActivityRecord]]:
    name = f"GET athlete/activities page {page}"

    def parse(body: bytes) -> Sequence[ActivityRecord]:
        return payloads.activity_page(body, name, athlete_id, first=page == 1)

    return Call(name, parse, frozenset({"Athlete"}), may_be_absent=False)


def athlete(athlete_id: int) -> Call[AthleteProfile]:
    def parse(body: bytes) -> AthleteProfile:
        profile = payloads.athlete(json_text.value(body))
        _require_athlete(profile.id, athlete_id)
        return profile

    return Call("GET athlete", parse, frozenset({"Athlete"}), may_be_absent=False)


def gear(athlete_id: int) -> Call[GearListing]:
    def parse(body: bytes) -> GearListing:
        listing = payloads.gear(body, "GET athlete")
        _require_athlete(listing.athlete_id, athlete_id)
        return listing

    return Call("GET athlete", parse, frozenset({"Athlete"}), may_be_absent=False)


def _require_athlete(shown: int, requested: int) -> None:
    if shown != requested:
        raise InvalidInput(f"it shows athlete {shown}")


def _exchange(body: bytes) -> tuple[TokenGrant, AthleteProfile]:
    members = json_text.value(body)
    return payloads.grant(members), payloads.athlete(members["athlete"])


def _revoked(body: bytes) -> None:
    # RFC 7009 leaves the body open, so an empty one is a success, too.
    if not body.strip():
        return
    members = msgspec.json.decode(body, type=dict[str, Any])
    if members.keys() & {"message", "error", "errors", "id", "refresh_token"}:
        raise InvalidInput("it is an error, or the answer to another call")


def _nothing(body: bytes) -> None:
    if body.strip():
        raise InvalidInput("it has a body")


EXCHANGE = Call(
    "POST oauth/token", _exchange, frozenset({"AuthorizationCode", "RequestToken"}), token_endpoint=True
)
REFRESH: Call[TokenGrant] = Call(
    "POST oauth/token",
    lambda body: payloads.grant(json_text.value(body)),
    frozenset({"RefreshToken"}),
    token_endpoint=True,
)
REVOKE = Call(
    "POST oauth/revoke",
    _revoked,
    frozenset({"AccessToken", "Athlete", "RefreshToken", "Token"}),
    token_endpoint=True,
)

_PUSH = frozenset({"PushSubscription"})

SUBSCRIPTIONS: Call[list[Subscription]] = Call(
    "GET push_subscriptions",
    lambda body: msgspec.json.decode(body, type=list[Subscription], strict=False),
    _PUSH,
)
SUBSCRIBE: Call[Subscription] = Call(
    "POST push_subscriptions",
    lambda body: msgspec.json.decode(body, type=Subscription, strict=False),
    _PUSH,
    statuses=(200, 201),
)
UNSUBSCRIBE: Call[None] = Call("DELETE push_subscriptions", _nothing, _PUSH, statuses=(204,))
