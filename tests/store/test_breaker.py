"""While the application is switched off, calls wait for an hourly probe, and jobs lose no attempt."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest
from sqlalchemy import update
from store_makers import event, spec

from feedzone.clock import StravaClock
from feedzone.domain.job import Lane
from feedzone.domain.outcome import Discard, Retry, Snooze
from feedzone.domain.quota.windows import Reading, Reservation
from feedzone.errors import ApplicationPaused, QuotaSpent, StravaFails, TransientError
from feedzone.handlers.failures import ending
from feedzone.store.quota.breaker import PROBE_EVERY, Breaker
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.schema.tables import application_state, job_attempts, jobs, webhook_events

REFUSAL = "GET activities/7 403 Forbidden (Application/Status/Inactive)"


@pytest.fixture
def breaker(database, clock) -> Breaker:
    return Breaker(database, clock)


@pytest.fixture
def budget(database, clock) -> BudgetTable:
    return BudgetTable(database, StravaClock(clock))


async def answers(*tables: BudgetTable, times: int = 1) -> list[object]:
    """Return the answers to `times` calls at once: False passes, True passes as the probe, an error waits."""

    async def ask(table: BudgetTable) -> bool:
        reservation = await table.reserve(Lane.LIVE)
        await table.answered(reservation, {})
        return reservation.probe

    calls = [ask(table) for table in tables for _ in range(times)]
    return await asyncio.gather(*calls, return_exceptions=True)


async def used(budget) -> int:
    return next(window.used for window in await budget.windows() if window.name == "read_day")


async def test_while_the_breaker_is_closed_all_calls_pass(breaker, budget):
    assert await answers(budget, times=5) == [False] * 5
    assert await breaker.close() is False


async def test_a_switched_off_application_stops_all_calls_and_they_cost_no_quota(breaker, budget, clock):
    paused = await breaker.open_inactive(REFUSAL)
    assert paused.until == clock.now() + PROBE_EVERY
    refused = await answers(budget, times=5)
    assert {type(error) for error in refused} == {ApplicationPaused}
    assert {error.until for error in refused} == {clock.now() + timedelta(hours=1)}
    assert all(REFUSAL in str(error) for error in refused)
    assert await used(budget) == 0


async def test_one_of_the_waiting_callers_is_to_return_for_each_probe(breaker, budget, clock):
    await breaker.open_inactive(REFUSAL)
    for _ in range(3):
        waiting = [error for error in await answers(budget, times=20) if error is not True]
        assert [error.spare for error in waiting].count(False) == 1
        clock.advance(hours=1)
        assert True in await answers(budget, times=1)


async def test_one_call_an_hour_is_a_probe_no_matter_how_many_wait(breaker, budget, clock):
    await breaker.open_inactive(REFUSAL)
    for _ in range(3):
        clock.advance(minutes=59)
        assert True not in await answers(budget, times=4)
        clock.advance(minutes=1)
        since = clock.now()
        replies = await answers(budget, times=20)
        assert replies.count(True) == 1
        # Some of them waited a moment for the answer to the first.
        waits = [reply.until - since for reply in replies if reply is not True]
        assert all(timedelta(0) <= wait % PROBE_EVERY <= timedelta(seconds=5) for wait in waits)
        assert True not in await answers(budget, times=4)
    assert await used(budget) == 3


async def test_a_call_that_is_refused_beside_the_probe_waits_for_the_next_probe(breaker, budget, clock):
    await breaker.open_inactive(REFUSAL)
    clock.advance(hours=1)
    assert await answers(budget) == [True]
    (refused,) = await answers(budget)
    assert refused.until == clock.now() + PROBE_EVERY


async def test_two_processes_send_one_probe_together(postgres_database, second_postgres, clock):
    """There is one breaker for the whole application."""
    await Breaker(postgres_database, clock).open_inactive(REFUSAL)
    clock.advance(hours=1)
    replies = await answers(
        BudgetTable(postgres_database, StravaClock(clock)),
        BudgetTable(second_postgres, StravaClock(clock)),
        times=10,
    )
    assert replies.count(True) == 1


async def test_a_spent_window_does_not_use_the_probe_up(breaker, budget, clock):
    await breaker.open_inactive(REFUSAL)
    clock.advance(hours=1)
    await budget.answered(Reservation(), {"read_day": Reading(1000, 1000)})
    assert {type(answer) for answer in await answers(budget, times=3)} == {QuotaSpent}
    clock.advance(hours=12)
    assert (await answers(budget, times=3)).count(True) == 1


async def test_a_refused_probe_keeps_the_beginning_of_the_outage(breaker, database, clock):
    since = clock.now()
    await breaker.open_inactive(REFUSAL)
    clock.advance(hours=3)
    paused = await breaker.open_inactive("still off")
    assert paused.until == clock.now() + PROBE_EVERY
    row = await database.read(lambda c: c.execute(application_state.select()).one())
    assert (row.inactive_since, row.probe_at, row.reason) == (since, paused.until, "still off")


async def test_a_later_outage_has_its_own_beginning(breaker, database, clock):
    await breaker.open_inactive(REFUSAL)
    assert await breaker.close() is True
    clock.advance(days=9)
    await breaker.open_inactive(REFUSAL)
    row = await database.read(lambda c: c.execute(application_state.select()).one())
    assert row.inactive_since == clock.now()


async def test_after_a_successful_probe_all_calls_pass(breaker, budget, clock):
    await breaker.open_inactive(REFUSAL)
    clock.advance(hours=1)
    assert await breaker.close() is True
    assert await answers(budget, times=5) == [False] * 5
    assert await breaker.close() is False


async def test_many_answers_at_once_close_the_breaker_once(breaker, clock):
    await breaker.open_inactive(REFUSAL)
    assert sorted(await asyncio.gather(*(breaker.close() for _ in range(9)))) == [False] * 8 + [True]


async def test_only_jobs_that_waited_for_the_breaker_are_due_when_it_closes(store, breaker, clock):
    """They are leased as soon as Strava answers again."""
    now, rng = clock.now(), random.Random(1)
    refusals = {1: await breaker.open_inactive(REFUSAL), 2: QuotaSpent("read_day", now + timedelta(hours=12))}
    await store.enqueue(*(spec(number) for number in (1, 2, 3)))
    for job in await store.lease():
        refusal = refusals.get(job.object_id)
        await store.queue.finish(job, ending(refusal, job, now, rng) if refusal else Retry("502"))
    await store.enqueue(spec(4, due_at=now + timedelta(hours=6)))
    before = {row.key: row.due_at for row in await store.rows(jobs)}
    clock.advance(seconds=1)
    await breaker.close()
    after = {row.key: row.due_at for row in await store.rows(jobs)}
    assert after == before | {"activity:1": clock.now()}
    assert [job.object_id for job in await store.lease()] == [1]


async def test_a_job_that_was_refused_just_before_the_breaker_closed_is_due_at_once(store, breaker, clock):
    """The job was refused before the probe succeeded, and ends after it."""
    await store.enqueue(spec())
    job = await store.lease_one()
    refusal = await breaker.open_inactive(REFUSAL)
    await breaker.close()
    await store.queue.finish(job, ending(refusal, job, clock.now(), random.Random(1)))
    assert len(await store.lease()) == 1


async def test_six_hours_switched_off_cost_no_attempt_and_at_most_seven_probes(store, breaker, budget, clock):
    """An hour after the application is on again, no job waits for it."""
    for number in range(1, 31):
        await store.deliver(event(object_id=number))
    began, probes, done = clock.now(), 0, 0
    while done < 30:
        for job in await store.lease(limit=50):
            (answer,) = await answers(budget)
            is_off = clock.now() - began < timedelta(hours=6)
            if isinstance(answer, bool) and is_off:
                probes += 1
                answer = await breaker.open_inactive(REFUSAL)
            if isinstance(answer, bool):
                await breaker.close()
                done += 1
                continue
            outcome = ending(answer, job, clock.now(), random.Random(job.object_id))
            assert isinstance(outcome, Snooze)
            await store.queue.finish(job, outcome)
        assert {row.attempts for row in await store.rows(jobs)} == {0}
        clock.advance(minutes=1)
    assert probes <= 7
    assert clock.now() - began <= timedelta(hours=7)
    assert await store.rows(job_attempts) == []
    assert {row.status for row in await store.rows(webhook_events)} == {"processing"}
    assert {row.attempts for row in await store.rows(webhook_events)} == {1}


BROKEN = "GET activities/7 503 (<html>)"


async def test_while_strava_fails_one_call_in_half_a_minute_is_a_probe(breaker, budget, clock):
    paused = await breaker.fail(BROKEN)
    assert isinstance(paused, StravaFails)
    assert {type(answer) for answer in await answers(budget, times=5)} == {StravaFails}
    for _ in range(3):
        clock.advance(seconds=30)
        assert (await answers(budget, times=9)).count(True) == 1
    assert await breaker.close()
    assert await answers(budget, times=5) == [False] * 5


async def test_jobs_that_waited_while_strava_failed_are_due_when_it_answers(store, breaker, clock):
    await store.enqueue(spec())
    refusal = await breaker.fail(BROKEN)
    job = await store.lease_one()
    await store.queue.finish(job, ending(refusal, job, clock.now(), random.Random(1)))
    assert await store.lease() == []
    assert (await store.row(jobs)).attempts == 0
    await breaker.close()
    assert len(await store.lease()) == 1


async def test_a_failing_strava_does_not_shorten_the_wait_of_a_switched_off_application(
    breaker, budget, clock
):
    await breaker.open_inactive(REFUSAL)
    paused = await breaker.fail(BROKEN)
    assert (type(paused), paused.until) == (ApplicationPaused, clock.now() + PROBE_EVERY)
    clock.advance(minutes=5)
    assert {type(answer) for answer in await answers(budget, times=3)} == {ApplicationPaused}


async def test_a_probe_that_fails_at_strava_is_soon_followed_by_another(breaker, budget, clock):
    """An activity that Strava cannot show must not keep the breaker open for another hour."""
    await breaker.open_inactive(REFUSAL)
    clock.advance(hours=1)
    assert await answers(budget) == [True]
    await breaker.probe_soon()
    clock.advance(minutes=1)
    assert await answers(budget) == [True]


@pytest.mark.parametrize("minutes", [-90, 90])
@pytest.mark.parametrize("stop", ["fail", "open_inactive"])
async def test_a_wrong_machine_clock_does_not_change_how_often_a_probe_is_sent(
    database, clock, stop, minutes
):
    """Waiting jobs are due by the machine's clock, and the windows follow Strava's clock."""
    strava = StravaClock(clock)
    strava.skew = timedelta(minutes=minutes)
    breaker, budget = Breaker(database, clock), BudgetTable(database, strava)
    refusal = await (breaker.fail(BROKEN) if stop == "fail" else breaker.open_inactive(REFUSAL))
    assert True not in await answers(budget, times=5)
    for _ in range(3):
        clock.advance(seconds=(refusal.until - clock.now()).total_seconds())
        replies = await answers(budget, times=5)
        assert replies.count(True) == 1
        refusal = next(reply for reply in replies if reply is not True)
        assert refusal.until > clock.now()


def silence(pause_s: float) -> TransientError:
    error = TransientError(200, "not Strava's answer")
    error.again_after_s = pause_s
    return error


@pytest.mark.parametrize("end", ["resume", "close"])
async def test_jobs_that_wait_for_an_answer_are_due_as_soon_as_strava_answers(store, breaker, clock, end):
    """They wait at no cost, however often that happens."""
    await store.enqueue(spec())
    for _ in range(9):
        job = await store.lease_one()
        assert await store.queue.finish(job, ending(silence(600), job, clock.now(), random.Random(1)))
        clock.advance(minutes=15)
    job = await store.lease_one()
    assert job.attempts == 0
    await store.queue.finish(job, ending(silence(600), job, clock.now(), random.Random(1)))
    assert (await store.row(jobs)).wait_reason == "no_answer"
    if end == "close":
        await breaker.fail("nothing answers")
    await getattr(breaker, end)()
    assert (await store.row(jobs)).due_at == clock.now()


async def test_the_end_of_an_outage_retries_the_dead_letters_that_may_pass(store, breaker, clock):
    for number, kind in enumerate(("strava_error", "no_answer", "application_refused", "refused", "other")):
        await store.enqueue(spec(activity_id=number + 1))
        await store.run(Discard("no", kind=kind))
    await store.write(lambda c: c.execute(update(jobs).values(due_at=clock.now() + timedelta(hours=6))))
    await breaker.fail("nothing answers")
    await breaker.close()
    due = [row.error_class for row in await store.rows(jobs) if row.due_at <= clock.now()]
    assert sorted(due) == ["application_refused", "no_answer", "strava_error"]
