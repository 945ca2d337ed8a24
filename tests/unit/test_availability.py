"""Where Strava is never ready at once, the first request is delayed, which saves calls."""

from __future__ import annotations

import random
from datetime import timedelta

from fakes import ACTIVITY, ATHLETE, NOON, FakeApi, FakeRecords, encode, job

from feedzone.domain.activity import ActivityRecord, StoredActivity
from feedzone.domain.availability import (
    ENOUGH,
    REMEMBERED,
    SHOWN_AFTER,
    TRY_EVERY,
    AvailabilityTracker,
)
from feedzone.domain.job import Lane, RefreshHint
from feedzone.domain.outcome import Done, Snooze
from feedzone.errors import NotVisible
from feedzone.handlers.refresh_activity import RefreshActivity

STREAMS = b'{"time":{"data":[0,1,2]}}'
EARLY = NotVisible(404, call="GET activities/7")
CREATE = RefreshHint(cause="event:e1")


def record() -> ActivityRecord:
    columns = {"manual": False, "start_date": NOON - timedelta(hours=1), "name": "Ride"}
    return ActivityRecord(ACTIVITY, ATHLETE, "detail", columns, "{}")


def handler(clock, api: FakeApi, stored: StoredActivity | None = None) -> RefreshActivity:
    return RefreshActivity(api, FakeRecords(stored), clock, random.Random(1), encode)


async def announced(handler: RefreshActivity, times: int = 1, *, first: int = ACTIVITY):
    """Run the jobs of `times` uploads at once; return the last outcome."""
    for number in range(first, first + times):
        outcome = await handler(job(hint=CREATE, key=f"activity:{number}"))
    return outcome


async def too_early(clock, uploads: int) -> AvailabilityTracker:
    """Return the experience after uploads that Strava showed only at the second request."""
    refresh = handler(clock, FakeApi(activity=[EARLY, record()] * uploads, streams=STREAMS))
    for number in range(uploads):
        await announced(refresh, first=number)
        await announced(refresh, first=number)
    return refresh.shown


# The tracker


def test_requests_are_sent_at_once_until_eight_in_a_row_were_too_early():
    tracker = AvailabilityTracker()
    for _ in range(ENOUGH):
        assert tracker.ask_at_once()
        tracker.note(ready=False)
    assert not tracker.ask_at_once()


def test_one_request_in_32_is_still_sent_at_once_and_a_success_ends_the_delays():
    tracker = AvailabilityTracker()
    for _ in range(ENOUGH):
        tracker.note(ready=False)
    assert [tracker.ask_at_once() for _ in range(2 * TRY_EVERY)].count(True) == 2
    tracker.note(ready=True)
    assert all(tracker.ask_at_once() for _ in range(TRY_EVERY))


def test_nothing_is_delayed_while_some_early_requests_succeed():
    """34 of 5,712 recorded events met a 404."""
    tracker = AvailabilityTracker()
    for number in range(100):
        assert tracker.ask_at_once()
        tracker.note(ready=number % ENOUGH == 0)


# Activities


async def test_a_new_activity_is_fetched_after_four_seconds_where_strava_is_never_ready_at_once(clock):
    api = FakeApi(activity=record(), streams=STREAMS)
    refresh = RefreshActivity(
        api, FakeRecords(), clock, random.Random(1), encode, shown=await too_early(clock, ENOUGH)
    )
    outcome = await announced(refresh)
    assert isinstance(outcome, Snooze)
    assert (outcome.until, api.calls) == (NOON + SHOWN_AFTER, [])
    clock.advance(seconds=SHOWN_AFTER.total_seconds())
    assert isinstance(await refresh(job(hint=CREATE)), Done)


async def test_activities_that_do_not_exist_teach_nothing(clock):
    """Anybody can announce them. They must not delay the uploads of everybody."""
    refresh = handler(clock, FakeApi(activity=EARLY))
    outcome = await announced(refresh, 20 * ENOUGH)
    assert outcome.until == NOON + timedelta(seconds=5)  # the request was too early, and is repeated
    assert all(refresh.shown.ask_at_once() for _ in range(TRY_EVERY))


def test_the_memory_of_early_requests_is_bounded():
    tracker = AvailabilityTracker()
    for number in range(10 * REMEMBERED):
        tracker.missed(number)
    assert len(tracker._missed) == REMEMBERED


async def test_an_edit_of_a_stored_activity_is_never_delayed(clock):
    shown = await too_early(clock, ENOUGH)
    stored = StoredActivity(
        ACTIVITY,
        ATHLETE,
        "synced",
        detailed=True,
        stream_state="present",
        streams_fingerprint=record().fingerprint,
    )
    known = RefreshActivity(
        FakeApi(activity=record()), FakeRecords(stored), clock, random.Random(1), encode, shown=shown
    )
    assert isinstance(await announced(known, 5), Done)
    # Nor does an edit count as the one new activity in 32 that is requested at once.
    assert [shown.ask_at_once() for _ in range(TRY_EVERY)].index(True) == TRY_EVERY - 1


# Streams


async def test_streams_are_fetched_a_minute_later_where_they_are_never_ready_at_once(clock):
    """The detail is stored at once, and the useless call for streams is not made."""
    api = FakeApi(activity=record(), streams=b"{}")
    refresh = handler(clock, api)
    await announced(refresh, ENOUGH)
    calls_before = api.call_names.count("streams")
    outcome = await announced(refresh)
    assert api.call_names.count("streams") == calls_before
    detail, streams = outcome.effects
    assert (detail.complete, streams.state) == (False, "pending")
    (again,) = outcome.then
    assert (again.lane, again.due_at) == (Lane.LIVE, NOON + timedelta(minutes=1))
    assert again.hint.streams_only


async def test_streams_that_are_ready_are_fetched_at_once_and_so_are_the_next(clock):
    api = FakeApi(activity=record(), streams=STREAMS)
    refresh = handler(clock, api)
    for _ in range(3 * ENOUGH):
        outcome = await announced(refresh)
        assert outcome.effects[1].state == "present"


async def test_streams_that_were_requested_before_are_not_delayed(clock):
    """An edit comes ten minutes after the upload, when the streams are ready."""
    api = FakeApi(activity=record(), streams=b"{}")
    refresh = handler(clock, api)
    await announced(refresh, ENOUGH)
    stored = StoredActivity(
        ACTIVITY, ATHLETE, "synced", detailed=True, stream_state="pending", first_seen=NOON, announced=True
    )
    edited = RefreshActivity(
        FakeApi(activity=record(), streams=STREAMS), FakeRecords(stored), clock, random.Random(1), encode,
        streamed=refresh.streamed,
    )  # fmt: skip
    assert (await announced(edited)).effects[1].state == "present"
