"""Small promises of the store that no other suite covers, each with what a user would miss."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_makers import OTHER, OWNER, event, spec, summary

from feedzone.clock import StravaClock
from feedzone.domain.effect import StorePage
from feedzone.domain.job import BackfillHint, Lane
from feedzone.domain.outcome import Discard
from feedzone.domain.quota.windows import ApiCall
from feedzone.store import athletes, oauth_states
from feedzone.store.jobs import cost, dead_letters
from feedzone.store.quota import call_log
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.quota.call_log import CallLog
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import jobs, token_uses, webhook_events


async def test_two_athletes_who_connect_at_the_same_time_both_come_back(store, clock):
    """The second one's state must not remove the first one's."""
    for state in ("first", "second"):
        now = clock.now()
        await store.write(lambda c, state=state, now=now: oauth_states.issue(c, state, now))
        clock.advance(minutes=20)
    now = clock.now()
    for state in ("first", "second"):
        assert await store.write(lambda c, state=state: oauth_states.redeem(c, state, now)), state


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


async def test_the_event_of_a_discarded_job_stays_with_its_reason(store, clock):
    await store.deliver(event())
    letter = await store.run(Discard("500"))
    now = clock.now()
    await store.write(lambda c: dead_letters.discard(c, letter.id, "nobody needs it", now))
    clock.advance(days=400)
    await Retention(store.database, clock, 30).prune()
    assert "nobody needs it" in (await store.row(webhook_events)).error_message


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
