"""Edges of what Strava sends and accepts."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from fakes import ATHLETE, NOON, FakeApi, FakeRecords, FakeTokenRows, grant, job

from feedzone.domain.athlete import Access
from feedzone.domain.effect import ConfirmRevoke, PurgeAthlete
from feedzone.domain.event import parse_event, visible_update
from feedzone.domain.job import RefreshHint, RevokeHint, backfill_job, calls_of
from feedzone.domain.outcome import Done, Snooze
from feedzone.errors import Fault, PermanentError, RefreshPending, TokenRevoked, TransportFailure
from feedzone.handlers.revoke_athlete import RevokeAthlete
from feedzone.ports import Request
from feedzone.strava.details import parts
from feedzone.strava.tokens import TokenKeeper
from feedzone.strava.transport import HttpTransport

EVENT = (
    b'{"object_type":"activity","object_id":7,"aspect_type":"update","owner_id":3,"subscription_id":1,'
    b'"event_time":1516126040,"updates":%b}'
)


@pytest.mark.parametrize(
    ("value", "private"),
    [(b'"true"', True), (b'"True"', True), (b'"FALSE"', False), (b"true", True), (b'"yes"', None)],
)
def test_privacy_is_read_in_any_spelling(value, private):
    shown = visible_update(parse_event(EVENT % (b'{"private":%b}' % value)), "e1", NOON)
    assert (None if shown is None else shown.private) is private


def test_a_manual_activity_costs_one_call_and_the_newest_of_a_backfill_goes_first():
    assert calls_of("refresh_activity", RefreshHint(manual=True)) == 1
    newer, older = (backfill_job(3, n, NOON - timedelta(days=n)) for n in (1, 2))
    assert newer.rank < older.rank


def test_news_may_be_of_something_new_and_history_is_not():
    causes = ("event:e1", "reconciliation", "recheck", "backfill", "request")
    assert [RefreshHint(cause=cause).of_something_new for cause in causes] == [True, True, True, False, False]


def test_gear_is_shown_by_its_nickname_and_numbers_may_be_texts():
    read = parts('{"gear": {"name": "Bike", "nickname": "Blue"}, "laps": [{"name": "1", "distance": "9.5"}]}')
    assert read.gear_name == "Blue"
    assert [lap.distance for lap in read.laps] == [9.5]


async def test_cookies_of_answers_are_not_sent_back():
    """Two athletes' calls must have nothing in common."""
    cookies: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(dict(request.cookies))
        response = web.Response(text="{}")
        response.set_cookie("session", "7")
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    http = HttpTransport("test")
    async with TestServer(app) as server:
        for _ in range(2):
            await http.send(Request("GET", f"http://localhost:{server.port}/"), 5)
    await http.close()
    assert cookies == [{}, {}]


async def test_a_refused_connection_proves_that_nothing_was_sent_and_names_no_secret():
    http = HttpTransport("test")
    url = f"http://127.0.0.1:{unused_port()}/push_subscriptions?client_secret=canary"
    with pytest.raises(TransportFailure) as refused:
        await http.send(Request("GET", url), 5)
    await http.close()
    assert refused.value.acted is False
    assert "canary" not in str(refused.value)


async def revoked(clock, api: FakeApi, hint: RevokeHint, event_time: int):
    records = FakeRecords()
    records.connection = Access("active", NOON - timedelta(days=9))
    week = timedelta(days=7)
    handler = RevokeAthlete(api, records, clock, random.Random(1), lambda sealed, _: sealed, week)
    return await handler(job("revoke_athlete", hint, hint_time=event_time))


@pytest.mark.parametrize(("seconds", "believed"), [(-1, False), (0, True), (1, True)])
async def test_a_signed_departure_in_the_second_of_the_consent_is_believed(clock, seconds, believed):
    """Strava's events have whole seconds."""
    connected = int((NOON - timedelta(days=9)).timestamp())
    hint = RevokeHint("confirm", verified=True, cause="event:e1")
    outcome = await revoked(clock, FakeApi(is_deauthorized=False), hint, connected + seconds)
    assert isinstance(outcome, Done)
    assert any(isinstance(effect, PurgeAthlete) for effect in outcome.effects) is believed


@pytest.mark.parametrize(
    ("fault", "known"),
    [(Fault("AccessToken", "token", "missing"), True), (Fault("AccessToken", "token", "invalid"), False)],
)
async def test_only_an_invalid_token_counts_as_revoked_already(clock, fault, known):
    refusal = PermanentError(400, "Bad Request", (fault,))
    outcome = await revoked(clock, FakeApi(revoke=refusal), RevokeHint("revoke", sealed_token="x"), 0)
    assert isinstance(outcome, Snooze) is known
    assert any(isinstance(effect, ConfirmRevoke) for effect in outcome.effects) is not known


async def test_a_refusal_of_the_token_address_is_an_answer_too(clock):
    """After it, other athletes' refreshes need not wait for a probe."""
    failures: list[Exception] = [
        TransportFailure("no answer", acted=False),
        TokenRevoked(400, "Bad Request", (Fault("RefreshToken", "refresh_token", "invalid"),)),
    ]

    async def refresh(_token: str):
        if failures:
            raise failures.pop(0)
        return grant("2", clock.now() + timedelta(hours=6))

    rows = FakeTokenRows(clock, left=timedelta(hours=-1))
    keeper = TokenKeeper(rows, clock, refresh, owner="here", patience_s=30)
    with pytest.raises(RefreshPending) as pending:
        await keeper.usable(ATHLETE)
    assert keeper._silent_until == pending.value.until
    clock.advance(seconds=60)
    with pytest.raises(TokenRevoked):
        await keeper.usable(ATHLETE)
    assert keeper._silent_until is None
