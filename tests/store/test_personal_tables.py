"""No table with data of an athlete or an activity can be forgotten when the data has to go."""

from __future__ import annotations

import pytest
from store_makers import ACTIVITY, OWNER, detail, fetched, streams

from feedzone.domain.effect import AskForPhotos, StorePhotos, Tombstone
from feedzone.domain.job import Lane
from feedzone.store.reads.export import JSON_LISTS
from feedzone.store.retention import PRUNED_BY
from feedzone.store.schema.personal import (
    ACTIVITY_TABLES,
    ATHLETE_TABLES,
    KEPT_OF_ACTIVITY,
    KEPT_OF_ATHLETE,
    LABELS,
)
from feedzone.store.schema.tables import metadata

OWNED_BY_OTHER_COLUMNS = {
    "strava_athletes": "purge._blank keeps the bare id",
    "webhook_events": "events.purge_athlete removes the payloads by owner_id",
}

EXPORTED = {"strava_athletes", "strava_activities", "activity_streams", "strava_gear", "activity_changes"}
EXPORTED_AS_A_LIST = {stored.column.table.name for stored in JSON_LISTS}
NOT_EXPORTED = {
    "webhook_events": "Strava's messages to us; what they changed is in activity_changes",
    "jobs": "work that waits",
    "job_attempts": "work that failed",
    "token_uses": "the log of our own calls",
    "call_log": "the log of our own calls",
    "reconciliations": "the log of our own checks",
    "conflicts": "decisions of the operator",
    "deletion_receipts": "written when the athlete has left",
    "athlete_allowances": "a number that lasts an hour",
}

NOT_PRUNED = {
    "jobs": "a job ends, and a dead letter waits for people",
    "job_attempts": "goes with its job",
    "strava_athletes": "one row an athlete",
    "strava_activities": "what the athlete wants to keep",
    "strava_gear": "what the athlete wants to keep",
    "conflicts": "few, and decided by people",
    "deletion_receipts": "proof that must last",
    "athlete_allowances": "has a time of its own (allowances.prune)",
    "call_log": "has a time of its own (call_log.prune)",
}


PARTS_OF_ACTIVITIES = {
    table.name for table in metadata.sorted_tables if table.primary_key.columns.keys() == ["activity_id"]
}
"""They stay as long as their activity."""


def about_athletes() -> set[str]:
    columns = ("athlete_id", "owner_id")
    tables = metadata.sorted_tables
    return {t.name for t in tables if any(c in t.c for c in columns)} | {"strava_athletes"}


def test_every_table_about_athletes_is_emptied_when_one_leaves_or_says_why_not():
    emptied = {table.name for table in ATHLETE_TABLES}
    assert about_athletes() == emptied | set(KEPT_OF_ATHLETE) | set(OWNED_BY_OTHER_COLUMNS)
    assert not emptied & set(KEPT_OF_ATHLETE)


def test_every_table_about_athletes_is_exported_or_says_why_not():
    assert about_athletes() == EXPORTED | EXPORTED_AS_A_LIST | set(NOT_EXPORTED)


def test_every_table_about_athletes_grows_old_or_says_why_not():
    pruned = {column.table.name for column in PRUNED_BY}
    assert about_athletes() == pruned | set(NOT_PRUNED) | PARTS_OF_ACTIVITIES


def test_every_table_about_activities_is_emptied_by_a_deletion_or_says_why_not():
    about = {table.name for table in metadata.sorted_tables if "activity_id" in table.c}
    assert about == {table.name for table in ACTIVITY_TABLES} | set(KEPT_OF_ACTIVITY)


def test_a_receipt_has_words_for_every_table_that_it_counts():
    assert {table.name for table in ATHLETE_TABLES} <= set(LABELS)


@pytest.fixture
async def full(store):
    """An activity with rows in every table about activities."""
    await store.apply(
        fetched(detail()),
        streams(),
        AskForPhotos(ACTIVITY, OWNER, 1, Lane.RECHECK),
        StorePhotos(ACTIVITY, OWNER, "present", "[]"),
    )
    await store.fill(ACTIVITY_TABLES, activity_id=ACTIVITY, athlete_id=OWNER)
    return store


async def test_a_deleted_activity_leaves_no_row_in_any_of_them(full):
    await full.apply(Tombstone(ACTIVITY, OWNER, "event:e1"))
    for table in ACTIVITY_TABLES:
        assert await full.rows(table, activity_id=ACTIVITY) == []
