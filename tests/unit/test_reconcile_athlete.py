"""Reconciliation finds changes without an event, and concludes nothing from half a list."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from fakes import ATHLETE, NOON, STRANGER, FakeApi, FakeRecords, job, unanswered
from hypothesis import given
from hypothesis import strategies as st

from feedzone.domain.absence import FEW, SHARE
from feedzone.domain.activity import PER_PAGE, ActivityRecord
from feedzone.domain.effect import MarkAthlete, OpenConflict, StoreReconciliation
from feedzone.domain.instants import LAST
from feedzone.domain.job import JobSpec, Lane, ReconcileHint, RefreshHint
from feedzone.domain.outcome import Continue, Discard, Done, Retry, Snooze
from feedzone.errors import ApplicationPaused, NeedsScope, NotConnected, QuotaSpent, TransientError
from feedzone.handlers.reconcile_athlete import EDGE, ReconcileAthlete

FULL, QUICK = ReconcileHint(days=30), ReconcileHint(days=30, full=False)
SHORT = ReconcileHint(days=30, to_end=False)


def record(number: int, athlete: int = ATHLETE) -> ActivityRecord:
    columns = {"start_date": NOON - timedelta(hours=number % 700), "name": "Ride"}
    return ActivityRecord(number, athlete, "summary", columns, "{}")


def pages(*sizes: int) -> list[list[ActivityRecord]]:
    """Return pages with these numbers of activities, newest first, and an empty page as the end."""
    numbers = iter(range(1, sum(sizes) + 1))
    return [*([record(next(numbers)) for _ in range(size)] for size in sizes), []]


async def run(api: FakeApi, clock, hint: ReconcileHint = FULL, records: FakeRecords | None = None):
    handler = ReconcileAthlete(api, records or FakeRecords(), clock, random.Random(1))
    return await handler(job("reconcile_athlete", hint))


async def reconcile(
    api: FakeApi, clock, hint: ReconcileHint = FULL, *, window=(), count=None
) -> StoreReconciliation:
    """Run a reconciliation without a conflict; return its one effect."""
    outcome = await run(api, clock, hint, FakeRecords(window=window, count=count))
    assert isinstance(outcome, Done)
    assert outcome.then == ()
    (stored,) = outcome.effects
    return stored


# The cost


@pytest.mark.parametrize(("sizes", "calls"), [((), 1), ((1,), 2), ((200,), 2), ((200, 1), 3)])
async def test_an_unchanged_window_costs_only_its_list_calls(clock, sizes, calls):
    api = FakeApi(activities=pages(*sizes))
    stored = await reconcile(api, clock, window=range(1, sum(sizes) + 1))
    assert api.call_names == ["activities"] * calls
    assert (stored.calls, stored.full, stored.missing) == (calls, True, ())
    assert (stored.athlete_id, len(stored.records)) == (ATHLETE, sum(sizes))


@pytest.mark.parametrize(("sizes", "calls"), [((), 1), ((1,), 1), ((199,), 1), ((200,), 2), ((200, 1), 2)])
async def test_a_short_page_that_equals_the_stored_activities_ends_the_list(clock, sizes, calls):
    """So an unchanged window of fewer than 200 costs one call. Once a day the list is read to its end."""
    api = FakeApi(activities=pages(*sizes))
    stored = await reconcile(api, clock, SHORT, window=range(1, sum(sizes) + 1))
    assert api.call_names == ["activities"] * calls
    assert (stored.calls, stored.full, stored.missing) == (calls, True, ())


@pytest.mark.parametrize(
    ("window", "calls"), [(range(1, 101), 2), (range(1, 3), 3), (range(2, 4), 3), ((), 3)]
)
async def test_a_short_page_that_differs_from_the_stored_activities_does_not_end_the_list(
    clock, window, calls
):
    """It may be a short page in the middle."""
    api = FakeApi(activities=pages(3, 97))
    stored = await reconcile(api, clock, SHORT, window=window)
    assert (stored.calls, len(stored.records), stored.missing) == (calls, 100, ())


async def test_the_window_of_start_times_is_the_same_on_every_page(clock):
    """It does not depend on the last reconciliation, and activities may start in the future."""
    api = FakeApi(activities=pages(200, 1))
    await reconcile(api, clock, ReconcileHint(days=30))
    after = int((NOON - timedelta(days=30)).timestamp())
    assert api.calls == [("activities", ATHLETE, after, None, page, PER_PAGE) for page in (1, 2, 3)]


async def test_a_late_upload_is_in_the_window(clock):
    """The activity began six days ago and was uploaded now."""
    late = ActivityRecord(9, ATHLETE, "summary", {"start_date": NOON - timedelta(days=6)}, "{}")
    api = FakeApi(activities=[[late], []])
    assert [record.id for record in (await reconcile(api, clock)).records] == [9]
    _, _, after, before, *_ = api.calls[0]
    assert after < late.start_date.timestamp()
    assert before is None


# Differences


async def test_each_listed_activity_comes_with_a_job_in_case_it_differs(clock):
    stored = await reconcile(FakeApi(activities=pages(3)), clock)
    assert [spec.key for spec in stored.jobs] == [f"activity:{record.id}" for record in stored.records]
    assert stored.jobs[0] == JobSpec(
        kind="refresh_activity",
        key="activity:1",
        athlete_id=ATHLETE,
        hint=RefreshHint(cause="reconciliation"),
        hint_time=0,  # an event is newer
        lane=Lane.RECONCILE,
    )


async def test_an_activity_missing_from_the_list_is_checked_and_not_deleted(clock):
    """It is deleted only if Strava answers 404 to a call for it: one call for each."""
    stored = await reconcile(FakeApi(activities=pages(2)), clock, window=[1, 2, 77])
    (missing,) = stored.missing
    assert (missing.key, missing.lane, missing.athlete_id) == ("activity:77", Lane.RECONCILE, ATHLETE)
    assert missing.hint == RefreshHint("delete", verified=False, cause="reconciliation")


async def test_activities_at_the_very_start_of_the_window_never_count_as_missing(clock):
    """They may fall out of the list while it is read."""
    records = FakeRecords()
    await run(FakeApi(activities=[[]]), clock, records=records)
    assert records.windows_read == [(ATHLETE, NOON - timedelta(days=30) + EDGE, LAST)]


async def test_an_activity_stored_while_the_list_is_read_does_not_count_as_missing(clock):
    records = FakeRecords(window=[1])

    class Meanwhile(FakeApi):
        async def activities(self, *arguments, **window):
            records.window = [1, 2]  # an event's job has stored a new one
            return await super().activities(*arguments, **window)

    outcome = await run(Meanwhile(activities=[[record(1)], []]), clock, records=records)
    assert outcome.effects[0].missing == ()


async def test_entries_of_other_athletes_are_dropped(clock):
    api = FakeApi(activities=[[record(1), record(2, STRANGER)], []])
    stored = await reconcile(api, clock, window=[1, 2])
    assert [record.id for record in stored.records] == [1]
    assert [spec.key for spec in stored.jobs] == ["activity:1"]
    assert [spec.key for spec in stored.missing] == ["activity:2"]


async def test_a_page_of_strangers_is_no_end(clock):
    api = FakeApi(activities=[[record(1, STRANGER)], [record(2)], []])
    assert [record.id for record in (await reconcile(api, clock)).records] == [2]


# Unusual lists


async def test_a_short_page_in_the_middle_is_not_the_end(clock):
    stored = await reconcile(FakeApi(activities=pages(200, 3, 200, 50)), clock, window=range(1, 454))
    assert (len(stored.records), stored.missing, stored.calls) == (453, (), 5)


@given(st.permutations(range(1, 8)), st.integers(1, 7))
async def test_the_order_of_a_list_does_not_matter(numbers, size):
    """Oldest or newest first: no activity is skipped, and none counts as deleted."""
    listed = [[record(n) for n in numbers[at : at + size]] for at in range(0, len(numbers), size)]

    class Still:
        def now(self) -> datetime:
            return datetime(2026, 11, 3, 12, tzinfo=UTC)

    stored = await reconcile(FakeApi(activities=[*listed, []]), Still(), window=range(1, 8))
    assert {record.id for record in stored.records} == set(range(1, 8))
    assert stored.missing == ()


async def test_an_entry_that_moves_to_the_next_page_counts_once(clock):
    renamed = ActivityRecord(2, ATHLETE, "summary", {"name": "Renamed"}, "{}")
    stored = await reconcile(FakeApi(activities=[[record(1), record(2)], [renamed, record(3)], []]), clock)
    assert [record.id for record in stored.records] == [1, 2, 3]
    assert stored.records[1].columns["name"] == "Renamed"
    assert len(stored.jobs) == 3


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("failure", [TransientError(502), unanswered()])
async def test_a_list_that_fails_on_any_page_concludes_nothing(clock, failing, failure):
    answers = pages(200, 200, 50)
    answers[failing - 1] = failure
    api = FakeApi(activities=answers)
    outcome = await run(api, clock, records=FakeRecords(window=range(1, 451)))
    assert isinstance(outcome, Retry)
    assert (outcome.effects, outcome.if_last, outcome.hint) == ((), (), None)
    assert len(api.calls) == failing


# Too many deletions


@pytest.mark.parametrize(
    ("missing", "count", "conflicting"),
    [
        (FEW, FEW, False),  # all the activities of an athlete with few: a call confirms each anyway
        (FEW + 1, FEW + 1, True),
        (5, 100, False),
        (6, 100, True),
        (50, 1000, False),
        (51, 1000, True),
        (200, 200, True),  # an empty list, and no error
    ],
)
async def test_a_reconciliation_that_would_delete_too_much_opens_a_conflict(
    clock, missing, count, conflicting
):
    """More than a few, and more than a few percent."""
    assert (FEW, SHARE) == (3, 0.05)
    outcome = await run(
        FakeApi(activities=[[]]), clock, records=FakeRecords(window=range(1, missing + 1), count=count)
    )
    stored, *conflicts = outcome.effects
    assert isinstance(stored, StoreReconciliation)
    if conflicting:
        assert stored.missing == ()
        assert conflicts == [OpenConflict(ATHLETE, tuple(range(1, missing + 1)), count)]
    else:
        assert len(stored.missing) == missing
        assert conflicts == []


async def test_new_activities_are_stored_in_spite_of_a_conflict(clock):
    records = FakeRecords(window=range(100, 120))
    stored, conflict = (await run(FakeApi(activities=pages(2)), clock, records=records)).effects
    assert ([record.id for record in stored.records], len(stored.jobs)) == ([1, 2], 2)
    assert len(conflict.missing) == 20


# The latest page only


async def test_a_quick_reconciliation_is_one_call_even_if_the_page_is_full(clock):
    api = FakeApi(activities=pages(200, 200))
    stored = await reconcile(api, clock, QUICK)
    assert (len(api.calls), stored.calls, stored.full) == (1, 1, False)
    assert len(stored.records) == len(stored.jobs) == 200


async def test_a_quick_reconciliation_never_finds_deletions(clock):
    """A partial list proves no deletion."""
    records = FakeRecords(window=range(1, 500))
    outcome = await run(FakeApi(activities=[[]]), clock, QUICK, records)
    (stored,) = outcome.effects
    assert stored.missing == ()
    assert records.windows_read == []


async def test_a_quick_reconciliation_lists_the_newest_activities_first(clock):
    """Without `after`, Strava lists the newest first (docs/strava-api.md#resources)."""
    api = FakeApi(activities=pages(1))
    await reconcile(api, clock, QUICK)
    assert api.calls == [("activities", ATHLETE, None, None, 1, PER_PAGE)]


# More than the usual days


class Years:
    """One activity a day for `days` days. Strava no longer has the `gone` ones."""

    def __init__(self, days: int, *gone: int) -> None:
        self.starts = {number: NOON - timedelta(days=number) for number in range(1, days + 1)}
        self.gone = set(gone)
        self.lists: list[tuple[int | None, int]] = []

    async def stored_between(self, athlete_id: int, after: datetime, before: datetime) -> list[int]:
        return [number for number, start in self.starts.items() if after <= start < before]

    async def stored_outside(self, athlete_id: int, fetched_before: datetime, most: int) -> list[int]:
        return []

    async def stored_count(self, athlete_id: int) -> int:
        return len(self.starts)

    async def found_deleted(self, athlete_id: int, since) -> int:
        return 0

    async def activities(self, athlete_id: int, *, after, before, page: int, per_page: int):
        if page == 1:
            self.lists.append((after, before))
        listed = [
            ActivityRecord(number, ATHLETE, "summary", {"start_date": start}, "{}")
            for number, start in self.starts.items()
            if (after or 0) < start.timestamp() < (before or math.inf) and number not in self.gone
        ]
        return listed[per_page * (page - 1) : per_page * page]

    async def reconcile(self, clock, hint: ReconcileHint) -> list[Continue | Done]:
        """Run a reconciliation to its end; return the outcomes of its runs."""
        handler, outcomes = ReconcileAthlete(self, self, clock, random.Random(1)), []
        while True:
            outcomes.append(await handler(job("reconcile_athlete", hint)))
            if not isinstance(outcomes[-1], Continue):
                return outcomes
            hint = outcomes[-1].hint


def epoch(days_ago: float) -> int:
    return int((NOON - timedelta(days=days_ago)).timestamp())


@pytest.mark.parametrize(("days", "since"), [(3000, 0), (3000, epoch(3100)), (700, epoch(710)), (20, 0)])
async def test_a_long_window_is_compared_in_slices_without_listing_anything_twice(clock, days, since):
    """So it finds activities that were deleted years ago without an event."""
    gone = [number for number in (10, 650, 1400, days) if number <= days]
    world = Years(days, *gone)
    runs = await world.reconcile(clock, ReconcileHint(days=30, since=since))
    reconciliations = [run.effects[0] for run in runs]
    assert all(len(run.effects) == 1 for run in runs)
    assert [spec.key for effect in reconciliations for spec in effect.missing] == [
        f"activity:{n}" for n in sorted(set(gone))
    ]
    assert {r.id for effect in reconciliations for r in effect.records} == set(range(1, days + 1)) - set(gone)
    assert all(effect.calls <= 6 for effect in reconciliations)
    assert [effect.last for effect in reconciliations] == [False] * (len(reconciliations) - 1) + [True]
    assert [effect.latest for effect in reconciliations] == [True] + [False] * (len(reconciliations) - 1)
    assert world.lists[-1][0] == (since or None)
    assert sum(effect.calls for effect in reconciliations) <= 3 + 2 * (days / 200) + 2 * len(reconciliations)


async def test_a_long_window_with_few_activities_is_one_run(clock):
    runs = await Years(500).reconcile(clock, ReconcileHint(days=30, since=epoch(600)))
    assert [type(run) for run in runs] == [Done]


async def test_the_first_run_compares_the_usual_days(clock):
    world = Years(3000)
    first = (await world.reconcile(clock, ReconcileHint(days=30, since=0)))[0]
    assert world.lists[0] == (epoch(30), None)
    assert first.hint == ReconcileHint(days=30, since=0, before=epoch(30) + 3600)


async def test_many_deletions_spread_over_the_slices_open_a_conflict(clock):
    """Each run misses only a few; together they miss a twentieth of the stored activities."""
    world = Years(3000, *range(2, 3000, 15))
    runs = await world.reconcile(clock, ReconcileHint(days=30, since=0))
    effects = [effect for run in runs for effect in run.effects]
    checked = sum(len(effect.missing) for effect in effects if isinstance(effect, StoreReconciliation))
    conflicts = [effect for effect in effects if isinstance(effect, OpenConflict)]
    assert checked <= SHARE * 3000
    assert checked + sum(len(conflict.missing) for conflict in conflicts) == 200
    assert len(conflicts) >= 1


async def test_a_run_that_has_to_wait_goes_on_with_its_slice(clock):
    outcome = await run(
        FakeApi(activities=QuotaSpent("read_15min", NOON + timedelta(hours=1))),
        clock,
        ReconcileHint(days=30, since=0, before=epoch(200), missing=2),
    )
    assert (type(outcome), outcome.effects, outcome.hint) == (Snooze, (), None)


# Failures


@pytest.mark.parametrize(
    "wait",
    [QuotaSpent("read_15min", NOON + timedelta(hours=1)), ApplicationPaused(NOON + timedelta(hours=1))],
)
async def test_a_reconciliation_that_has_to_wait_starts_again_at_no_cost(clock, wait):
    outcome = await run(FakeApi(activities=[[record(1)], wait]), clock)
    assert isinstance(outcome, Snooze)
    assert (outcome.effects, outcome.hint) == ((), None)
    assert NOON + timedelta(hours=1) < outcome.until <= NOON + timedelta(hours=1, seconds=6)


async def test_a_missing_scope_marks_the_athlete_and_deletes_nothing(clock):
    records = FakeRecords(window=range(1, 50))
    outcome = await run(FakeApi(activities=NeedsScope(401, "Authorization Error")), clock, records=records)
    assert isinstance(outcome, Discard)
    assert [type(effect) for effect in outcome.effects] == [MarkAthlete]


async def test_a_disconnected_athlete_loses_no_activity(clock):
    outcome = await run(FakeApi(activities=NotConnected("left")), clock, records=FakeRecords(window=[1]))
    assert (type(outcome), outcome.effects) == (Discard, ())


@pytest.mark.parametrize("hint", [FULL, QUICK])
def test_a_reconciliation_hint_can_be_stored_and_read_back(hint):
    assert msgspec.json.decode(msgspec.json.encode(hint), type=ReconcileHint) == hint
