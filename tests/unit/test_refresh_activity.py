"""A stale activity is fetched; a delete is believed only when proven, or when there is nothing to lose."""

from __future__ import annotations

import random
from datetime import timedelta

import msgspec
import pytest
from fakes import ACTIVITY, ATHLETE, NOON, STRANGER, FakeApi, FakeRecords, encode, job, unanswered

from feedzone.domain.activity import ActivityRecord, StoredActivity
from feedzone.domain.effect import (
    MarkAthlete,
    NoteFailure,
    RecordRejectedClaim,
    StoreDetail,
    StoreStreams,
    Tombstone,
)
from feedzone.domain.job import RefreshHint
from feedzone.domain.outcome import Discard, Done, Retry, Snooze
from feedzone.errors import (
    ApplicationPaused,
    InvalidInput,
    NeedsRefresh,
    NeedsScope,
    NotConnected,
    NotVisible,
    PermanentError,
    QuotaSpent,
    TokenRevoked,
    TransientError,
)
from feedzone.handlers.refresh_activity import RefreshActivity

STREAMS = b'{"time":{"data":[0,1,2]},"heartrate":{"data":[90,91,92]}}'
PRESENT = StoreStreams(ACTIVITY, ATHLETE, "present", STREAMS, ("time", "heartrate"), 3)
GONE = NotVisible(404, call="GET activities/7")
DELETE = RefreshHint("delete", cause="event:e1")
HELD = StoredActivity(ACTIVITY, ATHLETE, "synced", stream_state="present", first_seen=NOON, announced=True)
PART = StoredActivity(ACTIVITY, ATHLETE, "syncing", first_seen=NOON, announced=True)
"""Its detail is stored, its streams are not."""
CROPPED = StoredActivity(ACTIVITY, ATHLETE, "synced", stream_state="present", shape=(9000.0, 1800, 1900))
BURIED = StoredActivity(ACTIVITY, ATHLETE, "deleted", first_seen=NOON - timedelta(days=9))
TRANSIENT = [TransientError(500, "error"), unanswered()]


def record(athlete: int = ATHLETE, *, manual: bool = False, days_ago: float = 0) -> ActivityRecord:
    columns = {"manual": manual, "start_date": NOON - timedelta(days=days_ago), "name": "Ride"}
    return ActivityRecord(ACTIVITY, athlete, "detail", columns, "{}")


async def run(api: FakeApi, clock, hint: RefreshHint | None = None, held=None, encoding=encode, **changes):
    handler = RefreshActivity(api, FakeRecords(held), clock, random.Random(1), encoding)
    return await handler(job("refresh_activity", hint, **changes))


# Creates and updates


def written(outcome) -> tuple:
    """What is stored by a job that ended without remarks (what comes then: test_freshness.py)."""
    assert isinstance(outcome, Done)
    assert outcome.note is None
    return outcome.effects


@pytest.mark.parametrize("held", [None, PART, CROPPED, BURIED])
async def test_the_detail_and_the_streams_are_fetched_and_stored(clock, held):
    api = FakeApi(activity=record(), streams=STREAMS)
    outcome = await run(api, clock, held=held)
    assert written(outcome) == (StoreDetail(record(), "event:e1", NOON, complete=False), PRESENT)
    assert api.calls == [("activity", ATHLETE, ACTIVITY), ("streams", ATHLETE, ACTIVITY)]


async def test_streams_that_we_hold_are_not_fetched_again_while_the_activity_keeps_its_shape(clock):
    """Pain 17: an edited title costs one call, not two."""
    api = FakeApi(activity=record())
    outcome = await run(api, clock, held=HELD)
    assert written(outcome) == (StoreDetail(record(), "event:e1", NOON, complete=True),)
    assert api.call_names == ["activity"]


@pytest.mark.parametrize("state", ["pending", "absent", None])
async def test_streams_that_we_do_not_hold_are_asked_for_whenever_the_activity_is(clock, state):
    held = msgspec.structs.replace(HELD, stream_state=state)
    outcome = await run(FakeApi(activity=record(), streams=STREAMS), clock, held=held)
    assert written(outcome) == (StoreDetail(record(), "event:e1", NOON, complete=False), PRESENT)


@pytest.mark.parametrize(("cause", "received"), [("event:e1", NOON), ("backfill", None), ("request", None)])
async def test_only_an_event_has_a_time_of_receipt(clock, cause, received):
    outcome = await run(FakeApi(activity=record(), streams=STREAMS), clock, RefreshHint(cause=cause))
    assert outcome.effects[0].received_at == received


