"""Strava's error responses (docs/strava-api.md#errors): the body decides before the status."""

from __future__ import annotations

import msgspec
import pytest
from fakes import FakeTransport, answer, refusal

from feedzone.clock import SystemClock
from feedzone.errors import (
    AppInactive,
    ApplicationRefused,
    Fault,
    NeedsRefresh,
    NeedsScope,
    NotVisible,
    PermanentError,
    RateLimited,
    SeatsFull,
    TokenRevoked,
    TransientError,
)
from feedzone.ports import Response
from feedzone.strava import calls
from feedzone.strava.application import StravaApplication
from feedzone.strava.responses import read, read_error

SCOPE = ("AccessToken", "activity:read_permission", "missing")

DETAIL, STREAMS, LIST = calls.activity(7), calls.streams(7), calls.activity_page(1, 2)
ATHLETE = calls.athlete(134815)

ROWS = [
    (DETAIL, 401, "Authorization Error", ("Athlete", "access_token", "invalid"), NeedsRefresh),
    (LIST, 401, "Authorization Error", ("Application", "", "invalid"), NeedsRefresh),
    (DETAIL, 401, "Authorization Error", SCOPE, NeedsScope),
    (STREAMS, 403, "Forbidden", SCOPE, NeedsScope),
    (
        LIST,
        401,
        "Authorization Error",
        ("AccessToken", "activity:read_all_permission", "missing"),
        NeedsScope,
    ),
    (DETAIL, 403, "Forbidden", ("Application", "Status", "Inactive"), AppInactive),
    (calls.SUBSCRIPTIONS, 403, "Forbidden", ("Application", "Status", "Inactive"), AppInactive),
    (DETAIL, 404, "Resource Not Found", ("Activity", "", "not found"), NotVisible),
    (STREAMS, 404, "Record Not Found", ("Activity", "id", "invalid"), NotVisible),
    (ATHLETE, 404, "Resource Not Found", ("Athlete", "", "not found"), TransientError),
    (calls.UNSUBSCRIBE, 404, "Resource Not Found", ("PushSubscription", "", "not found"), NotVisible),
    (DETAIL, 429, "Rate Limit Exceeded", ("Application", "overall rate limit", "exceeded"), RateLimited),
    (LIST, 429, "Rate Limit Exceeded", ("Application", "rate limit", "exceeded"), RateLimited),
    (LIST, 403, "Rate Limit Exceeded", ("Application", "rate limit", "exceeded"), RateLimited),
    (DETAIL, 400, "Bad Request", ("Activity", "id", "invalid"), PermanentError),
    (LIST, 400, "Bad Request", ("Application", "per page", "limit exceeded"), PermanentError),
    (calls.REFRESH, 400, "Bad Request", ("RefreshToken", "refresh_token", "invalid"), TokenRevoked),
    (calls.REFRESH, 400, "Bad Request", ("RefreshToken", "code", "invalid"), TokenRevoked),
    (calls.EXCHANGE, 400, "Bad Request", ("AuthorizationCode", "code", "invalid"), PermanentError),
    (calls.EXCHANGE, 400, "Bad Request", ("RequestToken", "code", "invalid"), PermanentError),
    (calls.REFRESH, 400, "Bad Request", ("Application", "client_secret", "invalid"), ApplicationRefused),
    (calls.REVOKE, 401, "Authorization Error", ("Application", "client_id", "invalid"), ApplicationRefused),
    (calls.REVOKE, 401, "Authorization Error", ("Athlete", "access_token", "invalid"), PermanentError),
    (
        calls.SUBSCRIBE,
        400,
        "Bad Request",
        ("PushSubscription", "callback url", "not verifiable"),
        PermanentError,
    ),
    (DETAIL, 403, "Forbidden", ("Activity", "", "forbidden"), PermanentError),
]


@pytest.mark.parametrize(("call", "status", "message", "fault", "kind"), ROWS)
def test_every_known_error_is_recognised_by_its_body_and_keeps_its_text(call, status, message, fault, kind):
    error = read(refusal(status, message, fault), call).error
    assert type(error) is kind
    assert (error.status, error.message, error.faults) == (status, message, (Fault(*fault),))
    assert error.call == call.name
    assert str(error) == f"{call.name} {status} {message} ({'/'.join(fault)})"


@pytest.mark.parametrize("status", [400, 403])
def test_full_seats_are_recognised_by_their_text_alone_at_a_new_consent(status):
    page = answer(status, b"<html>Error 403: Limit of connected athletes exceeded</html>")
    assert type(read(page, calls.EXCHANGE).error) is SeatsFull
    structured = refusal(status, "Limit of connected athletes exceeded", ("Application", "", "invalid"))
    assert type(read(structured, calls.EXCHANGE).error) is SeatsFull
    assert type(read(page, calls.REFRESH).error) is TransientError
    assert type(read(page, DETAIL).error) is TransientError


def test_a_429_of_anybody_makes_calls_wait():
    for body in (b"", b"<html>Too Many Requests</html>"):
        assert type(read(answer(429, body), DETAIL).error) is RateLimited


