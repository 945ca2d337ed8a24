"""A comparison with Strava: finds what no event told of, and concludes nothing from half a list."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from fakes import ATHLETE, NOON, STRANGER, FakeApi, FakeRecords, job, unanswered
from hypothesis import given
from hypothesis import strategies as st

from feedzone.domain.activity import PER_PAGE, ActivityRecord
from feedzone.domain.effect import MarkAthlete, OpenConflict, StoreReconciliation
from feedzone.domain.job import JobSpec, Lane, ReconcileHint, RefreshHint
from feedzone.domain.outcome import Continue, Discard, Done, Retry, Snooze
from feedzone.errors import ApplicationPaused, NeedsScope, NotConnected, QuotaSpent, TransientError
from feedzone.handlers.reconcile_athlete import EDGE, FEW, SHARE, ReconcileAthlete

FULL, QUICK = ReconcileHint(days=30), ReconcileHint(days=30, full=False)
SHORT = ReconcileHint(days=30, to_end=False)


def record(number: int, athlete: int = ATHLETE) -> ActivityRecord:
    columns = {"start_date": NOON - timedelta(hours=number % 700), "name": "Ride"}
    return ActivityRecord(number, athlete, "summary", columns, "{}")


def pages(*sizes: int) -> list[list[ActivityRecord]]:
    """So many activities a page, newest first, and the empty page that is the end."""
    numbers = iter(range(1, sum(sizes) + 1))
    return [*([record(next(numbers)) for _ in range(size)] for size in sizes), []]


async def run(api: FakeApi, clock, hint: ReconcileHint = FULL, records: FakeRecords | None = None):
    handler = ReconcileAthlete(api, records or FakeRecords(), clock, random.Random(1))
    return await handler(job("reconcile_athlete", hint))


async def sweep(
    api: FakeApi, clock, hint: ReconcileHint = FULL, *, window=(), count=None
) -> StoreReconciliation:
    """The one effect of a comparison that has no doubts."""
    outcome = await run(api, clock, hint, FakeRecords(window=window, count=count))
    assert isinstance(outcome, Done)
    assert outcome.then == ()
    (stored,) = outcome.effects
    return stored


# What it costs


@pytest.mark.parametrize(("sizes", "calls"), [((), 1), ((1,), 2), ((200,), 2), ((200, 1), 3)])
async def test_an_unchanged_window_costs_its_list_calls_and_nothing_else(clock, sizes, calls):
    """Trap 13."""
    api = FakeApi(activities=pages(*sizes))
    stored = await sweep(api, clock, window=range(1, sum(sizes) + 1))
    assert api.asked == ["activities"] * calls
    assert (stored.calls, stored.full, stored.missing) == (calls, True, ())
    assert (stored.athlete_id, len(stored.records)) == (ATHLETE, sum(sizes))


@pytest.mark.parametrize(("sizes", "calls"), [((), 1), ((1,), 1), ((199,), 1), ((200,), 2), ((200, 1), 2)])
async def test_a_short_page_that_shows_just_what_we_hold_may_be_taken_for_all(clock, sizes, calls):
    """So an unchanged window of less than 200 costs one call; once a day the list's end is looked for."""
    api = FakeApi(activities=pages(*sizes))
    stored = await sweep(api, clock, SHORT, window=range(1, sum(sizes) + 1))
    assert api.asked == ["activities"] * calls
    assert (stored.calls, stored.full, stored.missing) == (calls, True, ())


@pytest.mark.parametrize(
    ("window", "calls"), [(range(1, 101), 2), (range(1, 3), 3), (range(2, 4), 3), ((), 3)]
)
async def test_a_page_that_shows_less_or_something_new_is_never_taken_for_all(clock, window, calls):
    """Pain 51: the page may be a short one in the middle."""
    api = FakeApi(activities=pages(3, 97))
    stored = await sweep(api, clock, SHORT, window=window)
    assert (stored.calls, len(stored.records), stored.missing) == (calls, 100, ())


async def test_the_window_is_of_start_dates_and_the_same_on_every_page(clock):
    """Pain 50: nothing is asked for by when we looked last, and activities may start in the future."""
    api = FakeApi(activities=pages(200, 1))
    await sweep(api, clock, ReconcileHint(days=30))
    after, before = int((NOON - timedelta(days=30)).timestamp()), int((NOON + timedelta(days=2)).timestamp())
    assert api.calls == [("activities", ATHLETE, after, before, page, PER_PAGE) for page in (1, 2, 3)]


