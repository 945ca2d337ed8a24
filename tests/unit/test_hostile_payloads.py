"""JSON of Strava's that a decoder or a database cannot read costs at most itself."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from pydantic_core import from_json

from feedzone.domain import json_text
from feedzone.domain.athlete import AthleteProfile
from feedzone.errors import TransientError
from feedzone.store import stream_codec
from feedzone.strava import calls, payloads

CALL = "GET activities/7"


def decoded(streams: bytes) -> Any:
    """Return the streams as they come out of the database."""
    return stream_codec.decode(asyncio.run(stream_codec.encoded(streams)).blob)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{}", b"null", b"5", b"[null]", b'[{"id":0}, 7, {}]', b'[{"id":1}', b"\xff"],
)
def test_a_page_without_a_readable_entry_is_an_outage(body):
    with pytest.raises(TransientError):
        payloads.activity_page(body, "GET athlete/activities page 2", 2)


@pytest.mark.parametrize(
    ("odd", "listed"),
    [
        (b'{"id":2}', [1, 2, 3]),
        (b'{"id":2,"athlete":null,"name":"x"}', [1, 2, 3]),
        (b'{"id":2,"athlete":{"id":1e99}}', [1, 2, 3]),
        (b'{"id":9223372036854775808,"athlete":{"id":2}}', [1, 3]),
        (b'{"id":null,"athlete":{"id":2}}', [1, 3]),
        (b'{"name":"\xff","id":2,"athlete":{"id":2}}', [1, 3]),
        (b"null", [1, 3]),
        (b'"text"', [1, 3]),
    ],
)
def test_an_odd_entry_of_a_page_costs_only_itself(odd, listed):
    """With an id it is listed without values, so that a fetch decides about it."""
    body = b'[{"id":1,"athlete":{"id":2},"name":"a"},%b,{"id":3,"athlete":{"id":2},"name":"c"}]' % odd
    page = [record for record in payloads.activity_page(body, CALL, 2) if record is not payloads.NOBODYS]
    assert [record.id for record in page] == listed
    assert {record.athlete_id for record in page} == {2}
    assert [record.columns for record in page if record.id != 2] == [{"name": "a"}, {"name": "c"}]
    assert all(record.columns == {} for record in page if record.id == 2)


ODD = [
    ('"a\\ud800b"', "a\ufffdb"),
    ('"a\\u0000b"', "ab"),
    ('"\\ud83d\\ude00"', "\U0001f600"),
    ("1e999", None),
    ("-1e999", None),
    ("NaN", None),
    ("9" * 5000, None),
    ("1" + "0" * 20, 1e20),
    ("[" * 80 + "]" * 80, None),
]
"""JSON texts that some decoder or database refuses, and what is stored instead."""


def depth_of(value: Any) -> int:
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@pytest.mark.parametrize(("odd", "stored"), ODD, ids=range(len(ODD)))
def test_a_value_that_no_database_can_store_costs_at_most_itself(odd, stored):
    body = b'{"id":7,"athlete":{"id":3},"distance":5.5,"odd":%b}' % odd.encode()
    for record in (payloads.activity(body, "detail", CALL), *payloads.activity_page(b"[%b]" % body, CALL, 3)):
        assert (record.id, record.athlete_id, record.columns) == (7, 3, {"distance": 5.5})
        for decode_text in (json.loads, from_json, msgspec.json.decode):
            value = decode_text(record.raw)["odd"]
            assert value == stored or depth_of(value) < json_text.DEPTH


@pytest.mark.parametrize(("odd", "name"), ODD[:3])
def test_a_name_that_no_database_can_store_is_repaired(odd, name):
    odd = odd.encode()
    assert payloads.activity(b'{"id":7,"athlete":{"id":3},"name":%b}' % odd, "detail", CALL).columns == {
        "name": name
    }
    profile = b'{"id":3,"firstname":%b,"lastname":5,"bikes":[{"id":"b1","name":%b}],"shoes":[]}' % (odd, odd)
    assert payloads.athlete(json_text.repair(profile)) == AthleteProfile(3, firstname=name)
    (bike,) = payloads.gear(profile, CALL).bikes
    assert (bike.name, json.loads(bike.raw)["name"]) == (name, name)
    photo, unreadable = payloads.photos(b'[{"urls":{"5000":"u"},"caption":%b},{"urls":5}]' % odd, CALL)
    assert (photo.urls, json.loads(photo.raw)["caption"], unreadable.urls) == (("u",), name, ())
    streams = calls.streams(7).parse(b'{"time":{"data":[0,1]},"note":{"data":[%b]}}' % odd)
    assert decoded(streams)["note"]["data"] == [name]


def test_streams_keep_what_can_be_read_beside_numbers_that_cannot():
    body = b'{"time":{"data":[0,1]},"watts":{"data":[1e999,99999999999999999999,3]}}'
    assert decoded(calls.streams(7).parse(body)) == {
        "time": {"data": [0, 1]},
        "watts": {"data": [None, 1e20, 3]},
    }


@pytest.mark.parametrize("empty", [b"[]", b"{}", b"null"])
def test_no_streams_are_an_empty_object(empty):
    assert calls.streams(7).parse(empty) == b"{}"


@pytest.mark.parametrize("expires_at", [-1, 2**32, 10**18, None])
def test_a_grant_with_an_impossible_expiry_is_refused(expires_at):
    members = {"access_token": "a", "refresh_token": "r", "expires_at": expires_at}
    with pytest.raises(msgspec.ValidationError):
        payloads.grant(members)
