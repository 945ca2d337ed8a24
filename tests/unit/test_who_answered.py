"""Answers that are not Strava's, at each of its addresses: an outage, and never Strava's word."""

from __future__ import annotations

import re

import msgspec
import pytest
from fakes import answer
from hypothesis import given, settings
from hypothesis import strategies as st

from feedzone.errors import RateLimited, TransientError
from feedzone.ports import Response
from feedzone.strava import calls
from feedzone.strava.responses import Call, read
from odd_answers import HTML, ODD, PROBLEM

ATHLETE, ACTIVITY = 134815, 7

CALLS: dict[str, Call] = {
    "activity": calls.activity(ACTIVITY),
    "streams": calls.streams(ACTIVITY),
    "photos": calls.photos(ACTIVITY),
    "list": calls.activity_page(1, 2),
    "athlete": calls.athlete(ATHLETE),
    "gear": calls.gear(ATHLETE),
    "exchange": calls.EXCHANGE,
    "refresh": calls.REFRESH,
    "revoke": calls.REVOKE,
    "subscriptions": calls.SUBSCRIPTIONS,
    "subscribe": calls.SUBSCRIBE,
    "unsubscribe": calls.UNSUBSCRIBE,
}

PAIR = {"access_token": "a", "refresh_token": "r", "expires_at": 1795000000}

SUCCESSES = {
    "activity": answer(200, {"id": ACTIVITY, "athlete": {"id": ATHLETE}}),
    "streams": answer(200, {"time": {"data": [0, 1]}}),
    "photos": answer(200, [{"urls": {"5000": "https://photos.test/1"}}]),
    "list": answer(200, [{"id": ACTIVITY, "athlete": {"id": ATHLETE}}]),
    "athlete": answer(200, {"id": ATHLETE, "firstname": "Ada"}),
    "gear": answer(200, {"id": ATHLETE, "bikes": [], "shoes": []}),
    "exchange": answer(200, PAIR | {"athlete": {"id": ATHLETE}}),
    "refresh": answer(200, PAIR),
    "revoke": answer(200, {}),
    "subscriptions": answer(200, [{"id": 1, "callback_url": "https://here.test"}]),
    "subscribe": answer(201, {"id": 1}),
    "unsubscribe": answer(204, b""),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("odd", ODD)
def test_an_answer_that_is_not_stravas_is_an_outage_at_every_address(odd, name):
    """It is never gone, refused, in need of a scope, or revoked."""
    error = read(ODD[odd], CALLS[name]).error
    assert type(error) is TransientError
    assert (error.status, error.call) == (ODD[odd].status, CALLS[name].name)


@pytest.mark.parametrize("name", CALLS)
def test_a_success_of_another_call_is_an_outage(name):
    """A cache or a wrong route returns the answer to another request."""
    also = {
        "gear": {"athlete"},
        "athlete": {"gear"},
        "refresh": {"exchange"},
        "streams": {"revoke"},  # an empty object
        "revoke": {"streams"},
        "subscribe": {"activity", "athlete", "gear"},
        "subscriptions": {"list"},
        "photos": {"list", "subscriptions"},
    }
    foreign = SUCCESSES.keys() - {name} - also.get(name, set())
    taken = {other for other in foreign if read(SUCCESSES[other], CALLS[name]).error is None}
    assert taken == set()


@pytest.mark.parametrize("name", CALLS)
def test_a_success_of_the_right_shape_is_stravas(name):
    assert read(SUCCESSES[name], CALLS[name]).error is None


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("unsubscribe", "revoke")])
@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_truncated_success_is_an_outage(name, cut):
    complete = SUCCESSES[name]
    part = Response(complete.status, complete.headers, complete.body[:-cut])
    assert type(read(part, CALLS[name]).error) is TransientError


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("activity", {}),
        ("activity", []),
        ("activity", {"id": ACTIVITY + 1, "athlete": {"id": ATHLETE}}),
        ("activity", {"id": ACTIVITY}),
        ("activity", {"id": None, "athlete": {"id": ATHLETE}}),
        ("activity", {"id": 10**30, "athlete": {"id": ATHLETE}}),
        ("streams", [{"type": "time", "data": [0]}]),
        ("streams", {"time": [0, 1]}),
        ("streams", {"time": {"data": "none"}}),
        ("streams", {"time": None}),
        ("photos", {}),
        ("list", {}),
        ("list", [{}]),
        ("athlete", {}),
        ("athlete", {"id": ATHLETE + 1}),
        ("gear", {"id": ATHLETE + 1, "bikes": [], "shoes": []}),
        ("gear", {"bikes": []}),
        ("exchange", PAIR),
        ("refresh", {}),
        ("refresh", PAIR | {"expires_at": 10**30}),
        ("refresh", PAIR | {"access_token": None}),
        ("refresh", PAIR | {"access_token": ""}),
        ("refresh", [PAIR]),
        ("revoke", {"error": "temporarily_unavailable"}),
        ("subscriptions", {}),
        ("subscriptions", [{"callback_url": "https://here.test"}]),
        ("subscribe", {}),
        ("subscribe", [{"id": 1}]),
    ],
)
def test_a_success_of_the_wrong_shape_or_about_another_object_is_an_outage(name, body):
    error = read(answer(CALLS[name].statuses[0], body), CALLS[name]).error
    assert type(error) is TransientError


