"""Each event is stored once, and has one job for its object, on both databases."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from sqlalchemy import Connection, delete, select

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.effect import PurgeAthlete
from feedzone.domain.event import StravaEvent, parse_event
from feedzone.domain.job import Lane
from feedzone.ingest.deliveries import Delivery, accept
from feedzone.ingest.dispatcher import BATCH, dispatch
from feedzone.store import athletes, purge, subscriptions, undispatched
from feedzone.store.engine.database import Database
from feedzone.store.schema.tables import jobs, unknown_owners, webhook_events

OWNER = 134815


def event(**changes: object) -> StravaEvent:
    body = {
        "object_type": "activity",
        "object_id": 1360128428,
        "aspect_type": "create",
        "owner_id": OWNER,
        "subscription_id": 120475,
        "event_time": 1516126040,
        "updates": {},
    } | changes
    return parse_event(msgspec.json.encode(body))


@pytest.fixture
async def connected(database: Database, clock) -> Database:
    profile = AthleteProfile(OWNER, firstname="Ada")
    await database.write(
        lambda c: athletes.connect(c, profile, "read,activity:read", "active", None, clock.now())
    )
    return database


async def deliver(database: Database, clock, *events: StravaEvent) -> list[str]:
    deliveries = [Delivery(event, "absent") for event in events]
    receipts = await database.write(lambda c: accept(c, deliveries, clock.now()))
    while await database.read(undispatched.any_waiting):
        await database.write(lambda c: dispatch(c, undispatched.claim(c, BATCH), clock.now()))
    return [receipt.verdict for receipt in receipts]


async def rows(database: Database, table) -> list:
    def body(connection: Connection) -> list:
        return list(connection.execute(select(table)).all())

    return await database.read(body)


async def test_an_event_is_stored_with_the_one_job_it_causes(connected, clock):
    raw = event(unknown_key={"kept": [1, 2.50]})
    assert await deliver(connected, clock, raw) == ["accepted"]
    (stored,) = await rows(connected, webhook_events)
    (job,) = await rows(connected, jobs)
    assert stored.event_data == raw.raw
    assert (stored.status, stored.job_id, stored.job_version) == ("pending", job.id, 1)
    assert (job.kind, job.key, job.state) == ("refresh_activity", "activity:1360128428", "queued")


async def test_a_repeated_delivery_changes_nothing(connected, clock):
    await deliver(connected, clock, event())
    assert await deliver(connected, clock, event(), event()) == ["duplicate", "duplicate"]
    (job,) = await rows(connected, jobs)
    assert job.version == 1
    assert len(await rows(connected, webhook_events)) == 1


async def test_copies_within_one_group_are_one_event(connected, clock):
    assert await deliver(connected, clock, event(), event()) == ["accepted", "duplicate"]


async def test_all_events_of_an_activity_share_one_job_and_the_newest_hint_stays(connected, clock):
    newer = event(aspect_type="delete", event_time=1516126050)
    older = event(aspect_type="update", event_time=1516126045, updates={"title": "x"})
    await deliver(connected, clock, event())
    await deliver(connected, clock, newer)
    await deliver(connected, clock, older)
    (job,) = await rows(connected, jobs)
    assert job.version == 3
    assert msgspec.json.decode(job.hint)["action"] == "delete"


async def test_ten_of_many_edited_activities_are_fetched_at_once_and_the_rest_behind_live_work(
    connected, clock
):
    edits = [event(object_id=n, aspect_type="update", updates={"title": "x"}) for n in range(1, 16)]
    await deliver(connected, clock, *edits[:4])
    await deliver(connected, clock, *edits[4:8])
    await deliver(connected, clock, *edits[8:], event(object_id=99))
    lanes = {row.key: Lane(row.priority) for row in await rows(connected, jobs)}
    assert {lanes[f"activity:{n}"] for n in (*range(1, 11), 99)} == {Lane.LIVE}
    assert {lanes[f"activity:{n}"] for n in range(11, 16)} == {Lane.RECONCILE}


async def test_many_new_activities_wait_once_for_a_list_and_only_for_a_moment(connected, clock):
    """A new event must not delay the jobs of earlier ones: that would be slow, and they would wait longer."""

    async def due() -> dict[str, float]:
        """Return the seconds from the beginning, by object."""
        return {row.key: (row.due_at - begun).total_seconds() for row in await rows(connected, jobs)}

    begun, numbers = clock.now(), range(1, 7)
    await deliver(connected, clock, *(event(object_id=number) for number in numbers))
    waits = {f"activity:{number}": 2.0 for number in numbers}
    assert await due() == waits | {f"athlete:{OWNER}": 0.0}
    clock.advance(seconds=3)
    await deliver(connected, clock, event(object_id=7))
    assert await due() == waits | {"activity:7": 5.0, f"athlete:{OWNER}": 0.0}


async def test_accepting_an_event_does_not_cost_more_with_thousands_of_waiting_events(sqlite_database, clock):
    """The cost is counted in steps of SQLite's virtual machine."""
    profile = AthleteProfile(OWNER, firstname="Ada")
    await sqlite_database.write(lambda c: athletes.connect(c, profile, "read", "active", None, clock.now()))
    numbers = itertools.count(1)

    async def steps() -> int:
        delivery = Delivery(event(object_id=next(numbers)), "absent")
        count = itertools.count()

        def body(connection: Connection) -> None:
            raw = connection.connection.driver_connection
            raw.set_progress_handler(lambda: next(count) and 0, 1)
            accept(connection, [delivery], clock.now())
            dispatch(connection, undispatched.claim(connection, BATCH), clock.now())
            raw.set_progress_handler(None, 0)

        await sqlite_database.write(body)
        return next(count)

    await deliver(sqlite_database, clock, *(event(object_id=next(numbers)) for _ in range(20)))
    clock.advance(seconds=60)
    few = await steps()
    await deliver(sqlite_database, clock, *(event(object_id=next(numbers)) for _ in range(2000)))
    clock.advance(seconds=60)
    assert await steps() < 1.2 * few


