"""Streams are kept byte for byte, are not lost to an answer that has none, and finish their activity."""

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


async def held(store):
    return await store.read(lambda c: get(c, ACTIVITY))


@pytest.mark.parametrize("blob", [b"\x00\xff" * 9, bytes(range(256)), os.urandom(300_000)], ids=len)
async def test_a_blob_comes_back_byte_for_byte(store, blob):
    await store.apply(streams(blob=blob))
    row = await held(store)
    assert (bytes(row.blob), row.state, row.channels, row.samples) == (blob, "present", "time,watts", 3)


async def test_what_strava_sent_can_be_read_out_of_the_database(store):
    sent = {
        "time": {"data": [0, 1, 3], "series_type": "distance", "original_size": 3, "resolution": "high"},
        "latlng": {"data": [[52.5, 13.4], [52.500001, 13.4], [52.6, 13.5]], "series_type": "distance"},
    }
    encoded = stream_codec.encode(json.dumps(sent).encode())
    await store.apply(streams(blob=encoded.blob, channels=tuple(encoded.channels), samples=encoded.samples))
    assert stream_codec.decode(bytes((await held(store)).blob)) == sent


async def test_no_streams_yet_does_not_overwrite_what_is_there(store, clock):
    await store.apply(streams(blob=b"curve"))
    first = await held(store)
    clock.advance(hours=1)
    await store.apply(streams("pending"))
    assert await held(store) == first


@pytest.mark.parametrize("state", ["pending", "absent"])
async def test_streams_that_come_late_replace_that_there_were_none(store, state):
    """Pain 20: create precedes stream processing."""
    await store.apply(streams(state))
    assert (await held(store)).blob is None
    await store.apply(streams(blob=b"curve"))
    assert ((await held(store)).state, (await held(store)).blob) == ("present", b"curve")


async def test_new_streams_replace_the_old_ones(store, clock):
    await store.apply(streams(blob=b"long"))
    clock.advance(hours=1)
    await store.apply(streams(blob=b"cropped", channels=("time",), samples=1))
    row = await held(store)
    assert (row.blob, row.channels, row.samples, row.fetched_at) == (b"cropped", "time", 1, clock.now())


@pytest.mark.parametrize("state", ["present", "absent", "pending"])
async def test_whatever_the_answer_the_activity_is_synced(store, state):
    await store.apply(fetched(detail(), complete=False), streams(state))
    assert (await store.row(strava_activities)).sync_status == "synced"


async def test_streams_do_not_bring_a_deleted_activity_back(store):
    from feedzone.domain.effect import Tombstone

    await store.apply(fetched(detail()), Tombstone(ACTIVITY, OWNER, "request"), streams())
    assert (await store.row(strava_activities)).sync_status == "deleted"


REST = RefreshHint(detail_version=1)
"""The hint of a job whose detail is stored and whose streams are still to come."""


async def handle(store):
    """What the handler does when Strava answers: the streams alone, where the detail is stored already."""
    job = await store.lease_one()
    whole = () if job.hint.detail_version == job.version else (fetched(detail(), complete=False),)
    await store.queue.finish(job, Done((*whole, streams())))


async def test_an_older_event_that_comes_while_streams_are_awaited_does_not_leave_it_unfinished(store, clock):
    await store.deliver(event(event_time=EVENT_TIME + 9))
    half = fetched(detail(), complete=False)
    await store.run(Snooze(clock.now() + timedelta(minutes=15), "quota", (half,), REST))
    await store.deliver(retitled("late", event_time=EVENT_TIME))
    await handle(store)
    assert await store.rows(jobs) == []
    assert (await store.row(strava_activities)).sync_status == "synced"


async def test_a_dead_letter_that_waited_for_streams_ends_synced_once_it_is_revived(store, clock):
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