async def test_a_manual_activity_costs_no_call_for_streams(clock):
    api = FakeApi(activity=record(manual=True))
    outcome = await run(api, clock)
    detail = StoreDetail(record(manual=True), "event:e1", NOON, complete=True)
    assert written(outcome) == (detail, StoreStreams(ACTIVITY, ATHLETE, "absent"))
    assert api.call_names == ["activity"]


async def test_an_activity_of_another_athlete_is_refused(clock):
    api = FakeApi(activity=record(STRANGER))
    outcome = await run(api, clock)
    assert isinstance(outcome, Discard)
    assert outcome.effects == ()
    assert str(STRANGER) in outcome.reason
    assert api.call_names == ["activity"]


# Deletes


@pytest.mark.parametrize("held", [HELD, None, BURIED])
async def test_a_verified_delete_costs_no_call(clock, held):
    api = FakeApi()
    outcome = await run(api, clock, RefreshHint("delete", verified=True, cause="event:e1"), held)
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
async def test_a_verified_delete_that_is_older_than_what_we_saw_is_asked_about(clock, seen, believed):
    """Pain 16: made private and public again, an activity outlives the delete that comes late."""
    api, held = FakeApi(activity=record()), msgspec.structs.replace(HELD, **seen)
    hint = RefreshHint("delete", verified=True, cause="event:e1")
    outcome = await run(api, clock, hint, held, hint_time=SECOND)
    assert api.call_names == ([] if believed else ["activity"])
    assert [type(effect) for effect in outcome.effects] == [Tombstone if believed else StoreDetail]
    assert outcome.note is None


@pytest.mark.parametrize("held", [None, BURIED])
async def test_a_delete_of_what_we_do_not_have_costs_no_call_and_leaves_a_tombstone(clock, held):
    """Trap 18."""
    api = FakeApi()
    outcome = await run(api, clock, DELETE, held)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))
    assert api.calls == []


async def test_an_unverified_delete_is_confirmed_by_a_404(clock):
    api = FakeApi(activity=GONE)
    assert await run(api, clock, DELETE, HELD) == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))
    assert api.call_names == ["activity"]


async def test_a_forged_delete_leaves_the_activity_and_is_counted(clock):
    """Pain 24."""
    outcome = await run(FakeApi(activity=record()), clock, DELETE, HELD)
    detail, forged = outcome.effects
    assert isinstance(detail, StoreDetail)
    assert forged == RecordRejectedClaim("event:e1", "delete")
    assert outcome.note.startswith("forged")


async def test_a_forged_delete_of_an_activity_of_an_unwanted_sport_is_called_so_too(clock):
    records = FakeRecords(HELD, sports=frozenset({"Swim"}))
    handler = RefreshActivity(FakeApi(activity=record()), records, clock, random.Random(1), encode)
    outcome = await handler(job("refresh_activity", DELETE))
    assert RecordRejectedClaim("event:e1", "delete") in outcome.effects
    assert outcome.note.startswith("forged")


async def test_what_a_list_left_out_though_it_is_alive_is_no_forgery(clock):
    hint = RefreshHint("delete", cause="reconciliation")
    outcome = await run(FakeApi(activity=record()), clock, hint, HELD)
    assert written(outcome) == (StoreDetail(record(), "reconciliation", None, complete=True),)


async def test_a_forged_delete_of_a_manual_activity_is_counted_too(clock):
    outcome = await run(FakeApi(activity=record(manual=True)), clock, DELETE, HELD)
    assert outcome.effects[-1] == RecordRejectedClaim("event:e1", "delete")
    assert not any(isinstance(effect, Tombstone) for effect in outcome.effects)


async def test_a_forged_delete_is_counted_once_when_the_streams_fail(clock):
    api = FakeApi(activity=record(), streams=[TransientError(500), STREAMS])
    first = await run(api, clock, DELETE, CROPPED)
    assert RecordRejectedClaim("event:e1", "delete") in first.effects
    assert first.hint.action == "refresh"
    assert written(await run(api, clock, first.hint, PART)) == (PRESENT,)


@pytest.mark.parametrize("verified", [True, False])
async def test_a_delete_of_another_athletes_activity_is_refused_and_counted(clock, verified):
    api = FakeApi()
    theirs = StoredActivity(ACTIVITY, STRANGER, "synced", manual=False, stream_state=None)
    outcome = await run(api, clock, RefreshHint("delete", verified=verified, cause="event:e1"), theirs)
    assert isinstance(outcome, Done)
    assert "forged" in outcome.note
    assert api.calls == []
    assert outcome.effects == (RecordRejectedClaim("event:e1", "delete"),)


