"""What waits, in calls; and what the journal teaches of those that come without being asked for."""

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
async def test_what_a_job_will_cost(store, hint, kind, calls):
    key = "activity:7" if kind == "refresh_activity" else f"athlete:{OWNER}"
    assert await calls_of(store, spec(kind=kind, key=key, hint=hint)) == calls


async def test_a_history_has_waited_since_its_oldest_job_came_that_only_the_rate_limit_holds_up(store):
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


async def test_photos_cost_the_calls_of_their_own_jobs_and_do_not_delay_the_end_of_a_sync(store):
    await store.apply(StorePage(OWNER, (summary(7, total_photo_count=4),), ()))
    await store.enqueue(spec(7, **BACKFILL))
    assert (await waiting(store))[OWNER].calls == 2
    await store.enqueue(spec(kind="refresh_photos", key="photos:7", hint=PlainHint(), lane=Lane.BACKFILL))
    row = (await waiting(store))[OWNER]
    assert (row.calls, row.sync_calls) == (3, 2)


async def test_a_sync_waits_for_better_lanes_and_for_everybodys_newer_activities(store):
    await store.enqueue(
        spec(1, **BACKFILL, rank=-300),
        spec(2, **BACKFILL, rank=-100),
        spec(3, **BACKFILL, rank=-200, athlete_id=OTHER),
        spec(4, lane=Lane.LIVE, athlete_id=OTHER),
    )
    found = await waiting(store)
    mine, others = found[OWNER], found[OTHER]
    # Theirs comes between the two of ours: athletes take turns.
    assert (mine.calls, mine.sync_calls, mine.sync_after, mine.unlisted) == (4, 4, 8, 0)
    assert (others.calls, others.sync_calls, others.sync_after) == (4, 2, 6)


async def test_a_sync_that_is_still_being_listed_says_so(store):
    await store.enqueue(spec(kind="backfill_athlete", key=f"athlete:{OWNER}", hint=BackfillHint(before=9)))
    assert (await waiting(store))[OWNER].unlisted == 1


async def test_what_was_put_off_waits_and_a_later_look_does_not(store, clock):
    await store.enqueue(spec(1))
    await store.run(Snooze(clock.now() + timedelta(minutes=15), "the rate limit is spent"))
    await store.enqueue(spec(2, lane=Lane.RECHECK, due_at=clock.now() + timedelta(hours=6)))
    assert (await waiting(store))[OWNER].calls == 2


async def test_who_waits_for_nothing_is_not_among_them(store):
    await store.apply(fetched(summary(7)))
    assert await waiting(store) == {}


# Learned from the journal


async def noted(store, *calls: tuple[float, str, int, bool]) -> None:
    """Calls so many hours ago: lane, milliseconds, and whether they count."""
    book = CallLog(store.database, store.clock)
    for hours, lane, ms, counted in calls:
        at = store.clock.now() - timedelta(hours=hours)
        book.note(ApiCall(at, lane, OWNER, "GET activities/{id}", 200, ms, {}, counted=counted))
    await book.flush()


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


async def test_how_long_calls_take_is_told_of_the_last_hour(store, clock):
    await noted(store, (0.5, "live", 200, True), (0.6, "backfill", 600, True), (1.1, "live", 9000, True))
    now = clock.now()
    assert await store.read(lambda c: call_log.mean_ms(c, now)) == 400


async def test_an_empty_journal_teaches_nothing(store, clock):
    now = clock.now()
    assert await store.read(lambda c: call_log.counted(c, now)) == (None, [])
    assert await store.read(lambda c: call_log.mean_ms(c, now)) is None


async def test_what_others_called_is_counted_as_often_as_they_called(store, clock):
    book = CallLog(store.database, clock)
    book.note(ApiCall(clock.now(), OTHERS, None, "not feedzone's", None, 0, {}, True, 12))
    await book.flush()
    now = clock.now()
    (row,) = (await store.read(lambda c: call_log.counted(c, now))).rows
    assert (row.lane, row.calls) == ("others", 12)
    told = await QuotaForecast(
        store.database, clock, BudgetTable(store.database, StravaClock(clock))
    ).budget()
    assert told.spent.by_lane == {"others": 12}