async def test_a_late_upload_is_in_the_window(clock):
    """Pain 50: it began six days ago and was uploaded now."""
    late = ActivityRecord(9, ATHLETE, "summary", {"start_date": NOON - timedelta(days=6)}, "{}")
    api = FakeApi(activities=[[late], []])
    assert [one.id for one in (await sweep(api, clock)).records] == [9]
    _, _, after, before, *_ = api.calls[0]
    assert after < late.start_date.timestamp() < before


# What it finds


async def test_each_listed_activity_has_a_job_for_the_case_that_it_differs(clock):
    """Pains 14 and 18."""
    stored = await sweep(FakeApi(activities=pages(3)), clock)
    assert [spec.key for spec in stored.jobs] == [f"activity:{one.id}" for one in stored.records]
    assert stored.jobs[0] == JobSpec(
        kind="refresh_activity",
        key="activity:1",
        athlete_id=ATHLETE,
        hint=RefreshHint(cause="reconciliation"),
        hint_time=0,  # what an event says is newer
        lane=Lane.RECONCILE,
    )


async def test_what_the_list_lacks_is_asked_for_and_not_deleted(clock):
    """Pain 52: gone only when Strava says so when asked for it; one call for each."""
    stored = await sweep(FakeApi(activities=pages(2)), clock, window=[1, 2, 77])
    (missing,) = stored.missing
    assert (missing.key, missing.lane, missing.athlete_id) == ("activity:77", Lane.RECONCILE, ATHLETE)
    assert missing.hint == RefreshHint("delete", verified=False, cause="reconciliation")


async def test_activities_at_the_very_start_of_the_window_are_not_missed(clock):
    """They may fall out of the list while it is read."""
    records = FakeRecords()
    await run(FakeApi(activities=[[]]), clock, records=records)
    assert records.asked == [(ATHLETE, NOON - timedelta(days=30) + EDGE, NOON + timedelta(days=2))]


async def test_what_appears_in_our_rows_while_the_list_is_read_is_not_missing_from_it(clock):
    records = FakeRecords(window=[1])

    class Meanwhile(FakeApi):
        async def activities(self, *asked, **window):
            records.window = [1, 2]  # an event's job has stored a new one
            return await super().activities(*asked, **window)

    outcome = await run(Meanwhile(activities=[[record(1)], []]), clock, records=records)
    assert outcome.effects[0].missing == ()


async def test_entries_of_other_athletes_are_dropped(clock):
    """Pain 27."""
    api = FakeApi(activities=[[record(1), record(2, STRANGER)], []])
    stored = await sweep(api, clock, window=[1, 2])
    assert [one.id for one in stored.records] == [1]
    assert [spec.key for spec in stored.jobs] == ["activity:1"]
    assert [spec.key for spec in stored.missing] == ["activity:2"]


async def test_a_page_of_strangers_is_no_end(clock):
    api = FakeApi(activities=[[record(1, STRANGER)], [record(2)], []])
    assert [one.id for one in (await sweep(api, clock)).records] == [2]


# Lists as they come


async def test_a_short_page_in_the_middle_is_not_the_end(clock):
    """Pain 51."""
    stored = await sweep(FakeApi(activities=pages(200, 3, 200, 50)), clock, window=range(1, 454))
    assert (len(stored.records), stored.missing, stored.calls) == (453, (), 5)


@given(st.permutations(range(1, 8)), st.integers(1, 7))
async def test_the_order_of_a_list_means_nothing(numbers, size):
    """Pain 51: oldest or newest first, nothing is skipped and nothing is taken for deleted."""
    listed = [[record(n) for n in numbers[at : at + size]] for at in range(0, len(numbers), size)]

    class Still:
        def now(self) -> datetime:
            return datetime(2026, 11, 3, 12, tzinfo=UTC)

    stored = await sweep(FakeApi(activities=[*listed, []]), Still(), window=range(1, 8))
    assert {one.id for one in stored.records} == set(range(1, 8))
    assert stored.missing == ()


