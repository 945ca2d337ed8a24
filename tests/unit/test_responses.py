"""Strava's error responses (docs/strava-api.md#errors): the body decides before the status."""

from __future__ import annotations

import msgspec
import pytest
from fakes import FakeTransport, answer, refusal

from feedzone.errors import (
    ApiError,
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
from feedzone.strava.application import StravaApplication
from feedzone.strava.responses import check, error_of, read_error

CALL = "GET activities/7"
SCOPE = ("AccessToken", "activity:read_permission", "missing")

ROWS = [
    (401, "Authorization Error", ("Athlete", "access_token", "invalid"), NeedsRefresh),
    (401, "Authorization Error", ("Application", "", "invalid"), NeedsRefresh),
    (401, "Authorization Error", SCOPE, NeedsScope),
    (403, "Forbidden", SCOPE, NeedsScope),
    (401, "Authorization Error", ("AccessToken", "activity:read_all_permission", "missing"), NeedsScope),
    (403, "Forbidden", ("Application", "Status", "Inactive"), AppInactive),
    (404, "Resource Not Found", ("Activity", "", "not found"), NotVisible),
    (404, "Record Not Found", ("Activity", "id", "invalid"), NotVisible),
    (429, "Rate Limit Exceeded", ("Application", "overall rate limit", "exceeded"), RateLimited),
    (429, "Rate Limit Exceeded", ("Application", "rate limit", "exceeded"), RateLimited),
    (403, "Rate Limit Exceeded", ("Application", "rate limit", "exceeded"), RateLimited),
    (400, "Bad Request", ("Activity", "id", "invalid"), PermanentError),
    (400, "Bad Request", ("RefreshToken", "refresh_token", "invalid"), TokenRevoked),
    (400, "Bad Request", ("RefreshToken", "code", "invalid"), TokenRevoked),
    (400, "Bad Request", ("AuthorizationCode", "code", "invalid"), PermanentError),
    (400, "Bad Request", ("RequestToken", "code", "invalid"), PermanentError),
    (400, "Bad Request", ("Application", "client_secret", "invalid"), ApplicationRefused),
    (401, "Authorization Error", ("Application", "client_id", "invalid"), ApplicationRefused),
    (400, "Bad Request", ("PushSubscription", "callback url", "not verifiable"), PermanentError),
    (403, "Forbidden", ("Activity", "", "forbidden"), PermanentError),
]


@pytest.mark.parametrize(("status", "message", "fault", "kind"), ROWS)
def test_every_known_error_is_recognised_by_its_body_and_keeps_its_text(status, message, fault, kind):
    """The body decides, whatever the status is."""
    for token_endpoint in (False, True):
        error = error_of(refusal(status, message, fault), CALL, token_endpoint=token_endpoint)
        assert type(error) is kind
        assert (error.status, error.message, error.faults) == (status, message, (Fault(*fault),))
        assert (error.call, msgspec.json.decode(error.body)["message"]) == (CALL, message)
        assert str(error) == f"{CALL} {status} {message} ({'/'.join(fault)})"


@pytest.mark.parametrize("status", [400, 403])
def test_full_seats_are_recognised_by_their_text_alone(status):
    page = answer(status, b"<html>Error 403: Limit of connected athletes exceeded</html>")
    assert type(error_of(page, CALL)) is SeatsFull
    structured = refusal(status, "Limit of connected athletes exceeded", ("Application", "", "invalid"))
    assert type(error_of(structured, CALL, token_endpoint=True)) is SeatsFull


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", NeedsRefresh),
        (404, b"", NotVisible),
        (404, b"<html>not here</html>", NotVisible),
        (429, b"", RateLimited),
        (400, b"", PermanentError),
        (403, b"<html>Forbidden</html>", PermanentError),
        (402, b"", PermanentError),
        (422, b"", PermanentError),
        (302, b"", PermanentError),
        (408, b"", TransientError),
        (500, b'{"message":"error"}', TransientError),
        (502, b"<html><h1>502 Bad Gateway</h1></html>", TransientError),
        (503, b"", TransientError),
        (504, b"\xff\xfe", TransientError),
        (597, b"", TransientError),
    ],
)
def test_an_error_without_a_reason_is_classified_by_its_status(status, body, kind):
    error = error_of(answer(status, body), CALL)
    assert type(error) is kind
    assert (error.status, error.faults) == (status, ())


def test_an_html_body_is_stored_with_the_error():
    error = error_of(answer(502, b"<html><h1>502 Bad Gateway</h1></html>"), CALL)
    assert error.body == "<html><h1>502 Bad Gateway</h1></html>"
    assert "502 Bad Gateway" in str(error)
    assert len(error_of(answer(502, b"x" * 100_000), CALL).body) == 2000


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"message":"Bad Request"}', b'{"message":"Bad Request","errors":[]}', b"<html>"],
)
def test_a_bare_400_of_the_token_endpoint_is_an_outage_and_not_a_revocation(body):
    assert type(error_of(answer(400, body), "POST oauth/token", token_endpoint=True)) is TransientError
    assert type(error_of(answer(400, body), CALL)) is PermanentError


def test_recorded_errors_are_recognised(recorded):
    cases = msgspec.json.decode((recorded / "exchanges.json").read_bytes())
    kinds = {
        case["case"]: type(
            error_of(Response(case["status"], {}, case["body"].encode()), CALL, token_endpoint=True)
        )
        for case in cases
        if case["status"] >= 400
    }
    assert kinds == {
        "authorization_error": NeedsRefresh,
        "not_found_error": NotVisible,
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
    error = error_of(refusal(400, "Bad Request", *faults), CALL)
    assert error.faults == (Fault(*faults[0]), Fault(*faults[1]))
    assert "Activity/a/missing; Activity/b/invalid" in str(error)


@pytest.mark.parametrize("status", [200, 201, 204])
def test_check_returns_the_body_of_a_successful_response(status):
    assert check(answer(status, b"body"), CALL) == b"body"


@pytest.mark.parametrize("status", [199, 301, 400, 500])
def test_check_raises_for_any_other_status(status):
    with pytest.raises(ApiError):
        check(answer(status), CALL)


def application(*answers: Response) -> tuple[StravaApplication, FakeTransport]:
    transport = FakeTransport(*answers)
    made = StravaApplication(
        transport,
        client_id="17",
        secret="the-client-secret",
        api_base="https://api.test",
        oauth_base="https://oauth.test",
        timeout_s=3,
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
    assert "canary" not in str(caught.value) + caught.value.body


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
    assert isinstance(error_of(response, "GET activities/1"), TransientError)
