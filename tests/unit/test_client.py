"""Calls on behalf of an athlete: the token in the header, replaced once when Strava rejects it."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from fakes import (
    ATHLETE,
    UNAUTHORIZED,
    FakeBreaker,
    FakeBudget,
    FakeCallLog,
    FakeTokenRows,
    FakeTransport,
    answer,
    grant,
    refusal,
    unanswered,
)

from feedzone.clock import StravaClock
from feedzone.domain.athlete import TokenGrant
from feedzone.errors import (
    AnswerTooLarge,
    ApplicationPaused,
    CallOverdue,
    Fault,
    NeedsRefresh,
    NeedsScope,
    NotConnected,
    NotVisible,
    QuotaSpent,
    StravaFails,
    TokenRevoked,
    TransientError,
    TransportFailure,
)
from feedzone.strava.application import StravaApplication
from feedzone.strava.client import STREAM_KEYS, StravaClient
from feedzone.strava.limiter import Limiter
from feedzone.strava.responses import PAUSES_S
from feedzone.strava.tokens import TokenKeeper

BASE = "https://api.test/v3"
DETAIL = answer(200, {"id": 7, "athlete": {"id": ATHLETE}, "name": "Ride", "description": None})
GONE = refusal(404, "Resource Not Found", *((name, "", "not found") for name in ("Activity", "Athlete")))
REVOKED = TokenRevoked(400, "Bad Request", (Fault("RefreshToken", "refresh_token", "invalid"),))


class Connection:
    """A client whose athlete has five hours left on their token."""

    def __init__(self, clock, *answers, refused: Exception | None = None) -> None:
        self.transport, self.budget = FakeTransport(*answers), FakeBudget()
        self.rows = FakeTokenRows(clock, left=timedelta(hours=5))
        self.refreshes = 0

        async def refresh(_token: str) -> TokenGrant:
            self.refreshes += 1
            if refused is not None:
                raise refused
            return grant("2", clock.now() + timedelta(hours=6))

        application = StravaApplication(
            self.transport,
            client_id="1",
            secret="s",
            api_base=BASE,
            oauth_base="https://oauth.test",
            timeout_s=3,
            clock=clock,
        )
        keeper = TokenKeeper(self.rows, clock, refresh, owner="here", patience_s=30)
        limiter = Limiter(self.transport, self.budget, FakeBreaker(), FakeCallLog(), StravaClock(clock))
        self.client = StravaClient(limiter, keeper, application, clock, api_base=BASE, timeout_s=3)

    @property
    def bearers(self) -> list[str]:
        return [request.headers["Authorization"] for request in self.transport.requests]


async def test_a_detail_is_requested_with_the_token_only_in_the_header(clock):
    here = Connection(clock, DETAIL)
    record = await here.client.activity(ATHLETE, 7)
    assert (record.id, record.athlete_id, record.level) == (7, ATHLETE, "detail")
    assert record.columns == {"name": "Ride", "description": None}
    (sent,) = here.transport.requests
    assert (sent.method, sent.url, dict(sent.params), sent.form) == ("GET", f"{BASE}/activities/7", {}, None)
    assert sent.headers == {"Authorization": "Bearer access-1"}
    assert here.transport.timeouts == [3]


async def test_streams_are_requested_by_name_and_keyed_by_type(clock):
    body = b'{"time":{"data":[0,1],"series_type":"distance"}}'
    here = Connection(clock, answer(200, body))
    assert await here.client.streams(ATHLETE, 7) == body
    (sent,) = here.transport.requests
    assert sent.url == f"{BASE}/activities/7/streams"
    assert sent.params == {"keys": STREAM_KEYS, "key_by_type": "true"}
    assert len(STREAM_KEYS.split(",")) == 11


@pytest.mark.parametrize("body", [b"[]", b"{}", b"null"])
async def test_an_activity_without_streams_yields_an_empty_object(clock, body):
    assert await Connection(clock, answer(200, body)).client.streams(ATHLETE, 7) == b"{}"


async def test_streams_that_are_not_json_are_an_outage(clock):
    with pytest.raises(TransientError):
        await Connection(clock, answer(200, b"<html>")).client.streams(ATHLETE, 7)


@pytest.mark.parametrize(
    ("window", "params"),
    [
        ((None, None), {"page": "2", "per_page": "200"}),
        ((10, None), {"page": "2", "per_page": "200", "after": "10"}),
        ((0, 20), {"page": "2", "per_page": "200", "after": "0", "before": "20"}),
    ],
)
async def test_a_list_page_is_requested_within_its_window(clock, window, params):
    here = Connection(clock, answer(200, [{"id": 7, "athlete": {"id": ATHLETE}}]))
    page = await here.client.activities(ATHLETE, after=window[0], before=window[1], page=2, per_page=200)
    assert [(record.id, record.level) for record in page] == [(7, "summary")]
    (sent,) = here.transport.requests
    assert (sent.url, sent.params) == (f"{BASE}/athlete/activities", params)


async def test_a_rejected_token_is_replaced_once_and_the_call_repeated(clock):
    here = Connection(clock, UNAUTHORIZED, DETAIL)
    assert (await here.client.activity(ATHLETE, 7)).id == 7
    assert here.bearers == ["Bearer access-1", "Bearer access-2"]
    assert here.refreshes == 1
    assert [name for name, _ in here.budget.log].count("reserve") == 2


async def test_a_second_rejection_of_the_token_is_raised(clock):
    here = Connection(clock, UNAUTHORIZED)
    with pytest.raises(NeedsRefresh, match=r"401 .*Athlete/access_token/invalid"):
        await here.client.activity(ATHLETE, 7)
    assert (len(here.bearers), here.refreshes) == (2, 1)


async def test_a_token_that_another_call_has_replaced_is_not_refreshed_again(clock):
    def rejected(_request):
        here.rows.put(grant("theirs", clock.now() + timedelta(hours=6)))
        return UNAUTHORIZED

    here = Connection(clock, rejected, DETAIL)
    await here.client.activity(ATHLETE, 7)
    assert here.bearers == ["Bearer access-1", "Bearer access-theirs"]
    assert here.refreshes == 0


async def test_a_missing_scope_does_not_refresh_the_token(clock):
    missing = refusal(401, "Authorization Error", ("AccessToken", "activity:read_permission", "missing"))
    here = Connection(clock, missing)
    with pytest.raises(NeedsScope):
        await here.client.activity(ATHLETE, 7)
    assert (len(here.bearers), here.refreshes) == (1, 0)


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        (answer(500, {"message": "error"}), TransientError),
        (refusal(403, "Forbidden", ("Application", "Status", "Inactive")), ApplicationPaused),
        (answer(429, b""), QuotaSpent),
        (unanswered(), TransportFailure),
    ],
)
async def test_other_failures_are_raised_unchanged(clock, answered, error):
    here = Connection(clock, answered)
    for call in (
        here.client.activity(ATHLETE, 7),
        here.client.streams(ATHLETE, 7),
        here.client.athlete(ATHLETE),
    ):
        with pytest.raises(error):
            await call
    with pytest.raises(error):
        await here.client.activities(ATHLETE, after=None, before=None, page=1, per_page=200)


async def test_only_an_activity_can_be_absent_every_athlete_has_a_profile_and_a_list(clock):
    here = Connection(clock, GONE)
    for call in (here.client.activity(ATHLETE, 7), here.client.streams(ATHLETE, 7)):
        with pytest.raises(NotVisible):
            await call
    with pytest.raises(TransientError):
        await here.client.athlete(ATHLETE)
    with pytest.raises(TransientError):
        await here.client.activities(ATHLETE, after=None, before=None, page=1, per_page=200)


@pytest.mark.parametrize("blip", [answer(502, b"<html>"), answer(597, b""), unanswered()])
async def test_a_short_failure_costs_a_second_try_and_no_attempt_of_the_job(clock, blip):
    """Each try is counted, because Strava counts it."""
    begun, here = clock.now(), Connection(clock, blip, blip, DETAIL)
    assert (await here.client.activity(ATHLETE, 7)).id == 7
    assert len(here.transport.requests) == 3
    assert [name for name, _ in here.budget.log].count("reserve") == 3
    assert (clock.now() - begun).total_seconds() == sum(PAUSES_S)


@pytest.mark.parametrize(
    ("failure", "error", "tries"),
    [
        (answer(500, {"message": "error"}), TransientError, 3),
        (unanswered(), TransportFailure, 3),
        (CallOverdue("no answer within 3 s"), CallOverdue, 2),  # a run has no time for a third
        (AnswerTooLarge("more than 64 MB"), AnswerTooLarge, 1),  # the same answer would be read again
        (GONE, NotVisible, 1),
        (answer(429, b""), QuotaSpent, 1),
        (refusal(403, "Forbidden", ("Application", "Status", "Inactive")), ApplicationPaused, 1),
    ],
)
async def test_only_transient_failures_are_tried_again_and_only_briefly(clock, failure, error, tries):
    here = Connection(clock, failure)
    with pytest.raises(error):
        await here.client.activity(ATHLETE, 7)
    asked = [request for request in here.transport.requests if request.url.endswith("/activities/7")]
    assert len(asked) == tries


async def test_the_call_is_named_in_its_error(clock):
    with pytest.raises(NotVisible, match=r"GET activities/7 404"):
        await Connection(clock, GONE).client.activity(ATHLETE, 7)


async def test_an_athlete_is_read(clock):
    here = Connection(clock, answer(200, {"id": ATHLETE, "firstname": "Ada", "lastname": None, "bikes": []}))
    profile = await here.client.athlete(ATHLETE)
    assert (profile.id, profile.firstname, profile.lastname) == (ATHLETE, "Ada", None)


async def test_the_recorded_athlete_is_read(clock, recorded):
    here = Connection(clock, answer(200, (recorded / "athlete.json").read_bytes()))
    assert (await here.client.athlete(26462176)).username == "dblockdotorg"


@pytest.mark.parametrize("body", [{}, [], {"id": None}, {"id": 2**63}])
async def test_a_response_that_is_not_an_athlete_is_an_outage(clock, body):
    with pytest.raises(TransientError):
        await Connection(clock, answer(200, body)).client.athlete(ATHLETE)


async def test_an_athlete_whose_profile_can_be_read_is_not_deauthorized(clock):
    here = Connection(clock, answer(200, {"id": ATHLETE}))
    assert await here.client.is_deauthorized(ATHLETE) is False


async def test_an_athlete_whose_tokens_strava_refuses_is_deauthorized(clock):
    assert await Connection(clock, UNAUTHORIZED).client.is_deauthorized(ATHLETE) is True
    assert await Connection(clock, UNAUTHORIZED, refused=REVOKED).client.is_deauthorized(ATHLETE) is True


async def test_an_athlete_without_a_connection_is_deauthorized(clock):
    here = Connection(clock, answer(200, {"id": ATHLETE}))
    here.rows.purge()
    assert await here.client.is_deauthorized(ATHLETE) is True
    assert here.transport.requests == []


async def test_photos_are_requested_in_full_size_and_from_every_source(clock):
    here = Connection(clock, answer(200, b"[]"))
    assert await here.client.photos(ATHLETE, 7) == []
    (sent,) = here.transport.requests
    assert sent.url == f"{BASE}/activities/7/photos"
    assert sent.params == {"size": "5000", "photo_sources": "true"}


async def test_an_athlete_who_reconnects_during_the_check_is_not_deauthorized(clock):
    here = Connection(clock, UNAUTHORIZED, answer(200, {"id": ATHLETE}))
    here.rows.before["save"] = lambda: here.rows.put(grant("consent", clock.now() + timedelta(hours=6)))
    assert await here.client.is_deauthorized(ATHLETE) is False


@pytest.mark.parametrize("failure", [answer(503, b""), unanswered(), answer(429, b"")])
async def test_an_outage_is_no_proof_of_a_deauthorization(clock, failure):
    with pytest.raises((TransientError, TransportFailure, QuotaSpent)):
        await Connection(clock, failure).client.is_deauthorized(ATHLETE)
    with pytest.raises((TransientError, TransportFailure, QuotaSpent)):
        await Connection(clock, UNAUTHORIZED, failure).client.is_deauthorized(ATHLETE)


async def test_no_activities_are_requested_while_the_scope_is_missing(clock):
    """No call, however many jobs are queued; only the deauthorization check still works."""
    here = Connection(clock, answer(200, {"id": ATHLETE}))
    await here.rows.mark(ATHLETE, 1, "needs_scope", "activity:read is missing")
    for _ in range(3):
        with pytest.raises(NeedsScope):
            await here.client.activity(ATHLETE, 7)
    assert here.transport.requests == []
    assert await here.client.is_deauthorized(ATHLETE) is False


async def test_an_athlete_who_must_reconnect_causes_no_calls(clock):
    here = Connection(clock, DETAIL)
    here.rows.purge()
    with pytest.raises(NotConnected):
        await here.client.activity(ATHLETE, 7)
    assert (here.transport.requests, here.budget.log) == ([], [])


async def test_no_url_contains_a_token(clock):
    here = Connection(clock, UNAUTHORIZED, DETAIL, answer(200, b"{}"), answer(200, b"[]"), answer(200, {}))
    await here.client.activity(ATHLETE, 7)
    await here.client.streams(ATHLETE, 7)
    await here.client.activities(ATHLETE, after=1, before=2, page=1, per_page=200)
    await here.client.revoke("refresh-2")
    for sent in here.transport.requests:
        sent_text = sent.url + msgspec.json.encode(dict(sent.params)).decode()
        assert "access-" not in sent_text
        assert "refresh-" not in sent_text


async def test_a_job_whose_call_opens_the_breaker_fails_instead_of_retrying_forever(clock):
    """Its own call opens the breaker: the next try must wait, and the job has used its attempt."""
    here = Connection(clock, answer(500, {"message": "error"}))
    reserve = here.budget.reserve

    async def once(lane):
        if here.transport.requests:
            raise StravaFails(clock.now() + timedelta(seconds=30))
        return await reserve(lane)

    here.budget.reserve = once
    with pytest.raises(TransientError):
        await here.client.activity(ATHLETE, 7)
    assert len(here.transport.requests) == 1
    with pytest.raises(StravaFails):
        await here.client.activity(ATHLETE, 7)
