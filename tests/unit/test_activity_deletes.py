"""A delete is believed only if it is proven or loses no data. A 404 may mean: not ready yet."""

from __future__ import annotations

import random
from datetime import timedelta

import msgspec
import pytest
from activity_refresh import (
    CROPPED,
    DELETE,
    GONE,
    PRESENT,
    STORED,
    STREAMS,
    TOMBSTONED,
    TRANSIENT,
    WITHOUT_STREAMS,
    record,
    run,
    written,
)
from fakes import ACTIVITY, ATHLETE, NOON, STRANGER, FakeApi, FakeRecords, encode, job

from feedzone.domain.absence import MANY_ATHLETES, OUTAGE_MOST, OUTAGE_PAUSE, SECOND_LOOK
from feedzone.domain.activity import StoredActivity
from feedzone.domain.effect import (
    NoteFailure,
    RecordRejectedClaim,
    StoreDetail,
    Tombstone,
)
from feedzone.domain.job import RefreshHint
from feedzone.domain.outcome import Done, Retry, Snooze
from feedzone.errors import (
    TransientError,
)
from feedzone.handlers.refresh_activity import RefreshActivity

# Deletes


@pytest.mark.parametrize("stored", [STORED, None, TOMBSTONED])
async def test_a_verified_delete_costs_no_call(clock, stored):
    api = FakeApi()
    outcome = await run(api, clock, RefreshHint("delete", verified=True, cause="event:e1"), stored)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))
    assert api.calls == []


SECOND = int(NOON.timestamp())


@pytest.mark.parametrize(
    ("seen", "believed"),
    [
        ({}, True),
        ({"last_event_time": SECOND, "fetched": NOON + timedelta(seconds=0.9)}, True),
        ({"last_event_time": SECOND + 1}, False),
        ({"fetched": NOON + timedelta(seconds=1)}, False),
    ],
)
async def test_a_verified_delete_older_than_our_observation_is_checked_at_strava(clock, seen, believed):
    """An activity that is private and then public again must survive the late delete."""
    api, stored = FakeApi(activity=record()), msgspec.structs.replace(STORED, **seen)
    hint = RefreshHint("delete", verified=True, cause="event:e1")
    outcome = await run(api, clock, hint, stored, hint_time=SECOND)
    assert api.call_names == ([] if believed else ["activity"])
    assert [type(effect) for effect in outcome.effects] == [Tombstone if believed else StoreDetail]
    assert outcome.note is None


@pytest.mark.parametrize("stored", [None, TOMBSTONED])
async def test_a_delete_of_an_unknown_activity_costs_no_call_and_leaves_a_tombstone(clock, stored):
    api = FakeApi()
    outcome = await run(api, clock, DELETE, stored)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))
    assert api.calls == []


async def second_look(api: FakeApi, clock, hint: RefreshHint | None, stored: StoredActivity, **more):
    """Return the outcome of the second look. The first one deletes nothing and costs no attempt."""
    first = await run(api, clock, hint, stored, **more)
    assert isinstance(first, Snooze)
    assert first.effects == ()
    assert first.until - clock.now() == SECOND_LOOK
    clock.advance(seconds=SECOND_LOOK.total_seconds())
    return await run(api, clock, first.hint, stored, **more)


async def test_an_unverified_delete_is_confirmed_by_two_404s_minutes_apart(clock):
    api = FakeApi(activity=GONE)
    assert await second_look(api, clock, DELETE, STORED) == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))
    assert api.call_names == ["activity", "activity"]


async def test_a_404_confirms_a_verified_delete_at_once(clock):
    """Strava has said it twice: in a signed event, and in its answer."""
    stored = msgspec.structs.replace(STORED, fetched=NOON + timedelta(seconds=5))
    hint = RefreshHint("delete", verified=True, cause="event:e1")
    outcome = await run(FakeApi(activity=GONE), clock, hint, stored, hint_time=SECOND)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))


