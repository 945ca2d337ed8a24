"""The waiting jobs are counted in calls, and the call log teaches which calls to expect."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_makers import OTHER, OWNER, fetched, spec, summary

from feedzone.clock import StravaClock
from feedzone.domain.effect import StorePage
from feedzone.domain.job import BackfillHint, Lane, PlainHint, ReconcileHint, RefreshHint
from feedzone.domain.outcome import Continue, Retry, Snooze
from feedzone.domain.quota.demand import OTHERS, QUARTERS
from feedzone.domain.quota.windows import ApiCall, Reading, Reservation
from feedzone.errors import NotFound
from feedzone.queries.quota import QuotaForecast
from feedzone.store import athletes
from feedzone.store.jobs import cost
from feedzone.store.quota import call_log
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.quota.call_log import CallLog

BACKFILL = {"lane": Lane.BACKFILL, "hint": RefreshHint(cause="backfill")}


async def waiting(store):
    now = store.clock.now()
    rows = await store.read(lambda c: cost.waiting(c, now))
    return {row.athlete_id: row for row in rows}


async def calls_of(store, job) -> int:
    await store.enqueue(job)
    return int((await waiting(store))[OWNER].calls)


@pytest.mark.parametrize(
    ("hint", "kind", "calls"),
    [
        (RefreshHint(cause="request"), "refresh_activity", 2),
        (RefreshHint(cause="recheck", streams_only=True), "refresh_activity", 1),
        (RefreshHint(cause="backfill", detail_version=1), "refresh_activity", 1),
        (ReconcileHint(days=30), "reconcile_athlete", 2),
        (ReconcileHint(days=30, full=False), "reconcile_athlete", 1),
        (ReconcileHint(days=30, to_end=False), "reconcile_athlete", 1),
        (ReconcileHint(days=30, since=0), "reconcile_athlete", 5),
        (RefreshHint(cause="backfill", manual=True), "refresh_activity", 1),
        (BackfillHint(before=9), "backfill_athlete", 2),
        (BackfillHint(before=9, page=3, found=400), "backfill_athlete", 1),
    ],
)
async def test_the_calls_of_each_job_are_known(store, hint, kind, calls):
    key = "activity:7" if kind == "refresh_activity" else f"athlete:{OWNER}"
    assert await calls_of(store, spec(kind=kind, key=key, hint=hint)) == calls


async def test_backfills_have_waited_since_their_oldest_job_that_only_the_rate_limit_delays(store):
    async def since():
        return await store.read(cost.oldest_backfill_since)

    assert await since() is None
    await store.enqueue(spec(1, **BACKFILL))
    await store.run(Retry("HTTP 500"))
    await store.enqueue(spec(2))
    assert await since() is None
    store.clock.advance(hours=1)
    began = store.clock.now()
    await store.enqueue(spec(3, **BACKFILL))
    store.clock.advance(hours=1)
    await store.enqueue(spec(4, **BACKFILL), spec(3, **BACKFILL))
    assert await since() == began


async def test_a_job_costs_what_its_newest_hint_says(store):
    await store.enqueue(spec(7))
    assert await calls_of(store, spec(7, hint=RefreshHint(streams_only=True), hint_time=9)) == 1
    job = await store.lease_one()
    await store.queue.finish(job, Continue((), RefreshHint()))
    assert (await waiting(store))[OWNER].calls == 2


async def test_an_older_hint_does_not_change_the_cost(store):
    await store.enqueue(spec(7, hint_time=9))
    assert await calls_of(store, spec(7, hint=RefreshHint(streams_only=True), hint_time=5)) == 2


async def test_photos_cost_calls_but_do_not_delay_the_end_of_a_backfill(store):
    await store.apply(StorePage(OWNER, (summary(7, total_photo_count=4),), ()))
    await store.enqueue(spec(7, **BACKFILL))
    assert (await waiting(store))[OWNER].calls == 2
    await store.enqueue(spec(kind="refresh_photos", key="photos:7", hint=PlainHint(), lane=Lane.BACKFILL))
    row = (await waiting(store))[OWNER]
    assert (row.calls, row.sync_calls) == (3, 2)


async def test_a_backfill_waits_for_higher_lanes_and_for_newer_activities_of_all_athletes(store):
    await store.enqueue(
        spec(1, **BACKFILL, rank=-300),
        spec(2, **BACKFILL, rank=-100),
        spec(3, **BACKFILL, rank=-200, athlete_id=OTHER),
        spec(4, lane=Lane.LIVE, athlete_id=OTHER),
    )
    by_athlete = await waiting(store)
    owner, other = by_athlete[OWNER], by_athlete[OTHER]
    # The job of OTHER comes between the two of OWNER: athletes take turns.
    assert (owner.calls, owner.sync_calls, owner.sync_after, owner.unlisted) == (4, 4, 8, 0)
    assert (other.calls, other.sync_calls, other.sync_after) == (4, 2, 6)


async def test_an_incomplete_list_is_reported(store):
    await store.enqueue(spec(kind="backfill_athlete", key=f"athlete:{OWNER}", hint=BackfillHint(before=9)))
    assert (await waiting(store))[OWNER].unlisted == 1


async def test_a_snoozed_job_counts_as_waiting_and_a_recheck_does_not(store, clock):
    await store.enqueue(spec(1))
    await store.run(Snooze(clock.now() + timedelta(minutes=15), "the rate limit is spent"))
    await store.enqueue(spec(2, lane=Lane.RECHECK, due_at=clock.now() + timedelta(hours=6)))
    assert (await waiting(store))[OWNER].calls == 2


async def test_an_athlete_without_waiting_jobs_is_not_listed(store):
    await store.apply(fetched(summary(7)))
    assert await waiting(store) == {}


# Learned from the call log


async def noted(store, *calls: tuple[float, str, int, bool]) -> None:
    """Log calls: each was `hours` ago, in a lane, took milliseconds, and counted or not."""
    calls_made = CallLog(store.database, store.clock)
    for hours, lane, ms, counted in calls:
        at = store.clock.now() - timedelta(hours=hours)
        calls_made.note(ApiCall(at, lane, OWNER, "GET activities/{id}", 200, ms, {}, counted=counted))
    await calls_made.flush()


async def test_calls_are_counted_by_lane_and_quarter_for_a_week(store, clock):
    await noted(
        store,
        (0.2, "live", 200, True),
        (0.1, "live", 200, True),
        (0.6, "recheck", 400, True),
        (0.7, "backfill", 600, True),
        (0.8, "live", 800, False),
        (24.5, "live", 9000, True),
        (7 * 24 + 1, "live", 9000, True),
    )
    now = clock.now()
    seen = await store.read(lambda c: call_log.counted(c, now))
    assert seen.since == now - timedelta(hours=24.5)
    noon = int(now.timestamp()) // 900
    assert {(row.quarter - noon, row.lane, row.calls) for row in seen.rows} == {
        (-1, "live", 2),
        (-3, "recheck", 1),
        (-3, "backfill", 1),
        (-98, "live", 1),
    }


async def test_the_mean_duration_covers_the_calls_of_the_last_hour(store, clock):
    await noted(store, (0.5, "live", 200, True), (0.6, "backfill", 600, True), (1.1, "live", 9000, True))
    now = clock.now()
    assert await store.read(lambda c: call_log.mean_ms(c, now)) == 400


async def test_an_empty_call_log_teaches_nothing(store, clock):
    now = clock.now()
    assert await store.read(lambda c: call_log.counted(c, now)) == (None, [])
    assert await store.read(lambda c: call_log.mean_ms(c, now)) is None


async def test_each_call_of_another_program_counts(store, clock):
    calls_made = CallLog(store.database, clock)
    calls_made.note(ApiCall(clock.now(), OTHERS, None, "not feedzone's", None, 0, {}, True, 12))
    await calls_made.flush()
    now = clock.now()
    (row,) = (await store.read(lambda c: call_log.counted(c, now))).rows
    assert (row.lane, row.calls) == ("others", 12)
    quota = QuotaForecast(store.database, clock, BudgetTable(store.database, StravaClock(clock)))
    assert (await quota.budget()).spent.by_lane == {"others": 12}


async def test_todays_calls_are_counted_by_lane_athlete_and_hour(store, clock):
    await noted(
        store,
        (1, "live", 1, True),
        (1.5, "backfill", 1, True),
        (1.6, "backfill", 1, True),
        (3, "backfill", 1, False),
        (12.5, "backfill", 1, True),
    )
    budget = BudgetTable(store.database, StravaClock(clock))
    for _ in range(5):
        await budget.answered(await budget.reserve(Lane.LIVE), {})
    state = await QuotaForecast(store.database, clock, budget).budget()
    assert (state.spent.calls, state.spent.by_lane, state.spent.unexplained) == (
        3,
        {"backfill": 2, "live": 1},
        2,
    )
    assert [(share.athlete_id, share.calls) for share in state.spent.by_athlete] == [(OWNER, 3)]
    assert [(share.hour.hour, share.calls) for share in state.spent.by_hour] == [(10, 2), (11, 1)]
    assert {window.window: window.used for window in state.windows}["read_day"] == 5


async def test_todays_calls_are_live_and_only_very_many_are_added_up_every_ten_seconds(
    store, clock, monkeypatch
):
    monkeypatch.setattr("feedzone.queries.quota.MANY_CALLS", 2)
    quota = QuotaForecast(store.database, clock, BudgetTable(store.database, StravaClock(clock)))

    async def calls_after_one_more() -> int:
        await noted(store, (1, "live", 1, True))
        return (await quota.budget()).spent.calls

    assert [await calls_after_one_more() for _ in range(5)] == [1, 2, 3, 3, 3]
    clock.advance(seconds=10)
    assert await calls_after_one_more() == 6


async def test_a_forecast_for_more_athletes_comes_after_the_waiting_jobs(store, clock):
    await store.enqueue(spec(1), spec(2))
    quota = QuotaForecast(store.database, clock, BudgetTable(store.database, StravaClock(clock)))
    alone, more = await quota.what_if(0, 800), await quota.what_if(1, 50)
    assert (alone.calls, alone.waiting_before) == (0, 4)
    assert (more.calls, more.waiting_before) == (102, 4)
    assert alone.done_at < more.done_at
    assert more.done_at >= clock.now() + timedelta(minutes=15)  # 106 calls, and 100 a quarter
    assert (await quota.what_if(5, 0)).calls == 5


async def test_the_forecast_of_a_complete_backfill_follows_from_the_pace_of_stored_activities(store, clock):
    """Strava does not say how many activities there are before they are listed."""
    quota = QuotaForecast(store.database, clock, BudgetTable(store.database, StravaClock(clock)))
    after = clock.now() - timedelta(days=30)
    await store.write(lambda c: athletes.begin_sync(c, OWNER, after, clock.now()))
    started = clock.now() - timedelta(days=3)
    records = tuple(summary(number, start_date=started) for number in range(1, 31))
    await store.apply(StorePage(OWNER, records, ()))
    forecast = await quota.whole_history(OWNER, 2)
    assert (forecast.held, forecast.activities) == (30, 730 - 30)
    assert forecast.calls == 4 + 1 + 2 * 700
    assert forecast.done_at > clock.now() + timedelta(hours=12)
    await store.write(lambda c: athletes.begin_sync(c, OWNER, None, clock.now()))
    assert ((await quota.whole_history(OWNER, 2)).activities, forecast.waiting_before) == (0, 0)
    with pytest.raises(NotFound, match="not connected"):
        await quota.whole_history(999, 2)


async def test_the_demand_assumed_at_first_is_a_share_of_stravas_limit(store, clock):
    budget = BudgetTable(store.database, StravaClock(clock))
    quota = QuotaForecast(store.database, clock, budget)
    assert (await quota.forecast_input()).demand.expected(["live"], 0, QUARTERS) == pytest.approx(100)
    await budget.answered(Reservation(), {"read_day": Reading(30_000, 1), "overall_day": Reading(60_000, 1)})
    assert (await quota.forecast_input()).demand.expected(["live"], 0, QUARTERS) == pytest.approx(3000)


async def test_a_closed_window_has_no_calls_left(store, clock):
    budget = BudgetTable(store.database, StravaClock(clock))
    await budget.latch(Reservation(), {})
    forecast = await QuotaForecast(store.database, clock, budget).forecast_input()
    left = forecast.calls_left
    assert (left.quarter_left, left.quarter_quota, left.day_left) == (0, 100, 1000)


async def test_the_total_of_the_queue_is_computed_at_most_every_ten_seconds(store, clock):
    quota = QuotaForecast(store.database, clock, BudgetTable(store.database, StravaClock(clock)))

    async def calls_needed() -> int:
        forecast = await quota.forecast_input()
        return (await store.read(lambda c: quota.cached_queue(c, forecast))).total.calls_needed

    await store.enqueue(spec(1))
    assert await calls_needed() == 2
    await store.enqueue(spec(2))
    clock.advance(seconds=9)
    assert await calls_needed() == 2
    clock.advance(seconds=1)
    assert await calls_needed() == 4