async def test_what_spent_todays_quota_is_told_by_lane_athlete_and_hour(store, clock):
    """Pain 47."""
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
    told = await QuotaForecast(store.database, clock, budget).budget()
    assert (told.spent.calls, told.spent.by_lane, told.spent.unexplained) == (
        3,
        {"backfill": 2, "live": 1},
        2,
    )
    assert [(one.athlete_id, one.calls) for one in told.spent.by_athlete] == [(OWNER, 3)]
    assert [(one.hour.hour, one.calls) for one in told.spent.by_hour] == [(10, 2), (11, 1)]
    assert {window.window: window.used for window in told.windows}["read_day"] == 5


async def test_what_more_athletes_would_cost_comes_after_what_waits(store, clock):
    await store.enqueue(spec(1), spec(2))
    quota = QuotaForecast(store.database, clock, BudgetTable(store.database, StravaClock(clock)))
    alone, told = await quota.what_if(0, 800), await quota.what_if(1, 50)
    assert (alone.calls, alone.waiting_before) == (0, 4)
    assert (told.calls, told.waiting_before) == (102, 4)
    assert alone.done_at < told.done_at
    assert told.done_at >= clock.now() + timedelta(minutes=15)  # 106 calls, and 100 a quarter
    assert (await quota.what_if(5, 0)).calls == 5


async def test_what_all_of_a_history_would_cost_follows_from_the_pace_of_what_is_held(store, clock):
    """Pain 47: Strava does not say how much there is before it is listed."""
    quota = QuotaForecast(store.database, clock, BudgetTable(store.database, StravaClock(clock)))
    after = clock.now() - timedelta(days=30)
    await store.write(lambda c: athletes.begin_sync(c, OWNER, after, clock.now()))
    started = clock.now() - timedelta(days=3)
    records = tuple(summary(number, start_date=started) for number in range(1, 31))
    await store.apply(StorePage(OWNER, records, ()))
    told = await quota.whole_history(OWNER, 2)
    assert (told.held, told.activities) == (30, 730 - 30)
    assert told.calls == 4 + 1 + 2 * 700
    assert told.done_at > clock.now() + timedelta(hours=12)
    await store.write(lambda c: athletes.begin_sync(c, OWNER, None, clock.now()))
    assert ((await quota.whole_history(OWNER, 2)).activities, told.waiting_before) == (0, 0)
    with pytest.raises(NotFound, match="not connected"):
        await quota.whole_history(999, 2)


async def test_what_is_assumed_beforehand_is_a_share_of_the_limit_that_strava_tells(store, clock):
    budget = BudgetTable(store.database, StravaClock(clock))
    quota = QuotaForecast(store.database, clock, budget)
    assert (await quota.forecast_input()).demand.expected(["live"], 0, QUARTERS) == pytest.approx(100)
    await budget.answered(Reservation(), {"read_day": Reading(30_000, 1), "overall_day": Reading(60_000, 1)})
    assert (await quota.forecast_input()).demand.expected(["live"], 0, QUARTERS) == pytest.approx(3000)


async def test_a_closed_window_has_no_room(store, clock):
    budget = BudgetTable(store.database, StravaClock(clock))
    await budget.latch(Reservation(), {})
    forecast = await QuotaForecast(store.database, clock, budget).forecast_input()
    left = forecast.calls_left
    assert (left.quarter_left, left.quarter_quota, left.day_left) == (0, 100, 1000)


async def test_who_looks_every_second_sees_what_was_added_up_within_ten(store, clock):
    quota = QuotaForecast(store.database, clock, BudgetTable(store.database, StravaClock(clock)))

    async def glance() -> int:
        forecast = await quota.forecast_input()
        return (await store.read(lambda c: quota.cached_queue(c, forecast))).total.calls_needed

    await store.enqueue(spec(1))
    assert await glance() == 2
    await store.enqueue(spec(2))
    clock.advance(seconds=9)
    assert await glance() == 2
    clock.advance(seconds=1)
    assert await glance() == 4
