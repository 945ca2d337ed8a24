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
    CountFruitless,
    NoteFailure,
    OpenConflict,
    RecordRejectedClaim,
    StoreDetail,
    Tombstone,
)
from feedzone.domain.job import RefreshHint
from feedzone.domain.outcome import Done, Retry, Snooze
from feedzone.errors import QuotaSpent, StravaFails, TransientError
from feedzone.handlers.refresh_activity import RefreshActivity


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
    """Return the outcome of the look that decides. Those before delete nothing and cost no attempt."""
    began, decides = clock.now(), clock.now() + SECOND_LOOK
    while True:
        outcome = await run(api, clock, hint, stored, **more)
        if clock.now() >= decides or not isinstance(outcome, Snooze):
            return outcome
        assert outcome.effects == ()
        assert clock.now() < outcome.until <= decides
        if hint is not None and hint.action == "delete":
            assert (clock.now(), outcome.until) == (began, decides)
        clock.advance(seconds=(outcome.until - clock.now()).total_seconds())
        hint = outcome.hint


async def test_an_unverified_delete_is_confirmed_by_two_404s_minutes_apart_and_a_list(clock):
    api = FakeApi(activity=GONE, activities=[[]])
    assert await second_look(api, clock, DELETE, STORED) == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))
    assert api.call_names == ["activity", "activity", "activities"]


@pytest.mark.parametrize(
    "hint",
    [
        None,
        DELETE,
        RefreshHint("delete", cause="request"),
        *(RefreshHint(cause=cause) for cause in ("recheck", "reconciliation", "backfill", "request")),
    ],
)
async def test_a_list_that_shows_an_activity_outweighs_its_404s(clock, hint):
    """It is fetched again, at most an hour apart, until Strava shows it or the list lacks it."""
    stored = msgspec.structs.replace(STORED, detailed=True, started=NOON - timedelta(days=3))
    api, waits = FakeApi(activity=GONE, activities=[[record()]]), []
    outcome = await second_look(api, clock, hint, stored)
    for _ in range(10):
        assert isinstance(outcome, Snooze)
        waits.append(outcome.until - clock.now())
        clock.advance(seconds=waits[-1].total_seconds())
        outcome = await run(api, clock, outcome.hint, stored)
    assert waits[0] <= SECOND_LOOK
    assert (waits, waits[-1]) == (sorted(waits), timedelta(hours=1))
    shown = FakeApi(activity=record(manual=True))
    assert isinstance((await run(shown, clock, outcome.hint, stored)).effects[0], StoreDetail)
    gone = FakeApi(activity=GONE, activities=[[]])
    assert isinstance((await run(gone, clock, outcome.hint, stored)).effects[0], Tombstone)


async def test_the_list_around_the_start_is_read_to_its_end(clock):
    """Only an empty page is the end. Without a start, the newest page must do."""
    stored = msgspec.structs.replace(STORED, detailed=True, started=NOON - timedelta(days=3))
    other = msgspec.structs.replace(record(), id=ACTIVITY + 1)
    api = FakeApi(activity=GONE, activities=[[other], [other], [record()]])
    assert isinstance(await second_look(api, clock, DELETE, stored), Snooze)
    pages = [call[1:] for call in api.calls if call[0] == "activities"]
    start = int(stored.started.timestamp())
    assert pages == [(ATHLETE, start - 3600, start + 3600, page, 200) for page in (1, 2, 3)]
    api = FakeApi(activity=GONE, activities=[[other]])
    assert isinstance((await second_look(api, clock, DELETE, STORED)).effects[0], Tombstone)
    assert api.call_names.count("activities") == 1


@pytest.mark.parametrize("failure", [*TRANSIENT, QuotaSpent("read_day", NOON), StravaFails(NOON)])
async def test_without_the_list_nothing_is_deleted(clock, failure):
    api = FakeApi(activity=GONE, activities=failure)
    outcome = await second_look(api, clock, DELETE, STORED)
    assert isinstance(outcome, (Snooze, Retry))
    assert not any(isinstance(effect, Tombstone) for effect in outcome.effects)