@pytest.mark.parametrize("failure", TRANSIENT)
async def test_a_delete_that_cannot_be_confirmed_deletes_nothing(clock, failure):
    outcome = await run(FakeApi(activity=failure), clock, DELETE, HELD)
    assert isinstance(outcome, Retry)
    assert outcome.effects == (NoteFailure(ACTIVITY, ATHLETE, str(failure), final=False),)


# Not visible


async def test_a_404_after_a_create_is_asked_again_at_growing_intervals_and_then_left(clock):
    """Pain 21."""
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


async def test_what_becomes_visible_is_stored(clock):
    """Pain 21."""
    api = FakeApi(activity=[GONE, GONE, record()], streams=STREAMS)
    assert isinstance(await run(api, clock), Snooze)
    assert isinstance(await run(api, clock), Snooze)
    assert isinstance((await run(api, clock)).effects[0], StoreDetail)


async def test_a_404_of_what_we_have_is_its_end(clock):
    held = msgspec.structs.replace(HELD, detailed=True)
    outcome = await run(FakeApi(activity=GONE), clock, held=held)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))


LISTED = StoredActivity(ACTIVITY, ATHLETE, "pending", first_seen=NOON)


@pytest.mark.parametrize("cause", ["event:e1", "reconciliation", "request"])
async def test_what_a_list_has_just_shown_may_not_be_ready_itself(clock, cause):
    """Pain 21, where a list was asked first (pain 29): 404, 404, 200 is stored."""
    api = FakeApi(activity=[GONE, GONE, record()], streams=STREAMS)
    for _ in range(2):
        outcome = await run(api, clock, RefreshHint(cause=cause), held=LISTED)
        assert isinstance(outcome, Snooze)
        clock.advance(seconds=(outcome.until - clock.now()).total_seconds())
    assert isinstance((await run(api, clock, RefreshHint(cause=cause), held=LISTED)).effects[0], StoreDetail)


async def test_what_a_list_has_shown_and_is_not_there_for_an_hour_is_gone(clock):
    clock.advance(seconds=3601)
    outcome = await run(FakeApi(activity=GONE), clock, held=LISTED)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "event:e1"),))


async def test_what_the_list_of_a_history_has_shown_and_is_not_there_is_gone(clock):
    outcome = await run(FakeApi(activity=GONE), clock, RefreshHint(cause="backfill"), held=LISTED)
    assert outcome == Done((Tombstone(ACTIVITY, ATHLETE, "backfill"),))


@pytest.mark.parametrize("cause", ["reconciliation", "backfill", "recheck", "request"])
async def test_a_404_that_no_event_announced_is_left_at_once(clock, cause):
    """Pain 21 is about what an event has just announced; there is nothing to wait for here."""
    outcome = await run(FakeApi(activity=GONE), clock, RefreshHint(cause=cause))
    assert outcome == Done(note="not_visible")


async def test_a_404_of_a_tombstone_may_be_a_revival_that_is_not_ready(clock):
    assert isinstance(await run(FakeApi(activity=GONE), clock, held=BURIED), Snooze)


# Streams


@pytest.mark.parametrize("failure", TRANSIENT)
async def test_when_only_the_streams_fail_the_detail_is_stored_and_not_fetched_again(clock, failure):
    api = FakeApi(activity=record(), streams=[failure, STREAMS])
    outcome = await run(api, clock)
    assert isinstance(outcome, Retry)
    note = NoteFailure(ACTIVITY, ATHLETE, str(failure), final=False)
    assert outcome.effects == (StoreDetail(record(), "event:e1", NOON, complete=False), note)
    assert outcome.if_last == (NoteFailure(ACTIVITY, ATHLETE, str(failure), final=True),)
    rest = outcome.hint
    assert (rest.action, rest.cause, rest.detail_version) == ("refresh", "event:e1", 1)
    assert written(await run(api, clock, outcome.hint, PART)) == (PRESENT,)
    assert api.call_names == ["activity", "streams", "streams"]


async def test_quota_that_ends_between_detail_and_streams_loses_nothing(clock):
    spent = QuotaSpent("read_15min", NOON + timedelta(minutes=15))
    outcome = await run(FakeApi(activity=record(), streams=spent), clock)
    assert isinstance(outcome, Snooze)
    assert [type(effect) for effect in outcome.effects] == [StoreDetail]
    assert outcome.hint.detail_version == 1