def test_an_error_describes_a_body_and_does_not_quote_it():
    error = read(answer(502, b"<html><h1>502 Bad Gateway</h1></html>"), DETAIL).error
    assert str(error) == f"{DETAIL.name} 502 (37 bytes, markup, not JSON at character 0)"
    cut = read(answer(200, b'{"id": 7, "name": "Canary'), DETAIL).error
    assert str(cut).endswith("(25 bytes, not JSON at character 18)")


def test_recorded_errors_are_recognised(recorded):
    cases = msgspec.json.decode((recorded / "exchanges.json").read_bytes())
    at_token = {"token_invalid_client", "token_invalid_code"}
    kinds = {
        case["case"]: type(
            read(
                Response(case["status"], {}, case["body"].encode()),
                calls.EXCHANGE if case["case"] in at_token else DETAIL,
            ).error
        )
        for case in cases
        if case["status"] >= 400
    }
    assert kinds == {
        "authorization_error": NeedsRefresh,
        "not_found_error": TransientError,  # without a body anybody may have sent it
        "activity_with_ratelimit_exceeded": RateLimited,
        "token_invalid_client": ApplicationRefused,
        "token_invalid_code": PermanentError,
    }


@pytest.mark.parametrize(
    ("body", "message", "faults"),
    [
        (b'{"errors":"Rate Limit Exceeded","status":429,"message":"Too Many"}', "Rate Limit Exceeded", ()),
        (b'{"message":"x","errors":null}', "x", ()),
        (b'{"message":"x","errors":{"resource":"A"}}', "x", ()),
        (b'{"message":"x","errors":["text",{"code":"invalid"}]}', "x", (Fault("", "", "invalid"),)),
        (b'{"message":"x","errors":[{"resource":null,"field":1,"code":[]}]}', "x", (Fault("", "1", ""),)),
        (b'{"message":5}', "", ()),
        (b"[]", "", ()),
        (b"<html>", "", ()),
        (b"", "", ()),
        (b"\xff", "", ()),
    ],
)
def test_malformed_error_bodies_are_read_as_far_as_possible(body, message, faults):
    assert read_error(body) == (message, faults)


def test_all_faults_of_an_error_are_stored():
    faults = [("Activity", "a", "missing"), ("Activity", "b", "invalid")]
    error = read(refusal(400, "Bad Request", *faults), DETAIL).error
    assert error.faults == (Fault(*faults[0]), Fault(*faults[1]))
    assert "Activity/a/missing; Activity/b/invalid" in str(error)


def application(*answers: Response) -> tuple[StravaApplication, FakeTransport]:
    transport = FakeTransport(*answers)
    made = StravaApplication(
        transport,
        client_id="17",
        secret="the-client-secret",
        api_base="https://api.test",
        oauth_base="https://oauth.test",
        timeout_s=3,
        clock=SystemClock(),
    )
    return made, transport


PAIR = {"access_token": "canary-access", "refresh_token": "canary-refresh", "expires_at": 1795000000}


async def test_a_refresh_sends_its_secrets_in_the_body():
    app, transport = application(answer(200, PAIR))
    assert (await app.refresh("old-refresh")).refresh_token == "canary-refresh"
    (sent,) = transport.requests
    assert (sent.method, sent.url, dict(sent.params)) == ("POST", "https://oauth.test/token", {})
    assert sent.form == {
        "client_id": "17",
        "client_secret": "the-client-secret",
        "grant_type": "refresh_token",
        "refresh_token": "old-refresh",
    }


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b'{"access_token":"a"}', b'{"access_token":1,"refresh_token":null,"expires_at":"x"}'],
)
async def test_a_successful_status_without_a_token_pair_is_an_outage(body):
    app, _ = application(answer(200, body))
    with pytest.raises(TransientError):
        await app.refresh("old-refresh")


async def test_a_truncated_token_response_shows_no_token():
    app, _ = application(answer(200, msgspec.json.encode(PAIR)[:-5]))
    with pytest.raises(TransientError) as caught:
        await app.refresh("old-refresh")
    assert "canary" not in str(caught.value)


async def test_full_seats_at_the_token_exchange_raise_their_own_error():
    app, _ = application(answer(403, {"message": "Limit of connected athletes exceeded", "errors": []}))
    with pytest.raises(SeatsFull):
        await app.exchange("code")


async def test_a_revoke_authenticates_the_application_in_its_header():
    app, transport = application(answer(200, {}))
    await app.revoke("the-token")
    (sent,) = transport.requests
    assert (sent.url, dict(sent.form)) == ("https://oauth.test/revoke", {"token": "the-token"})
    assert sent.headers["Authorization"] == "Basic MTc6dGhlLWNsaWVudC1zZWNyZXQ="


def test_an_endlessly_nested_response_is_an_ordinary_error():
    response = Response(502, {}, b"[" * 100_000)
    assert isinstance(read(response, DETAIL).error, TransientError)
