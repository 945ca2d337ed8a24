"""How far back a reconciliation reaches: far enough to leave no gap, and regularly to the beginning."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fakes import NOON

from feedzone.domain.reconciliation import (
    BEGINNING,
    FULL_EVERY_DAYS,
    SyncedRange,
    full_reconciliation_is_due,
    list_from,
)

DAY = timedelta(days=1)


def ago(days: float | None):
    return None if days is None else NOON - days * DAY


@pytest.mark.parametrize(
    ("seen", "begins"),
    [(None, None), (0.25, None), (28.9, None), (29, None), (29.5, 30.5), (60, 61)],
)
def test_after_an_absence_the_list_begins_a_day_before_the_last_check(seen, begins):
    known = SyncedRange(listed=True, since=ago(90), seen=ago(seen))
    assert list_from(known, 30, NOON) == ago(begins)


@pytest.mark.parametrize(
    ("listed", "since", "begins"),
    [(True, 400, 400), (True, 30.5, 30.5), (True, 20, None), (False, 400, None), (False, None, None)],
)
def test_a_full_reconciliation_begins_where_the_backfills_began(listed, since, begins):
    """An athlete whose backfill is not listed yet is checked no further than usual."""
    known = SyncedRange(listed=listed, since=ago(since), seen=ago(0.25))
    assert list_from(known, 30, NOON, everything=True) == ago(begins)


def test_after_a_backfill_of_all_activities_a_full_reconciliation_compares_all():
    assert list_from(SyncedRange(listed=True, seen=ago(0.25)), 30, NOON, everything=True) == BEGINNING
    assert list_from(SyncedRange(listed=True, seen=ago(0.25)), 30, NOON) is None


def test_a_new_athlete_is_reconciled_for_the_usual_days_only():
    assert list_from(SyncedRange(), 30, NOON, everything=True) is None


@pytest.mark.parametrize("athlete_id", [134815, 134816, 7])
def test_each_athlete_has_one_full_reconciliation_in_28_days(athlete_id):
    hours = [NOON + timedelta(hours=hour) for hour in range(-12, FULL_EVERY_DAYS * 24 - 12, 6)]
    days = {now.date() for now in hours if full_reconciliation_is_due(athlete_id, now - DAY, now)}
    assert len(days) == 1
    assert not any(full_reconciliation_is_due(athlete_id, now, now) for now in hours)


@pytest.mark.parametrize("athlete_id", [0, 7, 134815])
def test_a_missed_full_reconciliation_is_due_as_soon_as_possible(athlete_id):
    """The machine was off on that day and the next."""
    days = [BEGINNING + timedelta(days=20_000 + n) for n in range(FULL_EVERY_DAYS)]
    due_days = [now for now in days if full_reconciliation_is_due(athlete_id, now - timedelta(days=2), now)]
    assert len(due_days) == 2
