"""Streams are stored byte for byte, survive a response without streams, and complete their activity."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest
from store_makers import ACTIVITY, EVENT_TIME, OWNER, detail, event, fetched, retitled, streams

from feedzone.domain.effect import NoteFailure
from feedzone.domain.job import RefreshHint
from feedzone.domain.outcome import Done, Retry, Snooze
from feedzone.store import stream_codec
from feedzone.store.jobs import dead_letters
from feedzone.store.schema.tables import activity_streams, jobs, strava_activities
from feedzone.store.streams import get


async def stored_streams(store):
    return await store.read(lambda c: get(c, ACTIVITY))


@pytest.mark.parametrize("blob", [b"\x00\xff" * 9, bytes(range(256)), os.urandom(300_000)], ids=len)
async def test_a_blob_is_stored_byte_for_byte(store, blob):
    await store.apply(streams(blob=blob))
    row = await stored_streams(store)
    assert (bytes(row.blob), row.state, row.channels, row.samples) == (blob, "present", "time,watts", 3)


async def test_the_streams_of_strava_can_be_read_from_the_database(store):
    sent = {
        "time": {"data": [0, 1, 3], "series_type": "distance", "original_size": 3, "resolution": "high"},
        "latlng": {"data": [[52.5, 13.4], [52.500001, 13.4], [52.6, 13.5]], "series_type": "distance"},
    }
    encoded = stream_codec.encode(json.dumps(sent).encode())
    await store.apply(streams(blob=encoded.blob, channels=tuple(encoded.channels), samples=encoded.samples))
    assert stream_codec.decode(bytes((await stored_streams(store)).blob)) == sent


@pytest.mark.parametrize("state", ["pending", "absent"])
async def test_a_response_without_streams_does_not_replace_stored_ones(store, clock, state):
    await store.apply(streams(blob=b"curve"))
    first = await stored_streams(store)
    clock.advance(hours=1)
    await store.apply(streams(state))
    row = await stored_streams(store)
    kept = {"state": "present" if state == "absent" else "pending", "asked_at": clock.now()}
    assert row._asdict() == first._asdict() | kept | {"streamless_since": clock.now()}


@pytest.mark.parametrize("state", ["pending", "absent"])
async def test_late_streams_replace_a_pending_or_absent_state(store, state):
    """Strava announces an activity before its streams are processed (docs/strava-api.md#streams)."""
    await store.apply(streams(state))
    assert (await stored_streams(store)).blob is None
    await store.apply(streams(blob=b"curve"))
    assert ((await stored_streams(store)).state, (await stored_streams(store)).blob) == ("present", b"curve")


async def test_new_streams_replace_the_old_ones(store, clock):
    await store.apply(streams(blob=b"long"))
    clock.advance(hours=1)
    await store.apply(streams(blob=b"cropped", channels=("time",), samples=1))
    row = await stored_streams(store)
    assert (row.blob, row.channels, row.samples, row.fetched_at) == (b"cropped", "time", 1, clock.now())


@pytest.mark.parametrize("state", ["present", "absent", "pending"])
async def test_an_activity_is_synced_after_any_streams_response(store, state):
    await store.apply(fetched(detail(), complete=False), streams(state))
    assert (await store.row(strava_activities)).sync_status == "synced"


async def test_streams_do_not_restore_a_deleted_activity(store):
    from feedzone.domain.effect import Tombstone

    await store.apply(fetched(detail()), Tombstone(ACTIVITY, OWNER, "request"), streams())
    assert (await store.row(strava_activities)).sync_status == "deleted"


REST = RefreshHint(detail_version=1)
"""The hint of a job with a stored detail and pending streams."""


async def handle(store):
    """Run the job as the handler does: fetch only the streams if the detail is stored already."""
    job = await store.lease_one()
    detail_effects = () if job.hint.detail_version == job.version else (fetched(detail(), complete=False),)
    await store.queue.finish(job, Done((*detail_effects, streams())))


async def test_an_older_event_while_streams_are_pending_does_not_leave_the_activity_unfinished(store, clock):
    await store.deliver(event(event_time=EVENT_TIME + 9))
    half = fetched(detail(), complete=False)
    await store.run(Snooze(clock.now() + timedelta(minutes=15), "quota", (half,), REST))
    await store.deliver(retitled("late", event_time=EVENT_TIME))
    await handle(store)
    assert await store.rows(jobs) == []
    assert (await store.row(strava_activities)).sync_status == "synced"


async def test_a_requeued_dead_letter_that_waited_for_streams_ends_synced(store, clock):
    await store.deliver(event())
    half, note = fetched(detail(), complete=False), NoteFailure(ACTIVITY, OWNER, "502", final=True)
    for _ in range(3):
        job = await store.run(Retry("502", (half,), REST, if_last=(note,)))
        clock.advance(hours=1)
    assert (await store.row(strava_activities)).sync_status == "failed"
    await store.write(lambda c: dead_letters.requeue(c, job.id, clock.now()))
    await handle(store)
    row = await store.row(strava_activities)
    assert (row.sync_status, row.last_sync_error) == ("synced", None)


async def test_streams_belong_to_their_activity_alone(store):
    await store.apply(streams(blob=b"one"), streams(blob=b"two", activity_id=5))
    assert {row.activity_id: row.blob for row in await store.rows(activity_streams)} == {
        ACTIVITY: b"one",
        5: b"two",
    }
