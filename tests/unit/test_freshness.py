"""A fresh activity is rechecked: changes without an event are found within a day."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from fakes import ACTIVITY, ATHLETE, NOON, FakeApi, FakeRecords, encode, job
from hypothesis import given
from hypothesis import strategies as st

from feedzone.domain.activity import ActivityRecord, StoredActivity
from feedzone.domain.effect import StoreDetail, StoreStreams
from feedzone.domain.freshness import FRESH, RECHECKS, STREAM_RETRIES, is_fresh, next_recheck
from feedzone.domain.job import Lane, RefreshHint
from feedzone.domain.outcome import Done, Snooze
from feedzone.errors import NotVisible, QuotaSpent, TransientError
from feedzone.handlers.refresh_activity import RefreshActivity

DAY = timedelta(days=1)
MOMENT = timedelta(seconds=1)
STREAMS = b'{"time":{"data":[0,1,2]}}'
ages = st.timedeltas(timedelta(0), 2 * DAY)


# When


@pytest.mark.parametrize(
    ("age", "started_ago", "new", "fresh"),
    [
        (timedelta(0), timedelta(0), True, True),
        (timedelta(0), 400 * DAY, True, True),  # an old activity, uploaded just now
        (timedelta(0), None, True, True),
        (timedelta(0), 400 * DAY, False, False),  # found by a backfill
        (timedelta(0), None, False, False),
        (timedelta(0), DAY - MOMENT, False, True),  # found by a reconciliation, and started today
        (timedelta(0), DAY, False, False),
        (DAY - MOMENT, 5 * DAY, True, True),
        (DAY, timedelta(0), True, False),  # a day after it arrived, whatever else
    ],
)
def test_an_activity_is_fresh_for_a_day_if_it_was_new_or_started_that_day(age, started_ago, new, fresh):
    started = None if started_ago is None else NOON - started_ago
    assert is_fresh(NOON - age, started, new=new, now=NOON) is fresh


def rechecks_of(*, streams_pending: bool) -> list[tuple[timedelta, bool]]:
    """Return all rechecks of an activity that arrived at noon: the delay, and whether for streams only."""
    now, rechecks = NOON, []
    while recheck := next_recheck(NOON, now, streamless_since=NOON if streams_pending else None):
        rechecks.append((recheck.at - NOON, recheck.streams_only))
        now = recheck.at
    return rechecks


def test_the_detail_is_rechecked_after_15_minutes_6_hours_and_a_day():
    assert rechecks_of(streams_pending=False) == [
        (timedelta(minutes=15), False),
        (timedelta(hours=6), False),
        (timedelta(hours=24), False),
    ]


def test_missing_streams_are_requested_between_the_rechecks_without_the_detail():
    rechecks = rechecks_of(streams_pending=True)
    assert [after for after, _ in rechecks] == sorted({*RECHECKS, *STREAM_RETRIES})
    assert {after for after, alone in rechecks if not alone} == set(RECHECKS)


def test_the_delays_of_missing_streams_grow_up_to_a_day():
    gaps = [later - earlier for earlier, later in pairwise(STREAM_RETRIES)]
    assert gaps == sorted(gaps)
    assert STREAM_RETRIES[0] <= timedelta(minutes=1)
    assert STREAM_RETRIES[-1] == RECHECKS[-1] == FRESH == DAY


@given(ages, st.booleans())
def test_a_recheck_lies_ahead_and_within_the_day(age, pending):
    recheck = next_recheck(NOON, NOON + age, streamless_since=NOON if pending else None)
    assert (recheck is None) == (age >= DAY)
    if recheck is not None:
        assert NOON + age < recheck.at <= NOON + DAY


@given(ages)
def test_a_late_worker_skips_missed_rechecks(age):
    """After a night without quota there is one recheck, not five."""
    recheck = next_recheck(NOON, NOON + age, streamless_since=NOON)
    later = [step for step in (*RECHECKS, *STREAM_RETRIES) if NOON + step > NOON + age]
    assert (recheck and recheck.at) == (NOON + min(later) if later else None)


# The handler


def record(*, manual: bool = False, ago: timedelta = timedelta(hours=1), **columns) -> ActivityRecord:
    columns = {"manual": manual, "start_date": NOON - ago, "name": "Ride"} | columns
    return ActivityRecord(ACTIVITY, ATHLETE, "detail", columns, "{}")


def stored(*, ago: timedelta = timedelta(0), announced: bool = True, **changes) -> StoredActivity:
    """An activity that arrived `ago` before noon, and is stored with its streams."""
    state = changes.get("stream_state", "present")
    activity = StoredActivity(
        ACTIVITY,
        ATHLETE,
        "synced",
        stream_state="present",
        first_seen=NOON - ago,
        announced=announced,
        fingerprint=record().fingerprint,
        streams_fingerprint=record().fingerprint,
        streamless_since=NOON - ago if state == "pending" else None,
    )
    return msgspec.structs.replace(activity, **changes)


async def run(api: FakeApi, clock, known: StoredActivity | None = None, cause="event:e1", **hint):
    handler = RefreshActivity(api, FakeRecords(known), clock, random.Random(1), encode)
    return await handler(job(hint=RefreshHint(cause=cause, **hint)))


async def test_a_fresh_activity_is_rechecked_in_the_recheck_lane(clock):
    outcome = await run(FakeApi(activity=record(), streams=STREAMS), clock)
    (again,) = outcome.then
    assert (again.kind, again.key, again.athlete_id) == ("refresh_activity", f"activity:{ACTIVITY}", ATHLETE)
    assert (again.lane, again.due_at) == (Lane.RECHECK, NOON + timedelta(minutes=15))
    assert again.hint == RefreshHint(cause="recheck")
    assert again.hint_time == 0  # no event caused it: any event that comes meanwhile is newer


@pytest.mark.parametrize(("age", "lane"), [(0, Lane.LIVE), (16, Lane.LIVE), (61, Lane.RECHECK)])
async def test_missing_streams_of_the_last_hour_are_live_work(clock, age, lane):
    """An upload is complete only with its streams, so no backfill goes before them."""
    known = stored(ago=timedelta(minutes=age), stream_state="pending")
    outcome = await run(FakeApi(activity=record(), streams=b"{}"), clock, known)
    (again,) = outcome.then
    assert again.lane == lane


@pytest.mark.parametrize(
    ("known", "ago", "cause", "again"),
    [
        (None, 400 * DAY, "event:e1", True),
        (None, 400 * DAY, "backfill", False),
        (None, timedelta(hours=2), "backfill", True),
        (None, timedelta(hours=2), "reconciliation", True),
        (stored(), 400 * DAY, "reconciliation", True),  # an event had announced it before
        (stored(ago=DAY), timedelta(hours=30), "event:e1", False),
        (stored(ago=40 * DAY), 41 * DAY, "event:e1", False),  # a late edit of an old activity
        (stored(ago=40 * DAY, sync_status="deleted"), 41 * DAY, "event:e1", True),  # revived
    ],
)
async def test_only_activities_that_arrived_within_a_day_are_rechecked(clock, known, ago, cause, again):
    outcome = await run(FakeApi(activity=record(ago=ago), streams=STREAMS), clock, known, cause)
    assert bool(outcome.then) is again


async def test_a_manual_activity_is_rechecked_without_streams(clock):
    """A manual activity has no streams, so no call asks for them."""
    api = FakeApi(activity=record(manual=True))
    (again,) = (await run(api, clock)).then
    assert (again.due_at, again.hint.streams_only) == (NOON + timedelta(minutes=15), False)
    assert api.call_names == ["activity"]


async def live_through(
    clock, api: FakeApi, known: StoredActivity | None = None
) -> list[tuple[timedelta, str]]:
    """Run all rechecks of an activity; return when each ran and its calls."""
    state, hint, made = known, {"cause": "event:e1"}, []
    while True:
        before = len(api.calls)
        outcome = await run(api, clock, state, **hint)
        assert isinstance(outcome, Done)
        made.append((clock.now() - NOON, "+".join(api.call_names[before:])))
        streams = next((e.state for e in outcome.effects if isinstance(e, StoreStreams)), None)
        state = stored(stream_state=streams or (state and state.stream_state))
        if not outcome.then:
            return made
        (again,) = outcome.then
        hint = {"cause": again.hint.cause, "streams_only": again.hint.streams_only}
        clock.advance(seconds=(again.due_at - clock.now()).total_seconds())


@pytest.mark.parametrize("nothing", [b"{}", NotVisible(404)])
async def test_late_streams_are_stored_and_not_requested_again(clock, nothing):
    """Empty twice, then full."""
    made = await live_through(clock, FakeApi(activity=record(), streams=[nothing, nothing, STREAMS]))
    assert made == [
        (timedelta(0), "activity+streams"),
        (timedelta(minutes=1), "streams"),
        (timedelta(minutes=5), "streams"),
        (timedelta(minutes=15), "activity"),
        (timedelta(hours=6), "activity"),
        (timedelta(hours=24), "activity"),
    ]


@pytest.mark.parametrize("nothing", [b"{}", NotVisible(404)])
async def test_streams_that_never_come_are_absent_after_a_day_and_not_before(clock, nothing):
    states, known, hint = [], None, {"cause": "event:e1"}
    while True:
        outcome = await run(FakeApi(activity=record(), streams=nothing), clock, known, **hint)
        states.append((clock.now() - NOON, outcome.effects[-1].state))
        if not outcome.then:
            break
        (again,) = outcome.then
        known, hint = (
            stored(stream_state="pending"),
            {"cause": "recheck", "streams_only": again.hint.streams_only},
        )
        clock.advance(seconds=(again.due_at - clock.now()).total_seconds())
    assert states[-1] == (DAY, "absent")
    assert {state for _, state in states[:-1]} == {"pending"}
    assert len(states) == 1 + len({*RECHECKS, *STREAM_RETRIES})


async def test_a_description_edited_without_an_event_is_stored_within_15_minutes(clock):
    api = FakeApi(activity=[record(), record(description="along the canal")], streams=STREAMS)
    (again,) = (await run(api, clock)).then
    clock.advance(minutes=15)
    assert again.due_at <= clock.now()
    outcome = await run(api, clock, stored(), again.hint.cause)
    (detail,) = outcome.effects
    assert isinstance(detail, StoreDetail)
    assert detail.record.columns["description"] == "along the canal"
    assert detail.received_at is None


async def test_a_recheck_after_the_day_is_the_last_and_marks_missing_streams_absent(clock):
    clock.advance(hours=30)
    outcome = await run(
        FakeApi(streams=b"{}"), clock, stored(stream_state="pending"), "recheck", streams_only=True
    )
    assert outcome == Done((StoreStreams(ACTIVITY, ATHLETE, "absent", streamless_since=NOON),))


async def test_streams_of_a_late_upload_without_an_event_are_still_expected(clock):
    """A reconciliation found it just now, whenever the activity started."""
    api = FakeApi(activity=record(ago=10 * DAY), streams=[b"{}", STREAMS])
    rechecks = await run(api, clock, None, "reconciliation")
    (recheck,) = rechecks.then
    assert rechecks.effects[1] == StoreStreams(ACTIVITY, ATHLETE, "pending", streamless_since=NOON)
    late = msgspec.structs.replace(
        stored(stream_state="pending"), started=NOON - 10 * DAY, announced=False, first_seen=NOON
    )
    clock.advance(seconds=(recheck.due_at - clock.now()).total_seconds())
    outcome = await run(api, clock, late, recheck.hint.cause, streams_only=recheck.hint.streams_only)
    assert outcome.effects[0].state == "present"
    assert outcome.then  # its description may still be edited


@pytest.mark.parametrize("cause", ["event:e1", "reconciliation", "backfill"])
async def test_streams_are_still_expected_after_the_first_request_failed(clock, cause):
    """The activity started an hour ago, whatever led to its fetch."""
    api = FakeApi(activity=record(), streams=[TransientError(503), b"{}"])
    first = await run(api, clock, None, cause)
    part = stored(stream_state=None, sync_status="syncing", announced=cause.startswith("event:"))
    part = msgspec.structs.replace(part, started=NOON - timedelta(hours=1))
    outcome = await run(api, clock, part, cause, detail_version=first.hint.detail_version)
    assert outcome.effects == (StoreStreams(ACTIVITY, ATHLETE, "pending", streamless_since=NOON),)
    assert outcome.then


async def test_a_recheck_of_streams_that_must_wait_stays_a_recheck_of_streams_only(clock):
    spent = QuotaSpent("read_15min", NOON + timedelta(minutes=15))
    outcome = await run(
        FakeApi(streams=spent), clock, stored(stream_state="pending"), "recheck", streams_only=True
    )
    assert isinstance(outcome, Snooze)
    assert outcome.hint == RefreshHint(cause="recheck", streams_only=True)
    assert outcome.effects == ()