@pytest.mark.parametrize("name", CALLS)
def test_a_429_makes_every_call_wait_whoever_sent_it(name):
    """To wait is always safe; to go on could exceed the limit."""
    for body in (b"", HTML, msgspec.json.encode(PROBLEM)):
        assert type(read(answer(429, body), CALLS[name]).error) is RateLimited


@pytest.mark.parametrize("name", ["exchange", "refresh"])
def test_no_token_is_stored_with_an_error(name):
    cut = Response(200, {}, SUCCESSES[name].body[:-1])
    error = read(cut, CALLS[name]).error
    values = re.findall(rb'"([^"]{6,})"', SUCCESSES[name].body)
    assert not [value for value in values if value.decode() in f"{error} {vars(error)}"]


WORD = "CANARY-7f3a Ride"
PERSONAL = {"id": ACTIVITY, "athlete": {"id": ATHLETE, "firstname": WORD}, "name": WORD, "map": {WORD: WORD}}
SHAPES = [
    PERSONAL,
    [PERSONAL, WORD],
    WORD,
    {"id": WORD, "athlete": WORD},
    {WORD: {"data": WORD}, "time": {"data": [WORD]}},
    PAIR | {"expires_at": WORD, "athlete": PERSONAL},
    {"message": WORD, "errors": [{"resource": WORD, "field": WORD, "code": WORD}]},
    {"message": WORD, "errors": [{"resource": "Activity", "field": WORD, "code": "not found"}]},
    {"message": "Bad Request", "errors": [{"resource": "Application", "field": "client_id", "code": WORD}]},
    {"message": "error", "errors": WORD},
    {"message": {WORD: WORD}, "errors": [WORD, [WORD], {"code": [WORD]}]},
]
STATUSES = [200, 201, 204, 206, 302, 400, 401, 402, 403, 404, 410, 422, 429, 500, 503, 999]


@settings(max_examples=400, deadline=None, database=None)
@given(
    name=st.sampled_from(sorted(CALLS)),
    status=st.sampled_from(STATUSES),
    shape=st.sampled_from(SHAPES),
    cut=st.integers(0, 400),
    wrapping=st.sampled_from(
        [(b"", b""), (b"<html><title>", b"</title>"), (b"\xef\xbb\xbf", b""), (b"", b"\xff"), (b"", b" x")]
    ),
)
def test_no_word_of_a_body_is_in_the_text_of_an_error(name, status, shape, cut, wrapping):
    body = wrapping[0] + msgspec.json.encode(shape) + wrapping[1]
    error = read(Response(status, {}, body[: len(body) - cut] if cut else body), CALLS[name]).error
    if error is not None:
        assert not re.search("CANARY|7f3a", f"{error} {vars(error)} {error.args}")


def test_the_text_of_an_error_says_length_type_and_position():
    cut = read(Response(200, {}, b'{"id": 7, "name": "Canary ri'), CALLS["activity"]).error
    assert str(cut) == (
        "GET activities/7 200 the response is not an activity (28 bytes, not JSON at character 18)"
    )
    typed = read(Response(200, {}, b'{"access_token": 5}'), CALLS["refresh"]).error
    assert str(typed) == (
        "POST oauth/token 200 not Strava's answer to this call: Expected `str`, got `int` "
        "- at `$.access_token` (19 bytes, JSON object)"
    )