async def test_after_the_list_many_more_new_activities_cause_another(connected, clock):
    await deliver(connected, clock, *(event(object_id=number) for number in range(1, 7)))
    await connected.write(lambda c: c.execute(delete(jobs).where(jobs.c.kind == "list_activities")))
    await deliver(connected, clock, event(object_id=7))
    assert [row.key for row in await rows(connected, jobs) if row.kind == "list_activities"] == [
        f"athlete:{OWNER}"
    ]


async def test_events_of_an_unknown_athlete_are_counted_and_not_stored(connected, clock):
    """Also among events of a connected one."""
    unknown = event(owner_id=999)
    assert await deliver(connected, clock, unknown, event(), unknown) == [
        "unknown_owner",
        "accepted",
        "unknown_owner",
    ]
    assert [row.owner_id for row in await rows(connected, webhook_events)] == [OWNER]
    (counted,) = await rows(connected, unknown_owners)
    assert (counted.athlete_id, counted.events) == (999, 2)
    assert {row.athlete_id for row in await rows(connected, jobs)} == {OWNER}


@pytest.mark.parametrize("change", [{"object_type": "club"}, {"aspect_type": "archive"}])
async def test_an_unknown_kind_of_event_is_stored_without_its_values_and_ignored(connected, clock, change):
    """Nothing would remove the values when the athlete deletes the object."""
    assert await deliver(connected, clock, event(updates={"title": "Canary"}, **change)) == ["accepted"]
    (stored,) = await rows(connected, webhook_events)
    assert (stored.status, stored.ignored_because) == ("ignored", "unknown_kind")
    assert msgspec.json.decode(stored.event_data)["updates"] == {"title": None}
    assert await rows(connected, jobs) == []


async def test_events_of_another_subscription_are_ignored_once_ours_is_known(connected, clock):
    await deliver(connected, clock, event())
    await connected.write(lambda c: subscriptions.remember(c, 7, "https://x", clock.now()))
    await deliver(connected, clock, event(event_time=1516126041))
    await deliver(connected, clock, event(event_time=1516126042, subscription_id=7))
    becauses = [row.ignored_because for row in await rows(connected, webhook_events)]
    assert becauses == [None, "foreign_subscription", None]


async def test_of_an_event_of_a_disconnected_athlete_only_the_arrival_is_counted(connected, clock):
    """Guarantee 6: Strava may still send events of an athlete whose access could not be revoked there."""
    leaving = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
    await connected.write(lambda c: purge.purge(c, leaving, clock.now()))
    renamed = event(aspect_type="update", updates={"title": "Home, sweet home", "private": "true"})
    assert await deliver(connected, clock, renamed) == ["unknown_owner"]
    assert await rows(connected, webhook_events) == []
    assert [(row.athlete_id, row.events) for row in await rows(connected, unknown_owners)] == [(OWNER, 1)]
