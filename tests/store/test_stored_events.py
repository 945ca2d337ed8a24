"""An event shows its status from the delivery until it is deleted."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError
from store_makers import ACTIVITY, EVENT_TIME, OTHER, OWNER, deauthorized, event, retitled

from feedzone.domain.effect import PurgeAthlete, Tombstone
from feedzone.domain.outcome import Discard, Done
from feedzone.store import events, unknown_owners
from feedzone.store.batches import delete_in_batches
from feedzone.store.jobs import dead_letters
from feedzone.store.schema import tables
from feedzone.store.schema.tables import deletion_receipts, strava_athletes, webhook_events


async def test_an_event_is_pending_then_processing_then_completed(store, clock):
    await store.deliver(event())
    assert (await store.row(webhook_events)).status == "pending"
    job = await store.lease_one()
    row = await store.row(webhook_events)
    assert (row.status, row.attempts, row.processed_at) == ("processing", 1, None)
    await store.queue.finish(job, Done())
    row = await store.row(webhook_events)
    assert (row.status, row.processed_at) == ("completed", clock.now())


async def test_an_event_cannot_have_an_unknown_status(store):
    await store.deliver(event())
    with pytest.raises(IntegrityError):
        await store.write(lambda c: c.execute(webhook_events.update().values(status="lost")))


async def test_a_failed_event_is_pending_again_when_its_job_is_requeued(store, clock):
    await store.deliver(event())
    job = await store.run(Discard("500"))
    assert (await store.row(webhook_events)).status == "failed"
    await store.write(lambda c: dead_letters.requeue(c, job.id, clock.now()))
    row = await store.row(webhook_events)
    assert (row.status, row.processed_at) == ("pending", None)


async def test_events_of_other_objects_are_not_touched(store):
    await store.deliver(event(), event(object_id=5), event(object_id=6, owner_id=OTHER))
    job, *_ = await store.lease(limit=1)
    await store.queue.finish(job, Done())
    assert [row.status for row in await store.rows(webhook_events)].count("pending") == 2


async def test_each_delivery_gets_a_verdict(store):
    receipts = await store.deliver(event(), event(), event(owner_id=999))
    assert [receipt.verdict for receipt in receipts] == ["accepted", "duplicate", "unknown_owner"]
    assert {row.id for row in await store.rows(webhook_events)} == {receipts[0].event_id}
    assert receipts[2].event_id == ""


async def test_the_athlete_shows_when_the_last_event_was_received(store, clock):
    clock.advance(minutes=3)
    await store.deliver(event())
    assert (await store.row(strava_athletes, id=OWNER)).last_event_at == clock.now()
    assert (await store.row(strava_athletes, id=OTHER)).last_event_at is None


async def test_one_group_may_have_events_of_many_athletes_and_objects(store):
    many = [event(object_id=n, owner_id=OWNER if n % 2 else OTHER) for n in range(50)]
    receipts = await store.deliver(*many, *many)
    assert [receipt.verdict for receipt in receipts] == ["accepted"] * 50 + ["duplicate"] * 50
    store.clock.advance(seconds=3)  # a list has a head start
    leased = [job for job in await store.lease(limit=99) if job.kind == "refresh_activity"]
    assert {(job.object_id, job.athlete_id) for job in leased} == {
        (n, OWNER if n % 2 else OTHER) for n in range(50)
    }


async def test_the_largest_possible_numbers_are_stored(store):
    top = 2**63 - 1
    await store.deliver(event(object_id=top, event_time=top, subscription_id=top))
    row = await store.row(webhook_events)
    assert (row.object_id, row.event_time, row.subscription_id) == (top, top, top)
    assert (await store.lease_one()).object_id == top


@pytest.mark.parametrize(
    "title", ["a\x00b", "😀", "\u2028", "x" * 10_000], ids=["NUL", "emoji", "LS", "long"]
)
async def test_any_title_is_stored(store, title):
    raw = retitled(title)
    await store.deliver(raw)
    assert (await store.row(webhook_events)).event_data == raw.raw


async def test_the_title_of_a_deleted_activity_is_removed_from_its_events(store):
    await store.deliver(
        event(),
        retitled("Secret meeting", event_time=EVENT_TIME + 1),
        retitled("Other", object_id=7, event_time=EVENT_TIME + 2),
    )
    await store.apply(Tombstone(ACTIVITY, OWNER, "request"))
    data = [msgspec.json.decode(row.event_data) for row in await store.rows(webhook_events)]
    assert [payload["updates"] for payload in data] == [{}, {"title": None}, {"title": "Other"}]
    assert data[1] == data[0] | {
        "aspect_type": "update",
        "event_time": EVENT_TIME + 1,
        "updates": {"title": None},
    }


async def test_an_older_update_that_arrives_after_the_deletion_loses_its_title_too(store):
    await store.deliver(event())
    await store.apply(Tombstone(ACTIVITY, OWNER, "request"))
    await store.deliver(retitled("Secret meeting"))
    await store.apply(Tombstone(ACTIVITY, OWNER, "request"))
    data = [msgspec.json.decode(row.event_data) for row in await store.rows(webhook_events)]
    assert [payload["updates"] for payload in data] == [{}, {"title": None}]


async def test_a_redacted_event_is_recognized_when_it_is_delivered_again(store):
    await store.deliver(retitled("Secret meeting"))
    await store.apply(Tombstone(ACTIVITY, OWNER, "request"))
    (receipt,) = await store.deliver(retitled("Secret meeting"))
    assert receipt.verdict == "duplicate"


@pytest.mark.parametrize("with_proof", [True, False], ids=["with the proof", "with nothing"])
async def test_a_purge_keeps_only_the_event_that_proves_it(store, with_proof):
    receipts = await store.deliver(event(), retitled("x"), deauthorized(), event(owner_id=OTHER, object_id=5))
    proof = receipts[2].event_id
    cause = f"event:{proof}" if with_proof else "request"
    await store.apply(PurgeAthlete(OWNER, "deauthorized", cause, "401"))
    left = {row.id for row in await store.rows(webhook_events)}
    assert left == {receipts[3].event_id} | ({proof} if with_proof else set())
    counts = msgspec.json.decode((await store.row(deletion_receipts)).counts)
    assert counts["webhook_events"] == (2 if with_proof else 3)


async def test_events_of_unknown_athletes_are_counted_by_owner(store):
    for number in range(3):
        await store.deliver(event(owner_id=999, object_id=number))
    await store.deliver(event(owner_id=998), event())
    result = await store.read(lambda c: unknown_owners.listing(c, 10))
    assert [(row.athlete_id, row.events) for row in result] == [(999, 3), (998, 1)]


async def test_invented_athletes_do_not_fill_the_database(store, clock, monkeypatch):
    monkeypatch.setattr(unknown_owners, "MOST", 5)
    await store.deliver(*(event(owner_id=1000 + number) for number in range(9)))
    await store.deliver(*(event(owner_id=1000 + number, object_id=2) for number in range(9)))
    result = await store.read(lambda c: unknown_owners.listing(c, 10))
    assert [(row.athlete_id, row.events) for row in result] == [(1000 + number, 2) for number in range(5)]
    assert await store.rows(webhook_events) == []
    clock.advance(days=31)
    await delete_in_batches(store.database, tables.unknown_owners, unknown_owners.is_old(clock.now()))
    assert await store.read(lambda c: unknown_owners.listing(c, 10)) == []


async def test_an_athlete_who_connects_is_no_unknown_owner_any_more(store):
    await store.deliver(event(owner_id=999))
    await store.connect(999)
    assert await store.read(lambda c: unknown_owners.listing(c, 10)) == []


async def test_events_are_listed_newest_first_page_by_page(store):
    for number in range(5):
        await store.deliver(event(object_id=number))
    await store.deliver(event(owner_id=999))

    def page(before):
        return lambda c: events.listing(c, status="pending", limit=3, before_id=before)

    first = await store.read(page(None))
    rest = await store.read(page(first[-1].id))
    assert [row.object_id for row in [*first, *rest]] == [4, 3, 2, 1, 0]


async def test_an_event_is_found_by_its_id(store):
    (receipt,) = await store.deliver(event())
    result = await store.read(lambda c: events.get(c, receipt.event_id))
    assert result.object_id == ACTIVITY
    unknown = "01a00000-0000-7000-8000-000000000000"
    assert await store.read(lambda c: events.get(c, unknown)) is None


async def test_the_ages_of_events_show_whether_the_inbox_is_draining(store, clock):
    assert await store.read(events.last_received) is None
    assert await store.read(events.oldest_open) is None
    since = clock.now()
    await store.deliver(event())
    clock.advance(minutes=1)
    await store.deliver(event(object_id=5), event(owner_id=999))
    assert await store.read(events.oldest_open) == since
    assert await store.read(events.last_received) == since + timedelta(minutes=1)
    assert await store.read(events.counts) == {"pending": 2}
    job, *_ = await store.lease(limit=1)
    await store.queue.finish(job, Done())
    assert await store.read(events.oldest_open) == clock.now()
