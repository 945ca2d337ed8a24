"""Where Strava never has ready what it announces, it is not asked at once, which saves calls (20, 21)."""

from __future__ import annotations

import random
from datetime import timedelta

from fakes import ACTIVITY, ATHLETE, NOON, FakeApi, FakeRecords, encode, job

from feedzone.domain.activity import ActivityRecord, StoredActivity
from feedzone.domain.availability import ENOUGH, SHOWN_AFTER, TRY_EVERY, AvailabilityTracker
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


def handler(clock, api: FakeApi, held: StoredActivity | None = None) -> RefreshActivity:
    return RefreshActivity(api, FakeRecords(held), clock, random.Random(1), encode)


async def announced(handler: RefreshActivity, times: int = 1):
    """So many uploads, each asked for at once; what became of the last."""
    for _ in range(times):
        outcome = await handler(job(hint=CREATE))
    return outcome


# What is learned


def test_all_is_asked_for_at_once_until_eight_in_a_row_came_too_early():
    seen = AvailabilityTracker()
    for _ in range(ENOUGH):
        assert seen.ask_at_once()
        seen.note(ready=False)
    assert not seen.ask_at_once()


def test_one_in_thirty_two_is_asked_for_at_once_all_the_same_and_an_answer_ends_the_waiting():
    seen = AvailabilityTracker()
    for _ in range(ENOUGH):
        seen.note(ready=False)
    assert [seen.ask_at_once() for _ in range(2 * TRY_EVERY)].count(True) == 2
    seen.note(ready=True)
    assert all(seen.ask_at_once() for _ in range(TRY_EVERY))


def test_where_some_are_ready_nothing_waits():
    """34 of 5,712 recorded events met a 404."""
    seen = AvailabilityTracker()
    for number in range(100):
        assert seen.ask_at_once()
        seen.note(ready=number % ENOUGH == 0)


# Activities


async def test_a_new_activity_is_asked_for_after_four_seconds_where_none_is_shown_at_once(clock):
    api = FakeApi(activity=[*[EARLY] * ENOUGH, record()], streams=STREAMS)
    refresh = handler(clock, api)
    outcome = await announced(refresh, ENOUGH)
    assert outcome.until == NOON + timedelta(seconds=5)  # it asked, was refused, and asks again
    asked = len(api.calls)
    outcome = await announced(refresh)
    assert isinstance(outcome, Snooze)
    assert (outcome.until, len(api.calls)) == (NOON + SHOWN_AFTER, asked)
    clock.advance(seconds=SHOWN_AFTER.total_seconds())
    assert isinstance(await refresh(job(hint=CREATE)), Done)


async def test_an_edit_of_what_we_have_never_waits_for_new_activities(clock):
    api = FakeApi(activity=EARLY)
    refresh = handler(clock, api)
    await announced(refresh, ENOUGH)
    held = StoredActivity(ACTIVITY, ATHLETE, "synced", detailed=True, stream_state="present")
    known = RefreshActivity(
        FakeApi(activity=record()), FakeRecords(held), clock, random.Random(1), encode, shown=refresh.shown
    )
    assert isinstance(await announced(known, 5), Done)
    # Nor is one of them taken for the one new activity in thirty-two that is asked for at once.
    assert [refresh.shown.ask_at_once() for _ in range(TRY_EVERY)].index(True) == TRY_EVERY - 1


# Streams


async def test_streams_are_asked_for_a_minute_later_where_there_never_are_any_at_once(clock):
    """Pain 20: the detail is stored at once, and the call for nothing is not made."""
    api = FakeApi(activity=record(), streams=b"{}")
    refresh = handler(clock, api)
    await announced(refresh, ENOUGH)
    asked = api.asked.count("streams")
    outcome = await announced(refresh)
    assert api.asked.count("streams") == asked
    detail, streams = outcome.effects
    assert (detail.complete, streams.state) == (False, "pending")
    (again,) = outcome.then
    assert (again.lane, again.due_at) == (Lane.LIVE, NOON + timedelta(minutes=1))
    assert again.hint.streams_only


async def test_streams_that_are_there_are_fetched_at_once_and_so_are_the_next(clock):
    api = FakeApi(activity=record(), streams=STREAMS)
    refresh = handler(clock, api)
    for _ in range(3 * ENOUGH):
        outcome = await announced(refresh)
        assert outcome.effects[1].state == "present"


async def test_streams_that_were_asked_for_before_do_not_wait_for_those_of_new_activities(clock):
    """An edit comes ten minutes after the upload, when they are there."""
    api = FakeApi(activity=record(), streams=b"{}")
    refresh = handler(clock, api)
    await announced(refresh, ENOUGH)
    held = StoredActivity(
        ACTIVITY, ATHLETE, "synced", detailed=True, stream_state="pending", first_seen=NOON, announced=True
    )
    edited = RefreshActivity(
        FakeApi(activity=record(), streams=STREAMS), FakeRecords(held), clock, random.Random(1), encode,
        streamed=refresh.streamed,
    )  # fmt: skip
    assert (await announced(edited)).effects[1].state == "present"
