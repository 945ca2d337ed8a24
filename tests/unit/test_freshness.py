"""A fresh activity is looked at again: what Strava tells no event of is found within a day."""

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
        (timedelta(0), 400 * DAY, False, False),  # found by a first sync
        (timedelta(0), None, False, False),
        (timedelta(0), DAY - MOMENT, False, True),  # found by a sweep, and begun today
        (timedelta(0), DAY, False, False),
        (DAY - MOMENT, 5 * DAY, True, True),
        (DAY, timedelta(0), True, False),  # a day after it came to us, whatever else
    ],
)
def test_an_activity_is_fresh_for_a_day_when_it_was_new_or_had_begun_that_day(age, started_ago, new, fresh):
    started = None if started_ago is None else NOON - started_ago
    assert is_fresh(NOON - age, started, new=new, now=NOON) is fresh


def looks(*, streams_pending: bool) -> list[tuple[timedelta, bool]]:
    """All later looks at an activity that came at noon: after how long, and whether at streams alone."""
    now, found = NOON, []
    while look := next_recheck(NOON, now, streams_pending=streams_pending):
        found.append((look.at - NOON, look.streams_only))
        now = look.at
    return found


def test_the_detail_is_read_again_after_a_quarter_of_an_hour_six_hours_and_a_day():
    """Pain 19."""
    assert looks(streams_pending=False) == [
        (timedelta(minutes=15), False),
        (timedelta(hours=6), False),
        (timedelta(hours=24), False),
    ]


def test_missing_streams_are_asked_for_in_between_and_alone():
    """Pain 20."""
    found = looks(streams_pending=True)
    assert [after for after, _ in found] == sorted({*RECHECKS, *STREAM_RETRIES})
    assert {after for after, alone in found if not alone} == set(RECHECKS)


def test_the_delays_of_missing_streams_grow_up_to_a_day():
    """Pain 20."""
    gaps = [later - earlier for earlier, later in pairwise(STREAM_RETRIES)]
    assert gaps == sorted(gaps)
    assert STREAM_RETRIES[0] <= timedelta(minutes=1)
    assert STREAM_RETRIES[-1] == RECHECKS[-1] == FRESH == DAY


@given(ages, st.booleans())
def test_a_look_lies_ahead_and_within_the_day(age, pending):
    look = next_recheck(NOON, NOON + age, streams_pending=pending)
    assert (look is None) == (age >= DAY)
    if look is not None:
        assert NOON + age < look.at <= NOON + DAY


@given(ages)
def test_a_worker_that_was_late_skips_looks_and_does_not_catch_up_on_them(age):
    """After a night without quota there is one look, not five."""
    look = next_recheck(NOON, NOON + age, streams_pending=True)
    later = [step for step in (*RECHECKS, *STREAM_RETRIES) if NOON + step > NOON + age]
    assert (look and look.at) == (NOON + min(later) if later else None)


# What the handler makes of it


def record(*, manual: bool = False, ago: timedelta = timedelta(hours=1), **columns) -> ActivityRecord:
    columns = {"manual": manual, "start_date": NOON - ago, "name": "Ride"} | columns
    return ActivityRecord(ACTIVITY, ATHLETE, "detail", columns, "{}")


def held(*, ago: timedelta = timedelta(0), announced: bool = True, **changes) -> StoredActivity:
    """An activity that came to us so long before noon, and is stored with its streams."""
    plain = StoredActivity(
        ACTIVITY, ATHLETE, "synced", stream_state="present", first_seen=NOON - ago, announced=announced
    )
    return msgspec.structs.replace(plain, **changes)


async def run(api: FakeApi, clock, known: StoredActivity | None = None, cause="event:e1", **hint):
    handler = RefreshActivity(api, FakeRecords(known), clock, random.Random(1), encode)
    return await handler(job(hint=RefreshHint(cause=cause, **hint)))


async def test_a_fresh_activity_is_looked_at_again_in_the_lane_of_rereads(clock):
    """Pain 19."""
    outcome = await run(FakeApi(activity=record(), streams=STREAMS), clock)
    (again,) = outcome.then
    assert (again.kind, again.key, again.athlete_id) == ("refresh_activity", f"activity:{ACTIVITY}", ATHLETE)
    assert (again.lane, again.due_at) == (Lane.RECHECK, NOON + timedelta(minutes=15))
    assert again.hint == RefreshHint(cause="recheck")
    assert again.hint_time == 0  # no event said so: an event that comes meanwhile is newer


@pytest.mark.parametrize(("age", "lane"), [(0, Lane.LIVE), (16, Lane.LIVE), (61, Lane.RECHECK)])
async def test_missing_streams_of_the_last_hour_are_live_work(clock, age, lane):
    """An upload is there with its streams: no history comes before them."""
    known = held(ago=timedelta(minutes=age), stream_state="pending")
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
        (held(), 400 * DAY, "reconciliation", True),  # an event had told of it before
        (held(ago=DAY), timedelta(hours=30), "event:e1", False),
        (held(ago=40 * DAY), 41 * DAY, "event:e1", False),  # a late edit of an old activity
        (held(ago=40 * DAY, sync_status="deleted"), 41 * DAY, "event:e1", True),  # revived
    ],
)
async def test_only_what_came_to_us_within_a_day_is_looked_at_again(clock, known, ago, cause, again):
    outcome = await run(FakeApi(activity=record(ago=ago), streams=STREAMS), clock, known, cause)
    assert bool(outcome.then) is again


