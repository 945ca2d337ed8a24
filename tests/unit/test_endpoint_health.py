"""A failure costs an attempt only if its own object is to blame: Strava answers other calls meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fakes import (
    ATHLETE,
    NOON,
    FakeBreaker,
    FakeBudget,
    FakeCallLog,
    FakeTokenRows,
    FakeTransport,
    answer,
    refusal,
    unanswered,
)

from feedzone.clock import StravaClock
from feedzone.domain.athlete import TokenGrant
from feedzone.domain.quota.windows import Reservation
from feedzone.errors import (
    AnswerTooLarge,
    ApplicationRefused,
    CallOverdue,
    RateLimited,
    StravaError,
    TransientError,
    TransportFailure,
)
from feedzone.ports import Request, Response
from feedzone.strava import calls
from feedzone.strava.application import StravaApplication
from feedzone.strava.client import StravaClient
from feedzone.strava.health import (
    FIRST_PAUSE_S,
    LONGEST_ALONE_S,
    LONGEST_PAUSE_S,
    MOST_SUSPECTS,
    PATIENCE,
    EndpointHealth,
)
from feedzone.strava.limiter import Limiter, endpoint_of
from feedzone.strava.tokens import TokenKeeper
from odd_answers import ODD

FAILED = answer(500, {"message": "error"})
PROFILE = answer(200, {"id": ATHLETE})


def shown(number: int):
    return answer(200, {"id": number, "athlete": {"id": ATHLETE}, "name": "Ride"})


class World:
    """Strava answers about each activity as `answers` says, and the profile with `profile`."""

    def __init__(self, clock, *, profile=PROFILE) -> None:
        self.answers, self.profile, self.budget, self.breaker = {}, profile, FakeBudget(), FakeBreaker()
        self.transport = FakeTransport(self._answer)
        rows = FakeTokenRows(clock, left=timedelta(days=2))
        keeper = TokenKeeper(rows, clock, self._refresh, owner="here", patience_s=30)
        self.limiter = Limiter(self.transport, self.budget, self.breaker, FakeCallLog(), StravaClock(clock))
        self.client = StravaClient(
            self.limiter, keeper, None, clock, api_base="https://api.test", timeout_s=3
        )

    async def _refresh(self, token: str) -> TokenGrant:
        raise AssertionError(token)

    def _answer(self, request: Request):
        last = request.url.rpartition("/")[2]
        scripted = self.answers.get(int(last), shown(int(last))) if last.isdigit() else self.profile
        if isinstance(scripted, Exception):
            raise scripted
        return scripted

    async def failure(self, number: int) -> StravaError:
        with pytest.raises(StravaError) as caught:
            await self.client.activity(ATHLETE, number)
        return caught.value


@pytest.mark.parametrize("name", ["302 empty", "200 html", "404 html", "404 gear", "403 waf json", "500"])
async def test_while_nothing_is_answered_failures_cost_nothing(clock, name):
    world = World(clock, profile=ODD[name])
    for number in (7, 8, 7, 9, 7, 7, 7):
        world.answers[number] = ODD[name]
        error = await world.failure(number)
        assert error.again_after_s is not None


@pytest.mark.parametrize("failure", [CallOverdue("late"), unanswered(), unanswered(acted=False)])
async def test_silence_costs_nothing_either(clock, failure):
    world = World(clock)
    world.answers[7] = failure
    assert (await world.failure(7)).again_after_s == FIRST_PAUSE_S
    assert isinstance(failure, TransportFailure)


UNREADABLE = {
    "no athlete": answer(200, {"id": 7, "name": "Ride"}),
    "no number": Response(200, {}, b'{"name": "Ride", "id" : 7, "average_temp": NaN}\n'),
    "no text": Response(200, {}, b'{"id":7,"athlete":\xff}'),
}
"""Successes that show activity 7, in a form that cannot be read."""


@pytest.mark.parametrize("name", ["500", "501 html", "530 json", *UNREADABLE])
async def test_an_object_that_fails_while_others_are_answered_is_to_blame(clock, name):
    world = World(clock)
    world.answers[7] = UNREADABLE.get(name) or ODD[name]
    await world.failure(7)
    await world.client.activity(ATHLETE, 8)
    assert (await world.failure(7)).again_after_s is None
    del world.answers[7]
    await world.client.activity(ATHLETE, 7)
    world.answers[7] = UNREADABLE.get(name) or ODD[name]
    if name != "500":
        assert (await world.failure(7)).again_after_s is not None, "a success makes it unsuspected again"


FOREIGN = {
    "cut off": Response(200, {}, b'{"id": 7, "name": "Ri'),
    "another object": answer(200, {"id": 77, "name": "Ride"}),
    "our id elsewhere": answer(200, {"message": "activity 7", "ids": 7}),
}


@pytest.mark.parametrize("name", ["200 html", "404 path", "404 empty", "302 empty", "403 waf json", *FOREIGN])
async def test_an_answer_of_somebody_else_waits_a_day_before_its_object_is_to_blame(clock, name):
    """Others are answered meanwhile: a proxy that answers some calls, at random, must end no job."""
    world = World(clock)
    world.answers[7] = FOREIGN.get(name) or ODD[name]
    await world.failure(7)
    pauses = []
    for _ in range(40):
        await world.client.activity(ATHLETE, 8)
        failure = await world.failure(7)
        if failure.again_after_s is None:
            break
        assert failure.waits_alone
        pauses.append(failure.again_after_s)
        clock.advance(seconds=failure.again_after_s)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE_S, LONGEST_ALONE_S)
    assert timedelta(seconds=sum(pauses)) >= PATIENCE
    assert not failure.waits_alone


async def test_a_success_ends_the_patience_with_an_object(clock):
    health = EndpointHealth()
    assert health.pause_alone_s("detail of 7", NOON) == FIRST_PAUSE_S
    health.note_answer("detail", "detail of 7", NOON)
    assert health.pause_alone_s("detail of 7", NOON + PATIENCE) == FIRST_PAUSE_S
    assert health.pause_alone_s("detail of 7", NOON + 2 * PATIENCE) is None
    for number in range(MOST_SUSPECTS + 1):
        health.pause_alone_s(f"detail of {number} more", NOON)
    assert health.pause_alone_s("detail of 7", NOON + 2 * PATIENCE) == FIRST_PAUSE_S, "forgotten, not grown"


async def test_answers_at_another_endpoint_blame_nobody(clock):
    """Streams may fail alone, for all activities."""
    health = EndpointHealth()
    health.note_failure("streams", "streams of 7", NOON)
    health.note_answer("detail", "detail of 8", NOON)
    assert not health.is_suspect("streams", "streams of 7", NOON)
    health.note_answer("streams", "streams of 8", NOON)
    assert health.is_suspect("streams", "streams of 7", NOON)


async def test_a_suspect_is_not_blamed_in_an_outage(clock):
    """Either nothing was answered for a minute, or several calls have failed since."""
    health = EndpointHealth()
    health.note_failure("detail", "detail of 7", NOON)
    health.note_answer("detail", "detail of 8", NOON)
    assert health.is_suspect("detail", "detail of 7", NOON + timedelta(seconds=60))
    assert not health.is_suspect("detail", "detail of 7", NOON + timedelta(seconds=61))
    for number in (7, 9):
        health.note_failure("detail", f"detail of {number}", NOON)
        assert health.is_suspect("detail", "detail of 7", NOON)
    health.note_failure("detail", "detail of 10", NOON)
    assert not health.is_suspect("detail", "detail of 7", NOON)


async def test_stravas_own_failure_at_a_single_call_is_compared_with_another_call(clock):
    world = World(clock)
    world.answers[7] = FAILED
    assert (await world.failure(7)).again_after_s is None
    assert [request.url for request in world.transport.requests[-1:]] == ["https://api.test/athlete"]
    world = World(clock, profile=FAILED)
    world.answers[7] = FAILED
    assert (await world.failure(7)).again_after_s is not None
    sent = len(world.transport.requests)
    assert (await world.failure(7)).again_after_s is not None
    assert len(world.transport.requests) == sent + 3, "two calls fail: there is nothing to compare"


async def test_an_answer_that_is_too_large_is_to_blame_itself(clock):
    world = World(clock)
    world.answers[7] = AnswerTooLarge("65 MB")
    assert (await world.failure(7)).again_after_s is None


async def test_a_probe_never_costs_an_attempt(clock):
    world = World(clock)
    world.answers[7] = ODD["200 html"]
    await world.failure(7)
    await world.client.activity(ATHLETE, 8)
    world.budget.leave = Reservation(probe=True)
    assert (await world.failure(7)).again_after_s is not None


async def test_the_pause_grows_with_the_failure_and_ends_with_it(clock):
    health, pauses = EndpointHealth(), []
    for _ in range(12):
        health.note_failure("detail", "detail of 7", clock.now())
        pauses.append(health.pause_s("detail", clock.now()))
        clock.advance(seconds=pauses[-1])
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE_S, LONGEST_PAUSE_S)
    assert pauses == sorted(pauses)
    health.note_answer("detail", "detail of 8", clock.now())
    assert health.pause_s("detail", clock.now()) == FIRST_PAUSE_S


async def test_when_an_endpoint_answers_again_the_waiting_jobs_are_due(clock):
    world = World(clock)
    world.answers[7] = answer(200, b"<html>")
    await world.failure(7)
    clock.advance(seconds=20)
    await world.client.activity(ATHLETE, 8)
    await world.failure(7)
    clock.advance(minutes=5)
    assert world.breaker.log == []
    await world.client.activity(ATHLETE, 8)
    await world.client.activity(ATHLETE, 8)
    assert world.breaker.log == ["resume"]


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (ODD["200 html"], TransientError),
        (ODD["404 gear"], TransientError),
        (CallOverdue("late"), CallOverdue),
        (answer(429, b""), RateLimited),
        (refusal(401, "Bad Request", ("Application", "client_secret", "invalid")), ApplicationRefused),
    ],
)
async def test_failures_at_the_token_address_cost_no_athletes_job_an_attempt(clock, response, kind):
    application = StravaApplication(
        FakeTransport(response), client_id="1", secret="s", api_base="https://api.test",
        oauth_base="https://oauth.test", timeout_s=3, clock=clock,
    )  # fmt: skip
    with pytest.raises(kind) as caught:
        await application.refresh("r")
    assert caught.value.again_after_s == FIRST_PAUSE_S


def test_every_call_has_an_endpoint():
    assert endpoint_of(calls.streams(7).name) == "GET activities/{id}/streams"
