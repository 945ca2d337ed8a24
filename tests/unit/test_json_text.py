"""Plain JSON is decoded once, by the fast decoder; only what a decoder may refuse is read item by item."""

from __future__ import annotations

import json

import pytest

from feedzone.domain import json_text
from feedzone.errors import InvalidInput
from feedzone.strava import calls, responses

GRANT = b'"access_token":"a","refresh_token":"r","expires_at":1800000000'
PLAIN = [
    b"null",
    b"5",
    b'"\xc3\xa9 \\ud83d\\ude00"',
    b"[]",
    b"[[1.5,2.5],[true,null]]",
    b'{"a":{"b":[{"c":"\\\\u0000"}]}}',
    b"[%d,%d]" % (json_text.LEAST, json_text.LARGEST),
    b"[0.12345678901234567890123]",
    b"[" * json_text.DEPTH + b"]" * json_text.DEPTH,
    b'{"a":' * json_text.DEPTH + b"1" + b"}" * json_text.DEPTH,
    b'["[[[[", "]]]]", "{\\"a\\":"]',
]
REPAIRED = [
    (b'"a\\u0000b"', "ab"),
    (b'{"a":[{"b\\u0000":1}]}', {"a": [{"b": 1}]}),
    (b'["\\ud83d"]', ["\ufffd"]),
    (b"[%d]" % (json_text.LARGEST + 1), [float(json_text.LARGEST + 1)]),
    (b'{"a":%d}' % (json_text.LEAST - 1), {"a": float(json_text.LEAST - 1)}),
    (b"[[[18446744073709551615]]]", [[[18446744073709551615.0]]]),
    (b"[1e400]", [None]),
    (b'["]]]]","[[[[",NaN]', ["]]]]", "[[[[", None]),
]
DEEP = json_text.DEPTH + 1


@pytest.fixture
def no_repair(monkeypatch):
    """Fail where the slow decoder is used."""

    def fail(_body):
        raise AssertionError("read member by member")

    monkeypatch.setattr(json_text, "repair", fail)


@pytest.mark.usefixtures("no_repair")
@pytest.mark.parametrize("body", PLAIN)
def test_plain_text_stays_as_received_and_is_decoded_fast(body):
    if body != b"null":
        assert json_text.value(body) == json.loads(body)
        assert json_text.readable(body) == body.decode()


@pytest.mark.parametrize(("body", "repaired"), REPAIRED)
def test_text_that_a_decoder_or_a_database_refuses_is_repaired(body, repaired):
    assert json_text.value(body) == json_text.repair(body) == repaired
    assert json.loads(json_text.readable(body)) == repaired


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b'["[",' * DEEP + b"1" + b',"]"]' * DEEP,
        b"[1,[2,3]," + b"[" * 900 + b"]" * 900 + b"]",
    ],
)
def test_what_is_nested_deeper_than_every_decoder_reads_is_cut(body):
    assert json_text.readable(body) != body.decode()
    assert json_text.value(body) == json_text.repair(body)


def test_a_repair_keeps_every_level_that_decoders_read():
    nested = json_text.repair(b"[" * json_text.DEPTH + b"1e999" + b"]" * json_text.DEPTH)
    for _ in range(json_text.DEPTH):
        (nested,) = nested
    assert nested is None


def test_null_is_a_value():
    assert json_text.value(b"null") is None
    assert json_text.readable(b"null") == "null"


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff", b'["\x00"]', b"[1,]"])
def test_what_is_not_json_has_no_value(body):
    for read in (json_text.value, json_text.readable):
        with pytest.raises(InvalidInput):
            read(body)


@pytest.mark.usefixtures("no_repair")
@pytest.mark.parametrize(
    "read",
    [
        lambda: calls.EXCHANGE.parse(b'{%b,"athlete":{"id":7,"firstname":"A"}}' % GRANT)[1].id,
        lambda: calls.REFRESH.parse(b"{%b}" % GRANT) and 7,
        lambda: calls.athlete(7).parse(b'{"id":7,"weight":70.5}').id,
        lambda: calls.gear(7).parse(b'{"id":7,"bikes":[]}').athlete_id,
        lambda: calls.activity(7).parse(b'{"id":7,"athlete":{"id":3},"laps":[{"distance":1.5}]}').id,
        lambda: responses.read_error(b'{"message":"m","errors":[]}') == ("m", ()) and 7,
    ],
    ids=["exchange", "refresh", "profile", "gear", "activity", "error"],
)
def test_every_plain_answer_is_decoded_fast(read):
    assert read() == 7
