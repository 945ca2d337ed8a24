"""What leaves is gone: every column of every table has an entry, and deletion, leaving, retention and export
do what it says."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import Any

import msgspec
import pytest
from sqlalchemy import CheckConstraint, Column, LargeBinary, Table
from store_makers import ACTIVITY, EVENT_TIME, OTHER, OWNER, Store, detail, event, fetched, retitled

from feedzone.clock import StravaClock
from feedzone.domain.effect import PurgeAthlete, Tombstone
from feedzone.domain.ids import uuid7
from feedzone.domain.outcome import Discard, Done
from feedzone.queries.read_models import read_models
from feedzone.store.engine.types import Identifier, Instant, JsonText, PlainText, WallTime
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.retention import Retention
from feedzone.store.schema.personal import ATHLETE_TABLES, HOLDINGS, LABELS, Holdings
from feedzone.store.schema.tables import deletion_receipts, metadata, strava_athletes, webhook_events

TABLES = {table.name: table for table in metadata.sorted_tables}
VALUES = {
    "webhook_events.status": "completed",
    "jobs.state": "dead",
    "jobs.kind": "refresh_activity",
    "conflicts.status": "dismissed",
    "strava_activities.sync_status": "synced",
    "strava_athletes.status": "active",
    "activity_streams.state": "present",
    "activity_photos.state": "present",
}
"""Of the values that a CHECK allows, those of finished work; otherwise the first one."""

IN_THE_BLOB = {"activity_streams.channels"}
"""The export has the channels inside the Parquet file."""

LEFT = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
GONE = Tombstone(ACTIVITY, OWNER, "request")


def words(held: Holdings) -> set[str]:
    return {*held.activity.split(), *held.athlete.split(), *held.keys.split()}


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_one_entry(name):
    held = HOLDINGS[name]
    named = " ".join((held.ours, held.activity, held.athlete, held.keys)).split()
    assert sorted(named) == sorted(TABLES[name].c.keys())


def test_no_entry_is_about_something_that_does_not_exist():
    assert set(HOLDINGS) == set(TABLES)
    for name, held in HOLDINGS.items():
        assert not held.age or held.age in TABLES[name].c


@pytest.mark.parametrize("name", HOLDINGS)
def test_words_go_grow_old_and_are_exported_or_the_entry_says_why_not(name):
    held = HOLDINGS[name]
    assert held.deletion != "stays" or not held.activity
    assert held.leaving != "stays" or not words(held)
    exported = held.file or not (held.activity or held.athlete)
    assert held.why or (held.age and exported)


def test_a_receipt_has_words_for_every_table_that_it_counts():
    assert {table.name for table in ATHLETE_TABLES} <= set(LABELS)


def _value(column: Column[Any], canary: str, now: Any, numbers: Any) -> Any:
    """Return the value to plant: the owner's ids, and a word of its own in every column that takes text."""
    place = f"{column.table.name}.{column.name}"
    if place == "removals.athlete_id":
        return OTHER  # nobody can read the rows of an athlete who stands there
    if place in ("strava_athletes.id",) or column.name in ("athlete_id", "owner_id"):
        return OWNER
    if place == "strava_activities.id" or column.name in ("activity_id", "object_id"):
        return ACTIVITY
    allowed = [
        re.findall("'(.*?)'", str(check.sqltext))
        for check in column.table.constraints
        if isinstance(check, CheckConstraint) and str(check.sqltext).startswith(f"{column.name} IN")
    ]
    if place in VALUES or allowed:
        return VALUES.get(place) or allowed[0][0]
    if place in ("activity_changes.field", "webhook_events.object_type", "webhook_events.aspect_type"):
        return {"field": "name", "object_type": "activity", "aspect_type": "update"}[column.name]
    if place == "webhook_events.event_data":
        updates = {"title": canary, "type": canary, canary: canary}
        return json.dumps({"owner_id": OWNER, "event_time": 1, "updates": updates, canary: canary})
    if column.name == "deleted_at":
        return None
    match column.type:
        case Identifier():
            return uuid7(next(numbers))
        case Instant():
            return now
        case WallTime():
            return now.replace(tzinfo=None)
        case JsonText():
            return json.dumps({canary: canary})
        case LargeBinary():
            return canary.encode()
        case PlainText():
            return canary
    return canary if column.type.python_type is str else column.type.python_type(1)


class Planted(Store):
    """A store in which every text column of every table holds a word of its own."""

    canaries: dict[str, str]

    async def plant(self) -> None:
        now, numbers = self.clock.now(), count(1)
        self.canaries = {}
        for table in TABLES.values():
            row = {}
            for column in table.c:
                canary = f"Canary{len(self.canaries):03}z"
                row[column.name] = _value(column, canary, now, numbers)
                if canary in repr(row[column.name]):
                    self.canaries[f"{table.name}.{column.name}"] = canary
            await self.write(lambda c, table=table, row=row: _replace(c, table, row))

    async def left_over(self) -> set[str]:
        """Return the columns whose words are still in the database, wherever they are."""
        rows = repr([await self.rows(table) for table in TABLES.values()])
        return {place for place, canary in self.canaries.items() if canary in rows}

    def of(self, *kinds: str) -> set[str]:
        """Return the columns with words of these kinds."""
        return {
            f"{name}.{column}"
            for name, held in HOLDINGS.items()
            for kind in kinds
            for column in getattr(held, kind).split()
        } & set(self.canaries)