async def bury(clock, hint: RefreshHint, *, deleted: int, count: int):
    records = FakeRecords(msgspec.structs.replace(STORED, detailed=True), count=count)
    records.deleted = deleted
    api = FakeApi(activity=GONE, activities=[[]])
    handler = RefreshActivity(api, records, clock, random.Random(1), encode)
    looked = msgspec.structs.replace(hint, missing_since=int((NOON - SECOND_LOOK).timestamp()))
    return await handler(job("refresh_activity", looked))


@pytest.mark.parametrize(
    ("deleted", "count", "decides"), [(2, 3, False), (3, 1, True), (4, 200, False), (11, 189, True)]
)
@pytest.mark.parametrize("cause", ["event:e1", "recheck", "backfill", "reconciliation"])
async def test_a_person_decides_about_many_activities_that_are_missing_without_a_delete_event(
    clock, deleted, count, decides, cause
):
    outcome = await bury(clock, RefreshHint(cause=cause), deleted=deleted, count=count)
    conflict = OpenConflict(ATHLETE, (ACTIVITY,), count)
    assert outcome.effects == ((conflict if decides else Tombstone(ACTIVITY, ATHLETE, "reconciliation")),)


@pytest.mark.parametrize("cause", ["event:e1", "request"])
async def test_a_delete_event_and_a_decision_need_no_other_person(clock, cause):
    outcome = await bury(clock, RefreshHint("delete", cause=cause), deleted=99, count=1)
    assert outcome.effects == (Tombstone(ACTIVITY, ATHLETE, cause),)


async def test_a_404_confirms_a_verified_delete_at_once(clock):
    """Strava has said it twice: in a signed event, and in its answer."""
    stored = msgspec.structs.replace(STORED, fetched=NOON + timedelta(seconds=5))
    hint = RefreshHint("delete", verified=True, cause="event:e1")
    outcome = await run(FakeApi(activity=GONE), clock, hint, stored, hint_time=SECOND)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1", SECOND),))


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
    handler = RefreshActivity(
        FakeApi(activity=GONE, activities=[[]]), FakeRecords(), clock, random.Random(1), encode
    )
    hints = {athlete: (await look(handler, athlete, DELETE)).hint for athlete in range(MANY_ATHLETES)}
    clock.advance(hours=1)
    outcome = await look(handler, 0, hints[0])
    assert (outcome.until - clock.now(), outcome.hint) == (OUTAGE_PAUSE, hints[0])
    clock.advance(seconds=OUTAGE_MOST.total_seconds())
    assert isinstance((await look(handler, 0, hints[0])).effects[0], Tombstone)


async def test_an_activity_that_strava_shows_ends_the_outage(clock):
    api = FakeApi(activity=[*[GONE] * MANY_ATHLETES, record(manual=True), GONE], activities=[[]])
    handler = RefreshActivity(api, FakeRecords(), clock, random.Random(1), encode)
    hints = {athlete: (await look(handler, athlete, DELETE)).hint for athlete in range(MANY_ATHLETES)}
    clock.advance(hours=1)
    await look(handler, ATHLETE, RefreshHint(cause="event:e2"))
    assert isinstance((await look(handler, 0, hints[0])).effects[0], Tombstone)


async def test_a_forged_delete_leaves_the_activity_and_is_counted(clock):
    outcome = await run(FakeApi(activity=record()), clock, DELETE, STORED)
    detail, counted, forged = outcome.effects
    assert counted == CountFruitless(ATHLETE)
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


async def until_it_ends(api: FakeApi, clock, stored=None, **changes) -> tuple[Done, list[float]]:
    """Return the last outcome and the seconds of each wait before it."""
    hint, waits = None, []
    while isinstance(outcome := await run(api, clock, hint, stored, **changes), Snooze):
        assert outcome.effects == (CountFruitless(ATHLETE),)
        waits.append((outcome.until - clock.now()).total_seconds())
        clock.advance(seconds=waits[-1])
        hint = outcome.hint
    return outcome, waits


async def test_a_404_after_a_create_is_tried_again_at_growing_intervals_for_an_hour(clock):
    outcome, waits = await until_it_ends(FakeApi(activity=GONE, activities=[[]]), clock)
    assert outcome.effects == (CountFruitless(ATHLETE, 2),)
    assert waits == sorted(waits)
    assert (waits[0], 5 < len(waits) < 15) == (5, True)
    assert sum(waits) >= 3600


