"""The history of an activity, read from both databases."""

from __future__ import annotations

import pytest
from store_makers import ACTIVITY, OTHER, OWNER, Store, detail, event, fetched, retitled, spec, streams

from feedzone.domain.effect import Tombstone
from feedzone.domain.outcome import Done, Retry
from feedzone.domain.quota.windows import ApiCall
from feedzone.errors import InvalidInput
from feedzone.queries.activity_history import ActivityHistoryQueries, history_of
from feedzone.store.quota.call_log import CallLog
from feedzone.store.reads import activity_history
from feedzone.store.stream_codec import encode

ASKED = "GET activities/{id}"
PACKED = encode(b'{"time": {"data": [0, 1, 2]}, "watts": {"data": [100, null, 300]}}')
WATTS = streams(blob=PACKED.blob, channels=PACKED.channels, samples=PACKED.samples)
REPACKED = encode(b'{"time": {"data": [0, 1, 2]}, "watts": {"data": [100, null, 301]}}')
OTHER_WATTS = streams(blob=REPACKED.blob, channels=REPACKED.channels, samples=REPACKED.samples)


async def history(store: Store, activity_id: int = ACTIVITY):
    return await store.read(lambda c: history_of(c, activity_id))


async def test_an_unknown_activity_has_no_history(store):
    assert await history(store) is None


async def test_a_history_has_the_events_calls_changes_and_attempts_of_its_activity_only(store, clock):
    journal = CallLog(store.database, clock)
    await store.deliver(event(), event(object_id=ACTIVITY + 1))
    await store.apply(fetched(detail()), fetched(detail(ACTIVITY + 1)))
    for number, activity_id in enumerate((ACTIVITY, ACTIVITY + 1, None)):
        journal.note(ApiCall(clock.now(), "live", OWNER, ASKED, 200 + number, 9, {}, True, 1, activity_id))
    await journal.flush()
    clock.advance(minutes=1)
    await store.apply(fetched(detail(name="Anew")), fetched(detail(ACTIVITY + 1, name="Not this one")))
    first, second = await store.lease()
    job = first if first.object_id == ACTIVITY else second
    await store.queue.finish(job, Retry("500 from Strava", kind="strava_error"))
    result = await history(store)
    assert (result.athlete, result.athlete_id, result.athlete_status) == ("Ada Lovelace", OWNER, "active")
    assert [event.object_id for event in result.events] == [ACTIVITY]
    assert [(call.endpoint, call.status) for call in result.calls] == [(ASKED, 200)]
    assert sorted((change.field, bytes(change.new_value)) for change in result.changes) == [
        ("name", b'"Anew"'),
        ("sync_status", b'"synced"'),
    ]
    assert [(attempt.attempt, attempt.error) for attempt in result.attempts] == [(1, "500 from Strava")]
    assert [(job.state, job.attempts) for job in result.jobs] == [("queued", 1)]


async def test_an_activity_known_from_an_event_alone_has_a_history(store):
    await store.deliver(event())
    result = await history(store)
    assert (result.activity, result.streams, result.athlete_id) == (None, None, OWNER)
    assert len(result.events) == len(result.jobs) == 1


async def test_an_event_with_another_owner_is_not_part_of_the_history(store):
    await store.apply(fetched(detail()))
    await store.deliver(retitled("Forged", owner_id=OTHER))
    result = await history(store)
    assert (result.athlete_id, result.events, result.jobs) == (OWNER, [], [])


async def test_a_long_history_is_cut_to_its_latest_part_and_marked_as_cut(store, clock, monkeypatch):
    monkeypatch.setattr(activity_history, "MOST", 3)
    monkeypatch.setattr(activity_history, "_CHANGES", activity_history._CHANGES.limit(3))
    await store.apply(fetched(detail()))
    for number in range(4):
        clock.advance(minutes=1)
        await store.apply(fetched(detail(name=f"Name {number}")))
    result = await history(store)
    assert [bytes(change.new_value) for change in result.changes] == [b'"Name 3"', b'"Name 2"', b'"Name 1"']
    assert result.cut


async def test_a_tombstone_shows_the_deletion_and_no_data(store):
    await store.apply(fetched(detail()), WATTS, Tombstone(ACTIVITY, OWNER, "reconciliation"))
    result = await history(store)
    assert result.is_deleted
    assert (result.activity.name, result.streams, result.detailed) == (None, None, False)
    assert [bytes(change.new_value) for change in result.changes] == [b'"deleted"', b'"synced"']


async def test_curves_are_drawn_once_for_the_streams_that_are_stored(store, clock):
    queries = ActivityHistoryQueries(store.database)
    assert await queries.curves(ACTIVITY) is None
    await store.apply(fetched(detail()), WATTS)
    drawn = await queries.curves(ACTIVITY)
    assert (drawn.axes, drawn.channels) == ({"time": [0, 1, 2]}, {"watts": [100, None, 300]})
    assert await queries.curves(ACTIVITY) is drawn
    clock.advance(minutes=1)
    await store.apply(WATTS)
    assert await queries.curves(ACTIVITY) is drawn  # the same samples
    await store.apply(OTHER_WATTS)
    assert (await queries.curves(ACTIVITY)).channels == {"watts": [100, None, 301]}
    await store.apply(Tombstone(ACTIVITY, OWNER, "reconciliation"))
    assert await queries.curves(ACTIVITY) is None


async def test_damaged_streams_raise_an_error_that_says_so(store):
    await store.apply(fetched(detail()), streams(blob=b"rubbish"))
    with pytest.raises(InvalidInput, match="cannot be read"):
        await ActivityHistoryQueries(store.database).curves(ACTIVITY)


async def test_a_finished_job_leaves_no_attempts(store):
    await store.enqueue(spec())
    await store.run(Done((fetched(detail()),)))
    result = await history(store)
    assert (result.jobs, result.attempts) == ([], [])