@pytest.mark.parametrize("cause", ["event:e1", "reconciliation", "recheck", "request"])
async def test_one_404_about_a_stored_activity_deletes_nothing(clock, cause):
    stored = msgspec.structs.replace(STORED, detailed=True)
    api = FakeApi(activity=[GONE, record()], streams=STREAMS)
    outcome = await second_look(api, clock, RefreshHint(cause=cause), stored)
    assert isinstance(outcome.effects[0], StoreDetail)


async def test_a_run_between_the_two_looks_waits_for_the_second(clock):
    first = await run(FakeApi(activity=GONE), clock, DELETE, STORED)
    clock.advance(seconds=60)
    early = await run(FakeApi(activity=GONE), clock, first.hint, STORED)
    assert (early.until, early.hint) == (first.until, first.hint)


async def look(handler: RefreshActivity, athlete: int, hint: RefreshHint):
    handler.records.stored = msgspec.structs.replace(STORED, athlete_id=athlete)
    return await handler(msgspec.structs.replace(job("refresh_activity", hint), athlete_id=athlete))


async def test_404s_of_many_athletes_in_a_row_are_an_outage_for_some_hours(clock):
    handler = RefreshActivity(FakeApi(activity=GONE), FakeRecords(), clock, random.Random(1), encode)
    hints = {athlete: (await look(handler, athlete, DELETE)).hint for athlete in range(MANY_ATHLETES)}
    clock.advance(hours=1)
    outcome = await look(handler, 0, hints[0])
    assert (outcome.until - clock.now(), outcome.hint) == (OUTAGE_PAUSE, hints[0])
    clock.advance(seconds=OUTAGE_MOST.total_seconds())
    assert isinstance((await look(handler, 0, hints[0])).effects[0], Tombstone)


async def test_an_activity_that_strava_shows_ends_the_outage(clock):
    api = FakeApi(activity=[*[GONE] * MANY_ATHLETES, record(manual=True), GONE])
    handler = RefreshActivity(api, FakeRecords(), clock, random.Random(1), encode)
    hints = {athlete: (await look(handler, athlete, DELETE)).hint for athlete in range(MANY_ATHLETES)}
    clock.advance(hours=1)
    await look(handler, ATHLETE, RefreshHint(cause="event:e2"))
    assert isinstance((await look(handler, 0, hints[0])).effects[0], Tombstone)


async def test_a_forged_delete_leaves_the_activity_and_is_counted(clock):
    outcome = await run(FakeApi(activity=record()), clock, DELETE, STORED)
    detail, forged = outcome.effects
    assert isinstance(detail, StoreDetail)
    assert forged == RecordRejectedClaim("event:e1", "delete")
    assert outcome.note.startswith("forged")


async def test_a_forged_delete_of_an_activity_of_an_unwanted_sport_is_counted_too(clock):
    records = FakeRecords(STORED, sports=frozenset({"Swim"}))
    handler = RefreshActivity(FakeApi(activity=record()), records, clock, random.Random(1), encode)
    outcome = await handler(job("refresh_activity", DELETE))
    assert RecordRejectedClaim("event:e1", "delete") in outcome.effects
    assert outcome.note.startswith("forged")


async def test_an_activity_that_a_list_left_out_by_mistake_is_no_forgery(clock):
    hint = RefreshHint("delete", cause="reconciliation")
    outcome = await run(FakeApi(activity=record()), clock, hint, STORED)
    assert written(outcome) == (StoreDetail(record(), "reconciliation", None, complete=True),)


async def test_a_forged_delete_of_a_manual_activity_is_counted_too(clock):
    outcome = await run(FakeApi(activity=record(manual=True)), clock, DELETE, STORED)
    assert outcome.effects[-1] == RecordRejectedClaim("event:e1", "delete")
    assert not any(isinstance(effect, Tombstone) for effect in outcome.effects)


async def test_a_forged_delete_is_counted_once_when_the_streams_fail(clock):
    api = FakeApi(activity=record(), streams=[TransientError(500), STREAMS])
    first = await run(api, clock, DELETE, CROPPED)
    assert RecordRejectedClaim("event:e1", "delete") in first.effects
    assert first.hint.action == "refresh"
    assert written(await run(api, clock, first.hint, WITHOUT_STREAMS)) == (PRESENT,)


