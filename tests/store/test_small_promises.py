"""Small promises of the store that no other suite covers, each with what a user would miss."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest
from store_makers import OTHER, OWNER, event, spec, summary

from feedzone.clock import StravaClock
from feedzone.domain.effect import PurgeAthlete, StorePage
from feedzone.domain.job import BackfillHint, Lane, RevokeHint
from feedzone.domain.outcome import Discard, Done, Retry, Snooze
from feedzone.domain.quota.windows import ApiCall, Reading, Reservation, Window
from feedzone.queries.quota import QuotaForecast
from feedzone.store import athletes, gear, purge
from feedzone.store.jobs import attempts, cost, dead_letters
from feedzone.store.jobs.unfinished import UnfinishedSchedule
from feedzone.store.quota import call_log
from feedzone.store.quota.breaker import Breaker
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.quota.call_log import CallLog
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import (
    job_attempts,
    jobs,
    strava_athletes,
    strava_gear,
    token_uses,
    webhook_events,
)
from feedzone.worker.wakeup import LocalWakeup


async def test_the_uses_of_tokens_are_deleted_after_the_retention_time(store, clock):
    now = clock.now()
    use = {"athlete_id": OWNER, "used_at": now, "purpose": "refresh", "generation": 1, "outcome": "ok"}
    await store.write(
        lambda c: c.execute(token_uses.insert().values(id="01a00000-0000-7000-8000-000000000001", **use))
    )
    clock.advance(days=29)
    assert await Retention(store.database, clock, 30).prune() == 0
    clock.advance(days=2)
    assert await Retention(store.database, clock, 30).prune() == 1
    assert await store.rows(token_uses) == []


async def test_pruned_rows_leave_the_file_and_its_log(store, clock, monkeypatch):
    erased = []

    async def erase() -> None:
        erased.append(True)

    monkeypatch.setattr(store.database, "erase_deleted", erase)
    await Retention(store.database, clock, 30).prune()
    assert erased == [True]


async def test_an_athlete_whose_list_is_read_beside_other_work_is_not_complete(store, clock):
    backfill = spec(kind="backfill_athlete", key=f"athlete:{OWNER}", hint=BackfillHint(before=9))
    await store.enqueue(backfill, spec(1), spec(2), spec(3, athlete_id=OTHER))
    now = clock.now()
    rows = {row.athlete_id: row.unlisted for row in await store.read(lambda c: cost.waiting(c, now))}
    assert rows == {OWNER: True, OTHER: False}


@pytest.mark.parametrize(("days", "a_day"), [(0.25, 4.0), (8, 0.5)])
async def test_the_pace_counts_the_synced_window_and_at_least_a_day(store, clock, days, a_day):
    after = clock.now() - timedelta(days=days)
    await store.write(lambda c: athletes.begin_sync(c, OWNER, after, clock.now()))
    recent = [summary(number, start_date=clock.now() - timedelta(hours=1)) for number in range(1, 5)]
    older = [summary(number, start_date=clock.now() - timedelta(days=90)) for number in range(5, 25)]
    await store.apply(StorePage(OWNER, (*recent, *older), ()))
    now = clock.now()
    pace = await store.read(lambda c: cost.pace(c, OWNER, now))
    assert (pace.stored, pace.a_day) == (24, a_day)


async def test_a_new_job_of_an_athlete_goes_behind_all_of_their_jobs(store):
    for number in range(1, 6):
        await store.enqueue(spec(number, lane=Lane.BACKFILL))
    await store.enqueue(spec(6, lane=Lane.BACKFILL, athlete_id=OTHER))
    positions = {row.key: row.fair_position for row in await store.rows(jobs)}
    own = [positions[f"activity:{number}"] for number in range(1, 6)]
    assert own == sorted(own)
    assert len(set(own)) == 5
    assert positions["activity:6"] == own[0]  # the first of another athlete takes turns with the first


async def test_calls_without_an_answer_say_nothing_of_the_usual_duration(store, clock):
    calls = CallLog(store.database, clock)
    for status, ms in ((200, 100), (404, 300), (None, 30_000)):
        calls.note(ApiCall(clock.now(), "live", OWNER, "GET athlete", status, ms, {}, counted=True))
    await calls.flush()
    now = clock.now()
    assert await store.read(lambda c: call_log.mean_ms(c, now)) == 200


async def test_a_backfill_takes_its_calls_from_the_backfills_of_the_window(store, clock):
    """Live calls are no reason to hold backfills back twice."""
    budget = BudgetTable(store.database, StravaClock(clock))
    await budget.answered(await budget.reserve(Lane.LIVE), {})
    for lane, expected in ((Lane.LIVE, 0), (Lane.RECHECK, 0), (Lane.BACKFILL, 1)):
        await budget.answered(await budget.reserve(lane), {})
        assert {window.backfill_calls for window in await budget.windows()} == {expected}


async def test_instants_of_other_zones_and_texts_of_any_source_come_back_from_both_databases(store, clock):
    zone = timezone(timedelta(hours=5, minutes=30))
    await store.enqueue(spec(due_at=(clock.now() - timedelta(minutes=5)).astimezone(zone)))
    letter = await store.run(Discard("a\x00b \ud83d c"))
    row = await store.row(jobs, id=letter.id)
    assert row.last_error == "ab \ufffd c"
    await store.enqueue(spec(2, due_at=(clock.now() + timedelta(hours=1)).astimezone(zone)))
    assert (await store.row(jobs, key="activity:2")).due_at == clock.now() + timedelta(hours=1)
    assert await store.lease() == []


async def test_a_leased_job_waits_for_nothing_and_its_events_are_processing(store, clock):
    await store.deliver(event())
    until = clock.now() + timedelta(minutes=5)
    job = await store.lease_one()
    await store.queue.finish(job, Snooze(until, "no calls left", wait_reason="quota"))
    assert (await store.row(jobs)).wait_reason == "quota"
    assert (await store.row(webhook_events)).status == "pending"
    clock.advance(minutes=6)
    await store.lease_one()
    assert (await store.row(jobs)).wait_reason is None
    assert (await store.row(webhook_events)).status == "processing"


async def test_failures_are_counted_and_each_delays_the_next_run_longer(store, clock):
    await store.enqueue(spec())
    for failed, least, most in ((0, 1, 2), (1, 4, 8)):
        job = await store.lease_one()
        assert job.attempts == failed
        await store.queue.finish(job, Retry("502"))
        delay = ((await store.row(jobs)).due_at - clock.now()).total_seconds()
        assert least <= delay <= most
        clock.advance(seconds=most)


async def test_an_accepted_event_is_not_processed_yet_and_shows_when_its_athlete_was_heard_of(store, clock):
    await store.deliver(event())
    rows = {row.owner_id: row for row in await store.rows(webhook_events)}
    assert rows[OWNER].processed_at is None
    assert (await store.row(strava_athletes, id=OWNER)).last_event_at == clock.now()
    assert (await store.row(strava_athletes, id=OTHER)).last_event_at is None


async def test_a_second_backfill_counts_from_the_beginning(store, clock):
    now = clock.now()

    async def count(pages: int, listed: int) -> None:
        await store.write(lambda c: athletes.advance_sync(c, OWNER, pages, listed, now))

    await store.write(lambda c: athletes.begin_sync(c, OWNER, None, now))
    await count(1, 200)
    await count(1, 150)
    row = await store.row(strava_athletes, id=OWNER)
    assert (row.initial_sync_cursor, row.initial_sync_found) == (2, 350)
    await store.write(lambda c: athletes.begin_sync(c, OWNER, None, now))
    row = await store.row(strava_athletes, id=OWNER)
    assert (row.initial_sync_cursor, row.initial_sync_found) == (0, 0)


async def test_a_late_verdict_does_not_bring_a_disconnected_athlete_back(store, clock):
    now = clock.now()
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    await store.write(lambda c: athletes.mark(c, OWNER, "active", None, now))
    assert (await store.row(strava_athletes, id=OWNER)).status == "deauthorized"


async def test_the_last_synced_athlete_is_the_one_with_the_newest_activity(store, clock):
    for athlete_id in (OTHER, OWNER):
        now = clock.now()
        await store.write(lambda c, a=athlete_id, n=now: athletes.note_synced(c, [a], n))
        clock.advance(minutes=1)
    assert await store.read(athletes.last_synced) == OWNER
    assert (await store.row(strava_athletes, id=OTHER)).last_verified_at is None


async def test_calls_of_others_are_reported_once_each(store, clock):
    budget = BudgetTable(store.database, StravaClock(clock))
    seen = [
        await budget.answered(await budget.reserve(Lane.LIVE), {"read_day": Reading(1000, used)})
        for used in (4, 6, 6, 10)
    ]
    assert seen == [3, 1, 0, 2]


async def test_a_raised_limit_lets_waiting_jobs_run_soon(store, clock):
    budget = BudgetTable(store.database, StravaClock(clock))
    await budget.answered(await budget.reserve(Lane.LIVE), {"read_day": Reading(100, 100)})
    await store.enqueue(spec(lane=Lane.RECONCILE))
    assert await store.lease() == []
    assert (await store.row(jobs)).wait_reason == "quota"
    await budget.answered(Reservation(), {"read_day": Reading(90, 100)})
    assert await store.lease() == []
    await budget.answered(Reservation(), {"read_day": Reading(1000, 100)})
    assert await UnfinishedSchedule(store.database, clock, LocalWakeup()).run() == 1
    assert (await store.row(jobs)).due_at <= clock.now()


async def test_a_dead_letter_shows_the_attempts_of_the_earlier_one_too(store, clock):
    await store.deliver(event())
    await store.run(Discard("first"))
    clock.advance(minutes=1)
    await store.deliver(event(aspect_type="update", event_time=1516126099))
    letter = await store.run(Discard("second"))
    errors = [row.error for row in await store.read(lambda c: attempts.of_job(c, letter.id))]
    assert errors == ["first", "second"]


def test_a_window_does_not_hold_the_instant_of_its_end(clock):
    now = clock.now()
    window = Window("read_15min", now, now + timedelta(minutes=15), 100, 0)
    assert [window.holds(now + timedelta(minutes=m)) for m in (-1, 0, 14, 15)] == [False, True, True, False]


async def test_bikes_are_listed_before_shoes(store, clock):
    items = {"g1": "shoe", "b2": "bike", "b1": "bike", "a9": "shoe"}
    rows = [
        {"athlete_id": OWNER, "id": number, "kind": kind, "raw": "{}", "created_at": clock.now()}
        | {"updated_at": clock.now()}
        for number, kind in items.items()
    ]
    await store.write(lambda c: c.execute(strava_gear.insert(), rows))
    listed = await store.read(lambda c: gear.listing(c, OWNER))
    assert [row.id for row in listed] == ["b1", "b2", "a9", "g1"]


async def test_a_departure_that_strava_must_confirm_outlives_a_new_consent_and_a_revocation_does_not(store):
    revoke = RevokeHint("revoke", sealed_token="sealed")
    await store.enqueue(spec(kind="revoke_athlete", key=f"athlete:{OTHER}", hint=revoke, athlete_id=OTHER))
    await store.run(Retry("503"))
    assert len(await store.rows(job_attempts)) == 1
    confirm = RevokeHint("confirm", cause="event:e1")
    await store.enqueue(spec(kind="revoke_athlete", key=f"athlete:{OWNER}", hint=confirm))
    for athlete_id in (OWNER, OTHER):
        await store.write(lambda c, a=athlete_id: purge.cancel_revoke(c, a))
    assert [row.athlete_id for row in await store.rows(jobs)] == [OWNER]
    assert await store.rows(job_attempts) == []


async def test_a_seat_is_free_once_the_revocation_has_reached_strava(store, clock):
    before = await store.read(athletes.seats_used)
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    revoke = RevokeHint("revoke", sealed_token="sealed")
    await store.enqueue(spec(kind="revoke_athlete", key=f"athlete:{OWNER}", hint=revoke))
    assert await store.read(athletes.seats_used) == before
    await store.run(Done())
    assert await store.read(athletes.seats_used) == before - 1


async def test_the_lane_that_spent_most_is_shown_first(store, clock):
    calls = CallLog(store.database, clock)
    for lane, count in (("backfill", 2), ("live", 3), ("recheck", 1)):
        for _ in range(count):
            calls.note(ApiCall(clock.now(), lane, OWNER, "GET athlete", 200, 1, {}, counted=True))
    await calls.flush()
    quota = QuotaForecast(store.database, clock, BudgetTable(store.database, StravaClock(clock)))
    spent = (await quota.budget()).spent
    assert list(spent.by_lane.items()) == [("live", 3), ("backfill", 2), ("recheck", 1)]


async def test_an_outage_does_not_use_up_the_automatic_retries(store, clock):
    await store.enqueue(spec())
    for _ in range(3):
        await store.run(Retry("502", kind="strava_error"))
        clock.advance(hours=1)
    breaker = Breaker(store.database, clock)
    await breaker.fail("502 everywhere")
    now = clock.now()
    assert await store.write(lambda c: dead_letters.auto_retry_due(c, now, 9)) == 0
    await breaker.close()
    assert await store.write(lambda c: dead_letters.auto_retry_due(c, now, 9)) == 1