async def test_a_manual_activity_is_read_again_too_and_its_streams_are_not(clock):
    """Pain 20: a manual one costs no stream call."""
    api = FakeApi(activity=record(manual=True))
    (again,) = (await run(api, clock)).then
    assert (again.due_at, again.hint.streams_only) == (NOON + timedelta(minutes=15), False)
    assert api.asked == ["activity"]


async def live_through(
    clock, api: FakeApi, known: StoredActivity | None = None
) -> list[tuple[timedelta, str]]:
    """All looks at an activity until none comes any more: when, and what was asked for."""
    state, hint, made = known, {"cause": "event:e1"}, []
    while True:
        before = len(api.calls)
        outcome = await run(api, clock, state, **hint)
        assert isinstance(outcome, Done)
        made.append((clock.now() - NOON, "+".join(api.asked[before:])))
        streams = next((e.state for e in outcome.effects if isinstance(e, StoreStreams)), None)
        state = held(stream_state=streams or (state and state.stream_state))
        if not outcome.then:
            return made
        (again,) = outcome.then
        hint = {"cause": again.hint.cause, "streams_only": again.hint.streams_only}
        clock.advance(seconds=(again.due_at - clock.now()).total_seconds())


@pytest.mark.parametrize("nothing", [b"{}", NotVisible(404)])
async def test_streams_that_come_late_are_stored_and_asked_for_no_more(clock, nothing):
    """Pain 20: empty twice, then full."""
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
    """Pain 20."""
    states, known, hint = [], None, {"cause": "event:e1"}
    while True:
        outcome = await run(FakeApi(activity=record(), streams=nothing), clock, known, **hint)
        states.append((clock.now() - NOON, outcome.effects[-1].state))
        if not outcome.then:
            break
        (again,) = outcome.then
        known, hint = (
            held(stream_state="pending"),
            {"cause": "recheck", "streams_only": again.hint.streams_only},
        )
        clock.advance(seconds=(again.due_at - clock.now()).total_seconds())
    assert states[-1] == (DAY, "absent")
    assert {state for _, state in states[:-1]} == {"pending"}
    assert len(states) == 1 + len({*RECHECKS, *STREAM_RETRIES})


async def test_a_description_that_no_event_told_of_is_stored_within_a_quarter_of_an_hour(clock):
    """Pain 19."""
    api = FakeApi(activity=[record(), record(description="along the canal")], streams=STREAMS)
    (again,) = (await run(api, clock)).then
    clock.advance(minutes=15)
    assert again.due_at <= clock.now()
    outcome = await run(api, clock, held(), again.hint.cause)
    (detail,) = outcome.effects
    assert isinstance(detail, StoreDetail)
    assert detail.record.columns["description"] == "along the canal"
    assert detail.received_at is None


async def test_a_look_that_comes_late_after_the_day_is_the_last_and_settles_the_streams(clock):
    clock.advance(hours=30)
    outcome = await run(
        FakeApi(streams=b"{}"), clock, held(stream_state="pending"), "recheck", streams_only=True
    )
    assert outcome == Done((StoreStreams(ACTIVITY, ATHLETE, "absent"),))


async def test_streams_of_a_late_upload_that_no_event_told_of_are_still_in_the_making(clock):
    """Pains 20 and 50: found by a comparison, it has just come, whenever it began."""
    api = FakeApi(activity=record(ago=10 * DAY), streams=[b"{}", STREAMS])
    found = await run(api, clock, None, "reconciliation")
    (look,) = found.then
    assert found.effects[1] == StoreStreams(ACTIVITY, ATHLETE, "pending")
    late = msgspec.structs.replace(
        held(stream_state="pending"), started=NOON - 10 * DAY, announced=False, first_seen=NOON
    )
    clock.advance(seconds=(look.due_at - clock.now()).total_seconds())
    outcome = await run(api, clock, late, look.hint.cause, streams_only=look.hint.streams_only)
    assert outcome.effects[0].state == "present"
    assert outcome.then  # its description may still be edited


@pytest.mark.parametrize("cause", ["event:e1", "reconciliation", "backfill"])
async def test_streams_are_still_in_the_making_also_when_the_first_call_for_them_failed(clock, cause):
    """Pain 20: the activity began an hour ago, however it came to us."""
    api = FakeApi(activity=record(), streams=[TransientError(503), b"{}"])
    first = await run(api, clock, None, cause)
    part = held(stream_state=None, sync_status="syncing", announced=cause.startswith("event:"))
    part = msgspec.structs.replace(part, started=NOON - timedelta(hours=1))
    outcome = await run(api, clock, part, cause, detail_version=first.hint.detail_version)
    assert outcome.effects == (StoreStreams(ACTIVITY, ATHLETE, "pending"),)
    assert outcome.then


async def test_a_look_at_streams_that_has_to_wait_stays_one_at_streams_alone(clock):
    spent = QuotaSpent("read_15min", NOON + timedelta(minutes=15))
    outcome = await run(
        FakeApi(streams=spent), clock, held(stream_state="pending"), "recheck", streams_only=True
    )
    assert isinstance(outcome, Snooze)
    assert outcome.hint == RefreshHint(cause="recheck", streams_only=True)
    assert outcome.effects == ()