async def test_an_entry_that_moves_to_the_next_page_meanwhile_is_looked_at_once(clock):
    renamed = ActivityRecord(2, ATHLETE, "summary", {"name": "Renamed"}, "{}")
    stored = await sweep(FakeApi(activities=[[record(1), record(2)], [renamed, record(3)], []]), clock)
    assert [one.id for one in stored.records] == [1, 2, 3]
    assert stored.records[1].columns["name"] == "Renamed"
    assert len(stored.jobs) == 3


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("failure", [TransientError(502), unanswered()])
async def test_a_list_that_fails_on_any_page_concludes_nothing(clock, failing, failure):
    """Pain 51."""
    answers = pages(200, 200, 50)
    answers[failing - 1] = failure
    api = FakeApi(activities=answers)
    outcome = await run(api, clock, records=FakeRecords(window=range(1, 451)))
    assert isinstance(outcome, Retry)
    assert (outcome.effects, outcome.if_last, outcome.hint) == ((), (), None)
    assert len(api.calls) == failing


# Too much at once


@pytest.mark.parametrize(
    ("missing", "held", "asks"),
    [
        (FEW, FEW, False),  # all of a small athlete's few: each is confirmed anyway
        (FEW + 1, FEW + 1, True),
        (5, 100, False),
        (6, 100, True),
        (50, 1000, False),
        (51, 1000, True),
        (200, 200, True),  # an empty list, and no error
    ],
)
async def test_a_comparison_that_would_delete_too_much_stops_and_asks(clock, missing, held, asks):
    """Pain 52: more than a few, and more than a few percent."""
    assert (FEW, SHARE) == (3, 0.05)
    outcome = await run(
        FakeApi(activities=[[]]), clock, records=FakeRecords(window=range(1, missing + 1), count=held)
    )
    stored, *doubts = outcome.effects
    assert isinstance(stored, StoreReconciliation)
    if asks:
        assert stored.missing == ()
        assert doubts == [OpenConflict(ATHLETE, tuple(range(1, missing + 1)), held)]
    else:
        assert len(stored.missing) == missing
        assert doubts == []


async def test_what_is_new_is_taken_also_while_a_deletion_is_in_doubt(clock):
    records = FakeRecords(window=range(100, 120))
    stored, doubt = (await run(FakeApi(activities=pages(2)), clock, records=records)).effects
    assert ([one.id for one in stored.records], len(stored.jobs)) == ([1, 2], 2)
    assert len(doubt.missing) == 20


# A quick look


async def test_a_quick_look_is_one_call_however_full_the_page(clock):
    """Pain 9."""
    api = FakeApi(activities=pages(200, 200))
    stored = await sweep(api, clock, QUICK)
    assert (len(api.calls), stored.calls, stored.full) == (1, 1, False)
    assert len(stored.records) == len(stored.jobs) == 200


async def test_a_quick_look_never_concludes_that_something_is_gone(clock):
    """Pain 51: a partial list never counts as deletions."""
    records = FakeRecords(window=range(1, 500))
    outcome = await run(FakeApi(activities=[[]]), clock, QUICK, records)
    (stored,) = outcome.effects
    assert stored.missing == ()
    assert records.asked == []


async def test_a_quick_look_asks_for_the_latest_by_sending_the_end_of_the_window(clock):
    """Contract section 6: with `before`, Strava lists newest first."""
    api = FakeApi(activities=pages(1))
    await sweep(api, clock, QUICK)
    assert api.calls[0][3] == int((NOON + timedelta(days=2)).timestamp())


# More than the usual days


class Years:
    """One activity a day for so many days, and those of them that Strava has no more."""

    def __init__(self, days: int, *gone: int) -> None:
        self.starts = {number: NOON - timedelta(days=number) for number in range(1, days + 1)}
        self.gone = set(gone)
        self.lists: list[tuple[int | None, int]] = []

    async def stored_between(self, athlete_id: int, after: datetime, before: datetime) -> list[int]:
        return [number for number, start in self.starts.items() if after <= start < before]

    async def stored_count(self, athlete_id: int) -> int:
        return len(self.starts)

    async def activities(self, athlete_id: int, *, after, before, page: int, per_page: int):
        if page == 1:
            self.lists.append((after, before))
        found = [
            ActivityRecord(number, ATHLETE, "summary", {"start_date": start}, "{}")
            for number, start in self.starts.items()
            if (after or 0) < start.timestamp() < before and number not in self.gone
        ]
        return found[per_page * (page - 1) : per_page * page]

    async def compare(self, clock, hint: ReconcileHint) -> list[Continue | Done]:
        """All its runs."""
        handler, found = ReconcileAthlete(self, self, clock, random.Random(1)), []
        while True:
            found.append(await handler(job("reconcile_athlete", hint)))
            if not isinstance(found[-1], Continue):
                return found
            hint = found[-1].hint


