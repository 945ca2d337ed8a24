"""A refresh fetches the detail and the streams of an activity, and each failure has its own ending."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from activity_refresh import (
    CROPPED,
    DELETE,
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
from fakes import ACTIVITY, ATHLETE, NOON, STRANGER, FakeApi

from feedzone.domain.activity import StoredActivity
from feedzone.domain.effect import (
    MarkAthlete,
    NoteFailure,
    StoreDetail,
    StoreStreams,
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

# Creates and updates


@pytest.mark.parametrize("stored", [None, WITHOUT_STREAMS, CROPPED, TOMBSTONED])
async def test_the_detail_and_the_streams_are_fetched_and_stored(clock, stored):
    api = FakeApi(activity=record(), streams=STREAMS)
    outcome = await run(api, clock, stored=stored)
    assert written(outcome) == (StoreDetail(record(), "event:e1", NOON, complete=False), PRESENT)
    assert api.calls == [("activity", ATHLETE, ACTIVITY), ("streams", ATHLETE, ACTIVITY)]


async def test_stored_streams_are_not_fetched_again_while_the_activity_keeps_its_shape(clock):
    """An edited title costs one call, not two."""
    api = FakeApi(activity=record())
    outcome = await run(api, clock, stored=STORED)
    assert written(outcome) == (StoreDetail(record(), "event:e1", NOON, complete=True),)
    assert api.call_names == ["activity"]


@pytest.mark.parametrize("state", ["pending", "absent", None])
async def test_streams_that_are_not_stored_are_fetched_with_each_refresh(clock, state):
    stored = msgspec.structs.replace(STORED, stream_state=state)
    outcome = await run(FakeApi(activity=record(), streams=STREAMS), clock, stored=stored)
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
    assert written(await run(api, clock, outcome.hint, WITHOUT_STREAMS)) == (PRESENT,)
    assert api.call_names == ["activity", "streams", "streams"]


async def test_when_the_quota_ends_between_detail_and_streams_the_detail_is_stored(clock):
    spent = QuotaSpent("read_15min", NOON + timedelta(minutes=15))
    outcome = await run(FakeApi(activity=record(), streams=spent), clock)
    assert isinstance(outcome, Snooze)
    assert [type(effect) for effect in outcome.effects] == [StoreDetail]
    assert outcome.hint.detail_version == 1


async def test_streams_that_fail_again_do_not_fetch_the_detail_again(clock):
    hint = RefreshHint(cause="event:e1", detail_version=1)
    outcome = await run(FakeApi(streams=TransientError(500)), clock, hint, STORED)
    assert isinstance(outcome, Retry)
    assert outcome.hint == hint


async def test_streams_that_cannot_be_read_do_not_prevent_the_detail(clock):
    """One poison activity is isolated, and its detail is shown."""

    async def malformed(_body: bytes):
        raise InvalidInput("the streams answer is not an object of channels")

    outcome = await run(FakeApi(activity=record(), streams=b'{"time":5}'), clock, encoding=malformed)
    assert isinstance(outcome.effects[0], StoreDetail)


EMPTY = [b"{}", NotVisible(404)]


@pytest.mark.parametrize("nothing", EMPTY)
async def test_an_old_activity_without_streams_has_none_also_after_a_second_run(clock, nothing):
    api = FakeApi(activity=record(days_ago=400), streams=[TransientError(503), nothing])
    first = await run(api, clock, RefreshHint(cause="backfill"))
    stored = StoredActivity(ACTIVITY, ATHLETE, "syncing", first_seen=NOON)
    absent = StoreStreams(ACTIVITY, ATHLETE, "absent", streamless_since=NOON)
    assert await run(api, clock, first.hint, stored) == Done((absent,))


async def test_streams_of_a_deleted_activity_are_not_fetched(clock):
    api = FakeApi()
    assert await run(api, clock, RefreshHint(cause="recheck", streams_only=True), TOMBSTONED) == Done()
    assert api.calls == []


# Failures


@pytest.mark.parametrize("failure", TRANSIENT)
async def test_a_failure_that_may_pass_is_tried_again_and_noted(clock, failure):
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
    """The job spends no attempt."""
    until = NOON + timedelta(hours=1)
    outcome = await run(FakeApi(activity=ApplicationPaused(until)), clock)
    assert (type(outcome), outcome.effects) == (Snooze, ())
    assert until < outcome.until <= until + timedelta(seconds=6)


@pytest.mark.parametrize("action", ["refresh", "delete"])
async def test_a_missing_scope_marks_the_athlete_and_deletes_nothing(clock, action):
    failure = NeedsScope(401, "Authorization Error")
    outcome = await run(FakeApi(activity=failure), clock, RefreshHint(action, cause="event:e1"), STORED)
    assert isinstance(outcome, Discard)
    assert [type(effect) for effect in outcome.effects] == [MarkAthlete]
    assert [type(effect) for effect in outcome.if_last] == [NoteFailure]


@pytest.mark.parametrize(
    "failure", [TokenRevoked(400), NotConnected("athlete 134815 left"), PermanentError(403, "Forbidden")]
)
async def test_a_job_that_cannot_succeed_becomes_a_dead_letter_with_its_reason(clock, failure):
    outcome = await run(FakeApi(activity=failure), clock, DELETE, STORED)
    note = NoteFailure(ACTIVITY, ATHLETE, str(failure), final=True)
    assert outcome == Discard(
        str(failure), (), (note,), failure.error_class, getattr(failure, "status", None)
    )


@pytest.mark.parametrize("failure", [NeedsScope(401), PermanentError(403, "Forbidden")])
async def test_a_final_failure_of_the_streams_stores_the_detail(clock, failure):
    outcome = await run(FakeApi(activity=record(), streams=failure), clock)
    assert isinstance(outcome, Discard)
    assert isinstance(outcome.effects[0], StoreDetail)