async def test_an_announced_activity_in_the_list_is_not_given_up(clock):
    api = FakeApi(activity=[*[GONE] * 20, record()], activities=[[record()]], streams=STREAMS)
    outcome, waits = await until_it_ends(api, clock)
    assert isinstance(outcome.effects[0], StoreDetail)
    assert max(waits) <= 3600


async def test_a_first_404_long_after_the_announcement_is_followed_by_a_second_look_soon(clock):
    clock.advance(minutes=50)
    outcome = await run(FakeApi(activity=GONE), clock)
    assert outcome.until - clock.now() == timedelta(seconds=5)


DELETED = msgspec.structs.replace(TOMBSTONED, last_event_time=SECOND)


@pytest.mark.parametrize(("hint_time", "ends"), [(SECOND - 1, True), (SECOND, False), (SECOND + 1, False)])
async def test_a_create_older_than_the_delete_ends_at_its_404(clock, hint_time, ends):
    outcome = await run(FakeApi(activity=GONE), clock, stored=DELETED, hint_time=hint_time)
    assert isinstance(outcome, Done if ends else Snooze)
    shown = FakeApi(activity=record(manual=True))
    outcome = await run(shown, clock, stored=DELETED, hint_time=hint_time)
    assert isinstance(outcome.effects[0], StoreDetail)


async def test_an_activity_that_becomes_visible_is_stored(clock):
    api = FakeApi(activity=[GONE, GONE, record()], streams=STREAMS)
    assert isinstance(await run(api, clock), Snooze)
    assert isinstance(await run(api, clock), Snooze)
    assert isinstance((await run(api, clock)).effects[0], StoreDetail)


async def test_two_404s_for_a_stored_activity_delete_it(clock):
    stored = msgspec.structs.replace(STORED, detailed=True)
    outcome = await second_look(FakeApi(activity=GONE, activities=[[]]), clock, None, stored)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "reconciliation"),))


async def test_a_404_that_lasts_seconds_is_made_good_within_a_minute(clock):
    began, hint = clock.now(), RefreshHint(cause="recheck")
    stored = msgspec.structs.replace(STORED, detailed=True)
    api = FakeApi(activity=[GONE, GONE, record(manual=True)])
    while isinstance(outcome := await run(api, clock, hint, stored), Snooze):
        clock.advance(seconds=(outcome.until - clock.now()).total_seconds())
        hint = outcome.hint
    assert isinstance(outcome.effects[0], StoreDetail)
    assert clock.now() - began <= timedelta(minutes=1)


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
    outcome = await second_look(FakeApi(activity=GONE, activities=[[]]), clock, None, LISTED)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "reconciliation"),))


async def test_an_activity_that_a_backfill_has_listed_is_deleted_at_its_second_404(clock):
    api = FakeApi(activity=GONE, activities=[[]])
    outcome = await second_look(api, clock, RefreshHint(cause="backfill"), LISTED)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "reconciliation"),))


@pytest.mark.parametrize("cause", ["reconciliation", "backfill"])
@pytest.mark.parametrize("stored", [None, TOMBSTONED])
async def test_what_a_list_has_shown_is_asked_for_until_the_list_lacks_it(clock, cause, stored):
    hint, api = RefreshHint(cause=cause), FakeApi(activity=GONE, activities=[[record()], []])
    waiting = await second_look(api, clock, hint, stored)
    assert isinstance(waiting, Snooze)
    assert await run(api, clock, waiting.hint, stored) == Done(note="not_visible")


@pytest.mark.parametrize("cause", ["recheck", "request"])
async def test_a_404_that_no_event_announced_ends_the_job(clock, cause):
    """Only an activity that an event has just announced may become visible soon."""
    outcome = await run(FakeApi(activity=GONE), clock, RefreshHint(cause=cause))
    assert outcome == Done(note="not_visible")


async def test_a_404_for_a_tombstone_may_be_an_activity_that_returns_and_is_not_ready(clock):
    assert isinstance(await run(FakeApi(activity=GONE), clock, stored=TOMBSTONED), Snooze)
