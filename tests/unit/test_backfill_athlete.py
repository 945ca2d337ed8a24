"""A backfill: activity page in each run, newest first, until an empty page."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from fakes import ATHLETE, NOON, STRANGER, FakeApi, job, unanswered

from feedzone.domain.activity import PER_PAGE, ActivityRecord
from feedzone.domain.effect import FinishListing, MarkAthlete, StorePage
from feedzone.domain.job import BackfillHint, JobSpec, Lane, RefreshHint
from feedzone.domain.outcome import Continue, Discard, Done, Retry, Snooze
from feedzone.errors import NeedsScope, QuotaSpent, TransientError
from feedzone.handlers.backfill_athlete import BackfillAthlete

HINT = BackfillHint(before=1795000000, after=1792000000)
LISTED = int(NOON.timestamp())


def record(number: int, athlete: int = ATHLETE, *, days_ago: float | None = 0) -> ActivityRecord:
    columns = {} if days_ago is None else {"start_date": NOON - timedelta(days=days_ago)}
    return ActivityRecord(number, athlete, "summary", columns, "{}")


async def run(api: FakeApi, clock, hint: BackfillHint = HINT):
    return await BackfillAthlete(api, clock, random.Random(1))(job("backfill_athlete", hint))


async def test_a_page_is_stored_with_a_job_for_each_activity_and_the_same_job_goes_on(clock):
    page = [record(1), record(2, days_ago=1)]
    api = FakeApi(activities=[page])
    outcome = await run(api, clock, BackfillHint(before=20, after=10, page=3, found=400))
    assert api.calls == [("activities", ATHLETE, 10, 20, 3, PER_PAGE)]
    assert isinstance(outcome, Continue)
    assert outcome.hint == BackfillHint(before=20, after=10, page=4, found=402, listed_at=LISTED)
    (stored,) = outcome.effects
    assert (stored.athlete_id, stored.records) == (ATHLETE, tuple(page))
    assert stored.jobs[0] == JobSpec(
        kind="refresh_activity",
        key="activity:1",
        athlete_id=ATHLETE,
        hint=RefreshHint(cause="backfill"),
        hint_time=0,
        lane=Lane.BACKFILL,
        rank=-int(NOON.timestamp()),
    )


async def test_a_backfill_of_all_activities_has_no_start_time(clock):
    api = FakeApi(activities=[[record(1)]])
    await run(api, clock, BackfillHint(before=20))
    assert api.calls == [("activities", ATHLETE, None, 20, 1, 200)]


async def test_newest_activities_go_first(clock):
    page = [record(1, days_ago=9), record(2, days_ago=1), record(3, days_ago=5)]
    (stored,) = (await run(FakeApi(activities=[page]), clock)).effects
    ranked = sorted(stored.jobs, key=lambda spec: spec.rank)
    assert [spec.key for spec in ranked] == ["activity:2", "activity:3", "activity:1"]


async def test_an_activity_without_a_start_time_is_fetched_too(clock):
    (stored,) = (await run(FakeApi(activities=[[record(1, days_ago=None)]]), clock)).effects
    assert stored.jobs[0].key == "activity:1"


async def test_an_empty_page_is_the_end(clock):
    assert await run(FakeApi(activities=[[]]), clock) == Done((FinishListing(ATHLETE),))


async def test_a_short_page_is_not_the_end(clock):
    pages = [[record(n) for n in range(200)], [record(500)], [record(n) for n in range(300, 500)], []]
    api, hint, seen = FakeApi(activities=pages), HINT, 0
    while isinstance(outcome := await run(api, clock, hint), Continue):
        seen += len(outcome.effects[0].records)
        hint = outcome.hint
    assert isinstance(outcome, Done)
    assert (seen, hint.found, [page for *_, page, _ in api.calls]) == (401, 401, [1, 2, 3, 4])


@pytest.mark.parametrize("newest_first", [True, False])
async def test_no_activity_is_skipped_in_either_order_of_the_list(clock, newest_first):
    """One page in the middle is short, and the third activity fails at first."""
    days = sorted(range(500), reverse=not newest_first)
    records = [record(n + 1, days_ago=n) for n in days]
    pages = [records[:200], records[200:330], TransientError(502), records[330:], []]
    api, hint, seen = FakeApi(activities=pages), HINT, []
    while not isinstance(outcome := await run(api, clock, hint), Done):
        if isinstance(outcome, Continue):
            seen += [activity.id for activity in outcome.effects[0].records]
            hint = outcome.hint
    assert sorted(seen) == list(range(1, 501))
    assert [page for *_, page, _ in api.calls] == [1, 2, 3, 3, 4]


@pytest.mark.parametrize("failure", [TransientError(502), unanswered()])
async def test_a_failed_page_fails_the_run_and_stores_nothing(clock, failure):
    outcome = await run(FakeApi(activities=failure), clock, BackfillHint(before=20, page=3))
    assert isinstance(outcome, Retry)
    assert (outcome.effects, outcome.if_last, outcome.hint) == ((), (), None)


async def test_spent_quota_is_waited_for_and_the_cursor_stays(clock):
    until = NOON + timedelta(minutes=15)
    outcome = await run(FakeApi(activities=QuotaSpent("read_15min", until)), clock)
    assert isinstance(outcome, Snooze)
    assert (outcome.effects, outcome.hint) == ((), None)
    assert until < outcome.until <= until + timedelta(seconds=6)


async def test_a_missing_scope_ends_the_backfill(clock):
    outcome = await run(FakeApi(activities=NeedsScope(401, "Authorization Error")), clock)
    assert isinstance(outcome, Discard)
    assert isinstance(outcome.effects[0], MarkAthlete)


async def test_entries_of_other_athletes_are_dropped(clock):
    outcome = await run(FakeApi(activities=[[record(1), record(2, STRANGER), record(3)]]), clock)
    (stored,) = outcome.effects
    assert isinstance(stored, StorePage)
    assert [activity.id for activity in stored.records] == [1, 3]
    assert [spec.key for spec in stored.jobs] == ["activity:1", "activity:3"]
    assert outcome.hint.found == 2


async def test_a_page_of_strangers_is_no_end(clock):
    outcome = await run(FakeApi(activities=[[record(1, STRANGER)]]), clock)
    assert isinstance(outcome, Continue)
    assert (outcome.effects[0].records, outcome.hint.page) == ((), 2)


# Pages that change during a pause


@pytest.mark.parametrize(("seconds", "listed_page"), [(0, 3), (60, 3), (61, 2), (86_400, 2)])
async def test_after_a_pause_the_previous_page_is_listed_again(clock, seconds, listed_page):
    """A deletion on that page moves the first activity of the next page to it."""
    api = FakeApi(activities=[[record(1), record(2)]])
    outcome = await run(api, clock, BackfillHint(9, page=3, found=400, listed_at=LISTED - seconds))
    assert [page for *_, page, _ in api.calls] == [listed_page]
    (stored,) = outcome.effects
    assert (len(stored.records), len(stored.jobs), stored.again) == (2, 2, listed_page == 2)
    if listed_page == 2:
        assert outcome == Continue((stored,), BackfillHint(9, page=3, found=400), Lane.BACKFILL)


async def test_a_page_is_listed_again_only_once_while_the_next_one_waits(clock):
    """Otherwise each window would lose activity call to it."""
    api, hint = FakeApi(activities=[[record(1)], [record(2)]]), BackfillHint(9, page=2, listed_at=1)
    listed_pages = []
    for _ in range(2):
        hint = (await run(api, clock, hint)).hint
        clock.advance(hours=1)
        listed_pages = [page for *_, page, _ in api.calls]
    assert (listed_pages, hint.page) == ([1, 2], 3)


@pytest.mark.parametrize("hint", [BackfillHint(9), BackfillHint(9, page=7)])
async def test_without_a_previous_page_or_its_time_the_list_goes_on(clock, hint):
    api = FakeApi(activities=[[record(1)]])
    assert (await run(api, clock, hint)).hint.page == hint.page + 1


async def test_an_empty_previous_page_is_the_end(clock):
    api = FakeApi(activities=[[]])
    assert await run(api, clock, BackfillHint(9, page=2, listed_at=1)) == Done((FinishListing(ATHLETE),))


async def test_a_list_that_loses_an_entry_between_two_pages_is_still_stored_completely(clock):
    """The pause may come after any page."""
    for pause in range(1, 4):
        now, hint, seen = list(range(1, 20)), BackfillHint(9), set()

        class Live(FakeApi):
            async def activities(self, *arguments, page, **window):
                return [record(n) for n in now[5 * page - 5 : 5 * page]]  # noqa: B023

        while isinstance(outcome := await run(Live(), clock, hint), Continue):
            seen |= {activity.id for activity in outcome.effects[0].records}
            hint = outcome.hint
            if hint.page == pause + 1 and len(now) == 19:
                del now[0]
                clock.advance(minutes=15)
        assert seen | {1} == set(range(1, 20))