def epoch(days_ago: float) -> int:
    return int((NOON - timedelta(days=days_ago)).timestamp())


@pytest.mark.parametrize(("days", "since"), [(3000, 0), (3000, epoch(3100)), (700, epoch(710)), (20, 0)])
async def test_all_that_we_hold_is_compared_a_slice_a_run_and_nothing_twice_asked_for(clock, days, since):
    """Pain 52: what was deleted years ago, without an event."""
    gone = [number for number in (10, 650, 1400, days) if number <= days]
    world = Years(days, *gone)
    runs = await world.compare(clock, ReconcileHint(days=30, since=since))
    reconciliations = [run.effects[0] for run in runs]
    assert all(len(run.effects) == 1 for run in runs)
    assert [spec.key for one in reconciliations for spec in one.missing] == [
        f"activity:{n}" for n in sorted(set(gone))
    ]
    assert {r.id for one in reconciliations for r in one.records} == set(range(1, days + 1)) - set(gone)
    assert all(one.calls <= 6 for one in reconciliations)
    assert [one.last for one in reconciliations] == [False] * (len(reconciliations) - 1) + [True]
    assert [one.latest for one in reconciliations] == [True] + [False] * (len(reconciliations) - 1)
    assert world.lists[-1][0] == (since or None)
    assert sum(one.calls for one in reconciliations) <= 3 + 2 * (days / 200) + 2 * len(reconciliations)


async def test_more_than_the_usual_days_is_one_run_where_we_hold_little(clock):
    runs = await Years(500).compare(clock, ReconcileHint(days=30, since=epoch(600)))
    assert [type(run) for run in runs] == [Done]


async def test_the_run_with_the_latest_activities_goes_first_and_over_the_usual_days(clock):
    world = Years(3000)
    first = (await world.compare(clock, ReconcileHint(days=30, since=0)))[0]
    assert world.lists[0] == (epoch(30), epoch(-2))
    assert first.hint == ReconcileHint(days=30, since=0, before=epoch(30) + 3600)


async def test_deletions_all_over_a_history_are_together_a_question_when_they_are_many(clock):
    """Pain 52: each run misses but a few; all of them miss a twentieth of what we hold."""
    world = Years(3000, *range(2, 3000, 15))
    effects = [
        one for run in await world.compare(clock, ReconcileHint(days=30, since=0)) for one in run.effects
    ]
    asked = sum(len(one.missing) for one in effects if isinstance(one, StoreReconciliation))
    doubts = [one for one in effects if isinstance(one, OpenConflict)]
    assert asked <= SHARE * 3000
    assert asked + sum(len(one.missing) for one in doubts) == 200
    assert len(doubts) >= 1


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
async def test_a_comparison_that_has_to_wait_starts_again_at_no_cost(clock, wait):
    """Pains 35 and 42."""
    outcome = await run(FakeApi(activities=[[record(1)], wait]), clock)
    assert isinstance(outcome, Snooze)
    assert (outcome.effects, outcome.hint) == ((), None)
    assert NOON + timedelta(hours=1) < outcome.until <= NOON + timedelta(hours=1, seconds=6)


async def test_a_missing_scope_marks_the_athlete_and_deletes_nothing(clock):
    """Pain 31."""
    records = FakeRecords(window=range(1, 50))
    outcome = await run(FakeApi(activities=NeedsScope(401, "Authorization Error")), clock, records=records)
    assert isinstance(outcome, Discard)
    assert [type(effect) for effect in outcome.effects] == [MarkAthlete]


async def test_who_is_no_longer_connected_loses_nothing_by_it(clock):
    outcome = await run(FakeApi(activities=NotConnected("left")), clock, records=FakeRecords(window=[1]))
    assert (type(outcome), outcome.effects) == (Discard, ())


@pytest.mark.parametrize("hint", [FULL, QUICK])
def test_a_comparison_can_be_stored_and_read_back(hint):
    assert msgspec.json.decode(msgspec.json.encode(hint), type=ReconcileHint) == hint