def _replace(connection: Any, table: Table, row: dict[str, Any]) -> None:
    connection.execute(table.delete())
    connection.execute(table.insert(), row)


@pytest.fixture
async def planted(database, clock):
    store = Planted.over(database, clock)
    await store.plant()
    assert await store.left_over() == set(store.canaries)
    return store


def in_tables(planted: Planted, *fates: tuple[str, str]) -> set[str]:
    names = {name for name, held in HOLDINGS.items() for field, fate in fates if getattr(held, field) == fate}
    return {place for place in planted.canaries if place.partition(".")[0] in names}


async def test_a_deleted_activity_leaves_no_word_of_it_in_any_column(planted):
    await planted.apply(GONE)
    left = await planted.left_over()
    assert left & (planted.of("activity") | in_tables(planted, ("deletion", "removed"))) == set()
    assert left >= in_tables(planted, ("deletion", "stays"))


async def test_an_athlete_who_leaves_leaves_no_word_in_any_column(planted):
    await planted.apply(LEFT)
    left = await planted.left_over()
    assert left & planted.of("activity", "athlete", "keys") == set()
    assert left & in_tables(planted, ("leaving", "removed"), ("leaving", "emptied")) == set()
    assert left == in_tables(planted, ("leaving", "stays"))


async def test_the_event_that_proves_a_departure_stays_without_words(planted):
    (proof,) = await planted.rows(webhook_events)
    await planted.apply(PurgeAthlete(OWNER, "deauthorized", f"event:{proof.id}", "401"))
    assert [row.id for row in await planted.rows(webhook_events)] == [proof.id]
    assert await planted.left_over() & planted.of("activity", "athlete", "keys") == set()
    assert (await planted.row(strava_athletes)).status == "deauthorized"
    assert len(await planted.rows(deletion_receipts)) == 2


async def test_what_grows_old_is_deleted_and_the_rest_stays(planted, clock):
    ages = {f"{name}." for name, held in HOLDINGS.items() if held.age}
    old = {place for place in planted.canaries if place.startswith(tuple(ages))}
    clock.advance(days=7)
    await Retention(planted.database, clock, 7).prune()
    assert old <= await planted.left_over()
    clock.advance(seconds=1)
    await Retention(planted.database, clock, 7).prune()
    left = await planted.left_over()
    assert left & old == set()
    assert planted.of("activity", "athlete", "keys") - old <= left


async def test_an_export_has_every_word_and_no_key(planted, clock):
    queries = read_models(planted.database, clock, BudgetTable(planted.database, StravaClock(clock)))
    files: dict[str, bytes] = {}
    async for name, part in queries.export.pieces(OWNER):
        files[name] = files.get(name, b"") + part
    content = b"\n".join(files.values()).decode()
    missing = {place for place in planted.of("activity", "athlete") if planted.canaries[place] not in content}
    assert missing == IN_THE_BLOB
    assert not [place for place in planted.of("keys") if planted.canaries[place] in content]
    for held in HOLDINGS.values():
        assert not held.file or held.file.replace("<id>", str(ACTIVITY)) in files


CANARY = "Canary ride"


async def texts(store: Store) -> str:
    return repr([await store.rows(table) for table in TABLES.values()])


async def test_an_update_that_comes_after_the_deletion_leaves_no_title(store):
    await store.apply(fetched(detail()), GONE)
    await store.deliver(retitled(CANARY, event_time=EVENT_TIME - 60, note=CANARY))
    assert CANARY not in await texts(store)
    await store.run(Done(note="not_visible"))
    assert CANARY not in await texts(store)


@pytest.mark.parametrize("outcome", [Done(note="not_visible"), Discard("refused")])
async def test_the_title_of_an_activity_that_was_never_stored_goes_with_its_job(store, outcome):
    await store.deliver(retitled(CANARY))
    assert CANARY in await texts(store)
    await store.run(outcome)
    assert CANARY not in await texts(store)


async def test_the_title_stays_with_the_events_of_a_stored_activity(store):
    await store.apply(fetched(detail()))
    await store.deliver(retitled(CANARY))
    await store.run(Done())
    assert msgspec.json.decode((await store.row(webhook_events)).event_data)["updates"] == {"title": CANARY}


async def test_no_event_of_an_unconnected_athlete_has_words(store):
    await store.deliver(
        event(owner_id=9, object_id=9, object_type="athlete", aspect_type="update", updates={"x": CANARY}),
        retitled(CANARY, owner_id=9, extra=CANARY),
    )
    assert CANARY not in await texts(store)


async def test_an_event_that_waits_longer_than_the_retention_time_loses_its_words(store, clock):
    await store.deliver(retitled(CANARY))
    clock.advance(days=30, seconds=1)
    assert await Retention(store.database, clock, 30).prune() == 0
    assert CANARY not in await texts(store)
    assert (await store.row(webhook_events)).status == "pending"