@pytest.mark.parametrize("verified", [True, False])
async def test_a_delete_of_another_athletes_activity_is_refused_and_counted(clock, verified):
    api = FakeApi()
    of_stranger = StoredActivity(ACTIVITY, STRANGER, "synced", manual=False, stream_state=None)
    outcome = await run(api, clock, RefreshHint("delete", verified=verified, cause="event:e1"), of_stranger)
    assert isinstance(outcome, Done)
    assert "forged" in outcome.note
    assert api.calls == []
    assert outcome.effects == (RecordRejectedClaim("event:e1", "delete"),)


@pytest.mark.parametrize("failure", TRANSIENT)
async def test_a_delete_that_cannot_be_confirmed_deletes_nothing(clock, failure):
    outcome = await run(FakeApi(activity=failure), clock, DELETE, STORED)
    assert isinstance(outcome, Retry)
    assert outcome.effects == (NoteFailure(ACTIVITY, ATHLETE, str(failure), final=False),)


# Not visible


async def test_a_404_after_a_create_is_tried_again_at_growing_intervals_for_an_hour(clock):
    api, waits = FakeApi(activity=GONE), []
    while isinstance(outcome := await run(api, clock), Snooze):
        assert outcome.effects == ()
        waits.append((outcome.until - clock.now()).total_seconds())
        clock.advance(seconds=waits[-1])
    assert outcome == Done(note="not_visible: Strava does not show us this activity")
    assert waits == sorted(waits)
    assert waits[0] == 5
    assert 5 < len(waits) < 15
    assert sum(waits) >= 3600


async def test_an_activity_that_becomes_visible_is_stored(clock):
    api = FakeApi(activity=[GONE, GONE, record()], streams=STREAMS)
    assert isinstance(await run(api, clock), Snooze)
    assert isinstance(await run(api, clock), Snooze)
    assert isinstance((await run(api, clock)).effects[0], StoreDetail)


async def test_two_404s_for_a_stored_activity_delete_it(clock):
    stored = msgspec.structs.replace(STORED, detailed=True)
    outcome = await second_look(FakeApi(activity=GONE), clock, None, stored)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))


LISTED = StoredActivity(ACTIVITY, ATHLETE, "pending", first_seen=NOON)


@pytest.mark.parametrize("cause", ["event:e1", "reconciliation", "request"])
async def test_an_activity_that_a_list_has_just_shown_may_not_be_ready(clock, cause):
    """404, 404, 200: it is stored."""
    api = FakeApi(activity=[GONE, GONE, record()], streams=STREAMS)
    for _ in range(2):
        outcome = await run(api, clock, RefreshHint(cause=cause), stored=LISTED)
        assert isinstance(outcome, Snooze)
        clock.advance(seconds=(outcome.until - clock.now()).total_seconds())
    assert isinstance(
        (await run(api, clock, RefreshHint(cause=cause), stored=LISTED)).effects[0], StoreDetail
    )


async def test_an_activity_that_a_list_has_shown_is_deleted_after_an_hour_of_404(clock):
    clock.advance(seconds=3601)
    outcome = await second_look(FakeApi(activity=GONE), clock, None, LISTED)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))


async def test_an_activity_that_a_backfill_has_listed_is_deleted_at_its_second_404(clock):
    outcome = await second_look(FakeApi(activity=GONE), clock, RefreshHint(cause="backfill"), LISTED)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "backfill"),))


@pytest.mark.parametrize("cause", ["reconciliation", "backfill", "recheck", "request"])
async def test_a_404_that_no_event_announced_ends_the_job(clock, cause):
    """Only an activity that an event has just announced may become visible soon."""
    outcome = await run(FakeApi(activity=GONE), clock, RefreshHint(cause=cause))
    assert outcome == Done(note="not_visible")


async def test_a_404_for_a_tombstone_may_be_an_activity_that_returns_and_is_not_ready(clock):
    assert isinstance(await run(FakeApi(activity=GONE), clock, stored=TOMBSTONED), Snooze)