async def test_streams_that_fail_again_go_on_from_there(clock):
    hint = RefreshHint(cause="event:e1", detail_version=1)
    outcome = await run(FakeApi(streams=TransientError(500)), clock, hint, HELD)
    assert isinstance(outcome, Retry)
    assert outcome.hint == hint


async def test_streams_that_cannot_be_read_do_not_cost_the_detail(clock):
    """One poison activity is isolated, and what is known of it is shown (pain 48)."""

    def malformed(_body: bytes):
        raise InvalidInput("the streams answer is not an object of channels")

    outcome = await run(FakeApi(activity=record(), streams=b'{"time":5}'), clock, encoding=malformed)
    assert isinstance(outcome.effects[0], StoreDetail)


EMPTY = [b"{}", NotVisible(404)]


@pytest.mark.parametrize("nothing", EMPTY)
async def test_no_streams_of_an_old_activity_are_absent_also_in_a_second_run(clock, nothing):
    api = FakeApi(activity=record(days_ago=400), streams=[TransientError(503), nothing])
    first = await run(api, clock, RefreshHint(cause="backfill"))
    held = StoredActivity(ACTIVITY, ATHLETE, "syncing", first_seen=NOON)
    assert await run(api, clock, first.hint, held) == Done((StoreStreams(ACTIVITY, ATHLETE, "absent"),))


async def test_streams_of_what_was_deleted_meanwhile_are_not_asked_for(clock):
    api = FakeApi()
    assert await run(api, clock, RefreshHint(cause="recheck", streams_only=True), BURIED) == Done()
    assert api.calls == []


# Failures


@pytest.mark.parametrize("failure", TRANSIENT)
async def test_what_passes_is_tried_again_and_noted(clock, failure):
    outcome = await run(FakeApi(activity=failure), clock)
    assert isinstance(outcome, Retry)
    assert outcome.effects == (NoteFailure(ACTIVITY, ATHLETE, str(failure), final=False),)
    assert outcome.if_last == (NoteFailure(ACTIVITY, ATHLETE, str(failure), final=True),)
    assert outcome.hint is None


async def test_a_token_rejected_twice_is_tried_again(clock):
    outcome = await run(FakeApi(activity=NeedsRefresh(401, "Authorization Error")), clock)
    assert isinstance(outcome, Retry)
    assert [effect.final for effect in outcome.if_last] == [True]


async def test_quota_is_waited_for_until_its_window_opens(clock):
    until = NOON + timedelta(minutes=15)
    outcome = await run(FakeApi(activity=QuotaSpent("read_15min", until)), clock)
    assert isinstance(outcome, Snooze)
    assert until < outcome.until <= until + timedelta(seconds=6)
    assert (outcome.effects, outcome.hint) == ((), None)


async def test_a_switched_off_application_is_waited_for(clock):
    """Pain 35: and no attempt is spent."""
    until = NOON + timedelta(hours=1)
    outcome = await run(FakeApi(activity=ApplicationPaused(until)), clock)
    assert (type(outcome), outcome.effects) == (Snooze, ())
    assert until < outcome.until <= until + timedelta(seconds=6)


@pytest.mark.parametrize("action", ["refresh", "delete"])
async def test_a_missing_scope_marks_the_athlete_and_deletes_nothing(clock, action):
    failure = NeedsScope(401, "Authorization Error")
    outcome = await run(FakeApi(activity=failure), clock, RefreshHint(action, cause="event:e1"), HELD)
    assert isinstance(outcome, Discard)
    assert [type(effect) for effect in outcome.effects] == [MarkAthlete]
    assert [type(effect) for effect in outcome.if_last] == [NoteFailure]


@pytest.mark.parametrize(
    "failure", [TokenRevoked(400), NotConnected("athlete 134815 left"), PermanentError(403, "Forbidden")]
)
async def test_what_cannot_succeed_is_kept_as_a_dead_letter_with_its_reason(clock, failure):
    outcome = await run(FakeApi(activity=failure), clock, DELETE, HELD)
    note = NoteFailure(ACTIVITY, ATHLETE, str(failure), final=True)
    assert outcome == Discard(
        str(failure), (), (note,), failure.error_class, getattr(failure, "status", None)
    )


@pytest.mark.parametrize("failure", [NeedsScope(401), PermanentError(403, "Forbidden")])
async def test_a_final_failure_of_the_streams_keeps_the_detail(clock, failure):
    outcome = await run(FakeApi(activity=record(), streams=failure), clock)
    assert isinstance(outcome, Discard)
    assert isinstance(outcome.effects[0], StoreDetail)
