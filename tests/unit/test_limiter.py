"""Calls are reserved before they are sent and given back if they certainly were not; a 429 latches."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from email.utils import format_datetime

import pytest
from fakes import (
    ATHLETE,
    NOON,
    FakeBreaker,
    FakeBudget,
    FakeCallLog,
    FakeTransport,
    answer,
    job,
    refusal,
    unanswered,
)

from feedzone.clock import StravaClock, SystemClock
from feedzone.domain.job import Lane, running_job
from feedzone.domain.quota.windows import ApiCall, Reading
from feedzone.errors import ApplicationPaused, CallOverdue, QuotaSpent, StorageUnavailable, TransportFailure
from feedzone.ports import Request
from feedzone.strava import calls
from feedzone.strava.limiter import FAILURES, Limiter, activity_of, endpoint_of

REQUEST = Request("GET", "https://api.test/activities/7")
HEADERS = {"x_ratelimit_limit": "200,2000", "x_ratelimit_usage": "68,211"}
USAGE = {"overall_15min": Reading(200, 68), "overall_day": Reading(2000, 211)}
DETAIL = {"id": 7, "athlete": {"id": ATHLETE}}
GONE = refusal(404, "Resource Not Found", ("Activity", "", "not found"))
SPENT = ("Application", "rate limit", "exceeded")


async def send(transport: FakeTransport, budget: FakeBudget, breaker: FakeBreaker | None = None):
    limiter = Limiter(transport, budget, breaker or FakeBreaker(), FakeCallLog(), StravaClock(SystemClock()))
    return await limiter.send(REQUEST, 3, calls.activity(7))


async def test_a_call_is_counted_before_it_is_sent():
    budget = FakeBudget()

    def sent(request: Request):
        assert budget.log == [("reserve", Lane.INTERACTIVE)]
        return answer(200, DETAIL, **HEADERS)

    transport = FakeTransport(sent)
    assert (await send(transport, budget)).status == 200
    assert (transport.requests, transport.timeouts) == ([REQUEST], [3])


async def test_the_headers_of_an_answer_correct_the_count():
    budget = FakeBudget()
    await send(FakeTransport(answer(200, DETAIL, **HEADERS)), budget)
    assert budget.log == [("reserve", Lane.INTERACTIVE), ("answered", USAGE)]


async def test_without_headers_our_own_count_stays():
    budget = FakeBudget()
    await send(FakeTransport(answer(200, DETAIL, x_ratelimit_usage='","')), budget)
    assert budget.log == [("reserve", Lane.INTERACTIVE)]


@pytest.mark.parametrize("status", [401, 403, 404, 500, 502])
async def test_an_error_answer_counts_and_is_returned(status):
    budget = FakeBudget()
    response = await send(FakeTransport(answer(status, b"<html>", **HEADERS)), budget)
    assert response.status == status
    assert budget.log == [("reserve", Lane.INTERACTIVE), ("answered", USAGE)]


async def test_a_full_window_sends_nothing():
    transport = FakeTransport(answer(200, DETAIL))
    budget = FakeBudget(full=QuotaSpent("read_day", NOON))
    with pytest.raises(QuotaSpent, match="read_day"):
        await send(transport, budget)
    assert (transport.requests, budget.log) == ([], [])


@pytest.mark.parametrize(
    ("failure", "given_back"),
    [
        (unanswered(acted=False), True),
        (unanswered(acted=None), False),
        (unanswered(acted=True), False),
        (CallOverdue("too late"), False),
    ],
)
async def test_only_a_call_that_was_certainly_not_sent_is_given_back(failure, given_back):
    budget = FakeBudget()
    with pytest.raises(TransportFailure) as caught:
        await send(FakeTransport(failure), budget)
    assert caught.value is failure
    assert budget.log == [("reserve", Lane.INTERACTIVE)] + [("release", None)] * given_back


@pytest.mark.parametrize("method", ["release", "answered"])
async def test_a_database_that_fails_after_a_failed_call_does_not_hide_the_failure(method):
    """Otherwise the call would cost no attempt, and count for no breaker."""
    budget, failure = FakeBudget(alone=True), unanswered(acted=False if method == "release" else None)

    async def fails(*_arguments):
        raise StorageUnavailable("disk full")

    setattr(budget, method, fails)
    breaker, limiter_failures = FakeBreaker(), []
    limiter = Limiter(FakeTransport(failure), budget, breaker, FakeCallLog(), StravaClock(SystemClock()))
    for number in range(FAILURES):
        with pytest.raises(TransportFailure) as caught:
            await limiter.send(REQUEST, 3, calls.activity(number))
        limiter_failures.append(caught.value)
    assert limiter_failures == [failure] * FAILURES
    assert breaker.log == ["fail: no answer"]


@pytest.mark.parametrize(
    "refused",
    [
        refusal(429, "Rate Limit Exceeded", SPENT),
        refusal(403, "Rate Limit Exceeded", SPENT),
        answer(429, b'{"errors":"Rate Limit Exceeded","status":429,"message":"Too Many Requests"}'),
        answer(429, b""),
    ],
)
async def test_a_refusal_for_quota_closes_the_window_for_everyone(refused):
    budget = FakeBudget()
    with pytest.raises(QuotaSpent) as caught:
        await send(FakeTransport(refused), budget)
    assert caught.value.until == NOON + timedelta(minutes=15)
    assert [name for name, _ in budget.log] == ["reserve", "latch"]


async def test_the_headers_of_a_refusal_name_the_window():
    budget = FakeBudget()
    with pytest.raises(QuotaSpent):
        await send(FakeTransport(answer(429, b"", **HEADERS)), budget)
    assert budget.log[-1] == ("latch", USAGE)


async def test_another_403_closes_nothing():
    budget, breaker = FakeBudget(), FakeBreaker()
    assert (await send(FakeTransport(refusal(403, "Forbidden")), budget, breaker)).status == 403
    assert (budget.log, breaker.log) == ([("reserve", Lane.INTERACTIVE)], [])


INACTIVE = refusal(403, "Forbidden", ("Application", "Status", "Inactive"))


async def test_an_application_that_is_switched_off_trips_the_breaker_for_everyone():
    budget, breaker = FakeBudget(), FakeBreaker()
    with pytest.raises(ApplicationPaused) as caught:
        await send(FakeTransport(INACTIVE), budget, breaker)
    assert caught.value.until == NOON + timedelta(hours=1)
    assert budget.log == [("reserve", Lane.INTERACTIVE)]  # it counts; no window is closed
    (tripped,) = breaker.log
    assert "GET activities/7 403" in tripped
    assert "Application/Status/Inactive" in tripped


async def test_the_headers_correct_the_count_also_for_a_switched_off_application():
    refused = answer(403, INACTIVE.body, **HEADERS)
    budget = FakeBudget()
    with pytest.raises(ApplicationPaused):
        await send(FakeTransport(refused), budget)
    assert budget.log == [("reserve", Lane.INTERACTIVE), ("answered", USAGE)]


async def test_while_the_application_is_switched_off_nothing_is_sent():
    transport, breaker = FakeTransport(answer(200, DETAIL)), FakeBreaker()
    with pytest.raises(ApplicationPaused):
        await send(transport, FakeBudget(full=ApplicationPaused(NOON)), breaker)
    assert (transport.requests, breaker.log) == ([], [])


async def test_a_successful_probe_closes_the_breaker():
    breaker = FakeBreaker()
    await send(FakeTransport(answer(200, DETAIL)), FakeBudget(probe=True), breaker)
    assert breaker.log == ["close"]


async def test_an_answer_to_an_earlier_call_does_not_close_the_breaker():
    breaker = FakeBreaker()
    await send(FakeTransport(answer(200, DETAIL)), FakeBudget(), breaker)
    assert breaker.log == []


async def test_a_probe_that_gets_404_closes_the_breaker_too():
    """A switched-off application gets 403 for every call; the probe may have met a deleted activity."""
    breaker = FakeBreaker()
    assert (await send(FakeTransport(GONE), FakeBudget(probe=True), breaker)).status == 404
    assert breaker.log == ["close"]


@pytest.mark.parametrize("failed", [answer(500, {}), answer(503, b"<html>"), answer(429, b""), unanswered()])
async def test_an_outage_does_not_change_the_state_of_the_application(failed):
    breaker = FakeBreaker()
    with contextlib.suppress(QuotaSpent, TransportFailure):
        await send(FakeTransport(failed), FakeBudget(probe=True), breaker)
    assert "close" not in breaker.log
    assert not any(line.startswith("open_inactive") for line in breaker.log)


def limiter_of(transport: FakeTransport, breaker: FakeBreaker) -> Limiter:
    return Limiter(transport, FakeBudget(), breaker, FakeCallLog(), StravaClock(SystemClock()))


async def ask(limiter: Limiter, *numbers: int) -> None:
    for number in numbers:
        with contextlib.suppress(TransportFailure):
            await limiter.send(Request("GET", "https://strava.test"), 1.0, calls.activity(number))


@pytest.mark.parametrize("failed", [answer(503, b"<html>"), unanswered(), unanswered(acted=False)])
async def test_when_strava_fails_several_calls_in_a_row_all_calls_stop(failed):
    breaker = FakeBreaker()
    await ask(limiter_of(FakeTransport(failed), breaker), *range(FAILURES - 1), 1)
    assert [line.partition(":")[0] for line in breaker.log] == ["fail"]


async def test_activities_that_strava_cannot_show_do_not_stop_other_calls():
    breaker = FakeBreaker()
    await ask(limiter_of(FakeTransport(answer(500, {"message": "error"})), breaker), *[1, 2] * FAILURES)
    assert breaker.log == []


async def test_an_answer_between_failures_restarts_their_count():
    breaker = FakeBreaker()
    failed = [answer(500, {})] * (FAILURES - 1)
    limiter = limiter_of(FakeTransport(*failed, GONE, *failed), breaker)
    await ask(limiter, *range(2 * FAILURES - 1))
    assert breaker.log == []


async def test_a_call_has_the_lane_of_the_job_it_is_made_for():
    budget = FakeBudget()
    mark = running_job.set(job(lane=Lane.BACKFILL))
    try:
        await send(FakeTransport(answer(200, DETAIL)), budget)
    finally:
        running_job.reset(mark)
    assert budget.log == [("reserve", Lane.BACKFILL)]


async def test_the_end_of_a_call_that_goes_alone_is_always_reported():
    """Other callers wait for it."""
    for ending in (answer(200, DETAIL), unanswered(acted=None), CallOverdue("too late")):
        budget = FakeBudget(alone=True)
        with contextlib.suppress(TransportFailure):
            await send(FakeTransport(ending), budget)
        assert budget.log[1:] == [("answered", {})]


@pytest.mark.parametrize("skew", [-75, 75])
async def test_stravas_clock_follows_the_date_of_answers(clock, skew):
    strava = StravaClock(clock)
    limiter = Limiter(
        FakeTransport(answer(200, DETAIL, date=format_datetime(clock.now() + timedelta(seconds=skew)))),
        FakeBudget(),
        FakeBreaker(),
        FakeCallLog(),
        strava,
    )
    await limiter.send(REQUEST, 3, calls.activity(7))
    assert abs((strava.now() - clock.now()).total_seconds() - skew) <= 1


# The call log has every call


async def test_calls_of_other_programs_are_logged_as_others(clock):
    own, others = await logged(clock, answer(200, DETAIL, **HEADERS), budget=FakeBudget(others=1))
    assert (own.lane, own.calls) == ("none", 1)
    assert (others.lane, others.calls, others.athlete_id, others.counted) == ("others", 1, None, True)


async def logged(clock, *answers, budget: FakeBudget | None = None):
    call_log = FakeCallLog()
    limiter = Limiter(
        FakeTransport(*answers), budget or FakeBudget(), FakeBreaker(), call_log, StravaClock(clock)
    )
    with contextlib.suppress(TransportFailure, QuotaSpent):
        await limiter.send(REQUEST, 3, calls.activity(7))
    return call_log.calls


async def test_a_call_is_logged_with_the_job_it_was_made_for(clock):
    def slow(_request: Request):
        clock.advance(milliseconds=230)
        return answer(200, DETAIL, **HEADERS)

    mark = running_job.set(job(lane=Lane.BACKFILL))
    try:
        (call,) = await logged(clock, slow)
    finally:
        running_job.reset(mark)
    assert call == ApiCall(
        NOON,
        "backfill",
        ATHLETE,
        "GET activities/{id}",
        200,
        ms=230,
        usage=USAGE,
        counted=True,
        activity_id=7,
    )


async def test_a_call_outside_of_jobs_has_no_lane_and_no_athlete(clock):
    (call,) = await logged(clock, answer(200, DETAIL))
    assert (call.lane, call.athlete_id, call.usage) == ("none", None, {})


@pytest.mark.parametrize(
    ("failure", "counted"), [(unanswered(acted=False), False), (unanswered(acted=None), True)]
)
async def test_a_call_without_an_answer_is_logged_and_counts_unless_it_was_certainly_not_sent(
    clock, failure, counted
):
    (call,) = await logged(clock, failure)
    assert (call.status, call.counted) == (None, counted)


async def test_a_cancelled_call_is_logged(clock):
    class Hangs(FakeTransport):
        async def send(self, request: Request, timeout: float):
            self.requests.append(request)
            await asyncio.Event().wait()

    call_log, transport = FakeCallLog(), Hangs()
    limiter = Limiter(transport, FakeBudget(), FakeBreaker(), call_log, StravaClock(clock))
    task = asyncio.create_task(limiter.send(REQUEST, 3, calls.activity(7)))
    while not transport.requests:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert [(call.status, call.counted) for call in call_log.calls] == [(None, True)]


async def test_a_call_that_the_budget_refuses_is_not_logged(clock):
    full = FakeBudget(full=QuotaSpent("read_day", NOON))
    assert await logged(clock, answer(200, DETAIL), budget=full) == []


async def test_a_429_is_logged(clock):
    (call,) = await logged(clock, refusal(429, "Rate Limit Exceeded", SPENT))
    assert (call.status, call.counted) == (429, True)


async def test_no_call_lasts_less_than_0_ms_when_the_clock_is_set_back(clock):
    def earlier(_request: Request):
        clock.advance(seconds=-5)
        return answer(200, DETAIL)

    (call,) = await logged(clock, earlier)
    assert call.ms == 0


@pytest.mark.parametrize(
    ("call", "endpoint"),
    [
        ("GET activities/1360128428/streams", "GET activities/{id}/streams"),
        ("GET athlete/activities page 12", "GET athlete/activities"),
        ("GET gear/b12345678987654321", "GET gear/{id}"),
        ("GET athlete", "GET athlete"),
    ],
)
def test_an_endpoint_contains_no_ids(call, endpoint):
    assert endpoint_of(call) == endpoint


@pytest.mark.parametrize(
    ("call", "activity"),
    [
        ("GET activities/1360128428/streams", 1360128428),
        ("GET activities/7", 7),
        ("GET athlete/activities page 12", None),
        ("GET gear/b12345678987654321", None),
    ],
)
def test_the_call_log_names_the_requested_activity(call, activity):
    assert activity_of(call) == activity


async def test_the_date_of_an_answer_that_is_not_stravas_does_not_move_our_clock(clock):
    """A proxy or a maintenance page may have any clock."""
    strava_clock = StravaClock(clock)
    page = answer(502, b"<html>", date=format_datetime(clock.now() + timedelta(hours=2), usegmt=True))
    limiter = Limiter(FakeTransport(page), FakeBudget(), FakeBreaker(), FakeCallLog(), strava_clock)
    await limiter.send(REQUEST, 3, calls.activity(7))
    assert strava_clock.skew == timedelta(0)
