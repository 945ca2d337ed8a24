"""How far back a comparison reaches: so far that no gap stays, and now and then to all that we hold."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fakes import NOON

from feedzone.domain.reconciliation import (
    BEGINNING,
    FULL_EVERY_DAYS,
    SyncedHistory,
    full_history_is_due,
    list_from,
)

DAY = timedelta(days=1)


def ago(days: float | None):
    return None if days is None else NOON - days * DAY


@pytest.mark.parametrize(
    ("seen", "begins"),
    [(None, None), (0.25, None), (28.9, None), (29, None), (29.5, 30.5), (60, 61)],
)
def test_who_was_away_is_looked_at_from_a_day_before_they_were_seen_last(seen, begins):
    """Pains 14 and 40."""
    known = SyncedHistory(listed=True, since=ago(90), seen=ago(seen))
    assert list_from(known, 30, NOON) == ago(begins)


@pytest.mark.parametrize(
    ("listed", "since", "begins"),
    [(True, 400, 400), (True, 30.5, 30.5), (True, 20, None), (False, 400, None), (False, None, None)],
)
def test_all_that_we_hold_begins_where_the_syncs_did(listed, since, begins):
    """Pain 52: of who has not synced yet, nothing more than usual."""
    known = SyncedHistory(listed=listed, since=ago(since), seen=ago(0.25))
    assert list_from(known, 30, NOON, full_history=True) == ago(begins)


def test_after_a_sync_of_all_the_history_all_of_it_is_compared():
    assert list_from(SyncedHistory(listed=True, seen=ago(0.25)), 30, NOON, full_history=True) == BEGINNING
    assert list_from(SyncedHistory(listed=True, seen=ago(0.25)), 30, NOON) is None


def test_of_who_is_new_nothing_but_the_usual_is_looked_at():
    assert list_from(SyncedHistory(), 30, NOON, full_history=True) is None


@pytest.mark.parametrize("athlete_id", [134815, 134816, 7])
def test_each_athlete_has_one_day_in_28_and_one_comparison_of_it(athlete_id):
    hours = [NOON + timedelta(hours=hour) for hour in range(-12, FULL_EVERY_DAYS * 24 - 12, 6)]
    days = {now.date() for now in hours if full_history_is_due(athlete_id, now - DAY, now)}
    assert len(days) == 1
    assert not any(full_history_is_due(athlete_id, now, now) for now in hours)


@pytest.mark.parametrize("athlete_id", [0, 7, 134815])
def test_who_was_not_compared_on_that_day_is_as_soon_as_comparisons_go_on(athlete_id):
    """The machine was off for two days, just then."""
    days = [BEGINNING + timedelta(days=20_000 + n) for n in range(FULL_EVERY_DAYS)]
    found = [now for now in days if full_history_is_due(athlete_id, now - timedelta(days=2), now)]
    assert len(found) == 2
