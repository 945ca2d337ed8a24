"""Events without a proof cost few calls: how many, for whom, and what happens to the rest."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from activity_refresh import DELETE, GONE, STORED, record
from fakes import ACTIVITY, ATHLETE, NOON, FakeApi, FakeRecords, encode, job
from msgspec.structs import replace

from feedzone.domain.activity import StoredActivity
from feedzone.domain.effect import AskForList, CountFruitless, StoreDetail
from feedzone.domain.fruitless import ALL_LEAKS_IN, LEAKS_IN, LOOKS, REST, Bucket, FruitlessCalls, size_of
from feedzone.domain.job import Lane, PlainHint, RefreshHint, RevokeHint
from feedzone.domain.outcome import Continue, Done, Snooze
from feedzone.errors import TransportFailure
from feedzone.handlers.list_activities import ListActivities
from feedzone.handlers.refresh_activity import RefreshActivity
from feedzone.handlers.revoke_athlete import CONFIRM_EVERY, RevokeAthlete

CREATE = RefreshHint(cause="event:e1")
VERIFIED = RefreshHint(cause="event:e1", verified=True)
DETAILED = StoredActivity(ACTIVITY, ATHLETE, "synced", detailed=True, stream_state="present")
FULL = FruitlessCalls(1000, Bucket(13, NOON))
EMPTY = FruitlessCalls(1000)


async def run(api: FakeApi, clock, spent: FruitlessCalls, hint: RefreshHint, stored=None, **changes):
    records = FakeRecords(stored)
    records.fruitless = spent
    handler = RefreshActivity(api, records, clock, random.Random(1), encode)
    return await handler(job("refresh_activity", hint, **changes))


# The buckets


@pytest.mark.parametrize(("quota", "size"), [(100, 3), (1000, 12), (2000, 24), (60_000, 50)])
def test_a_bucket_holds_a_small_share_of_the_days_quota(quota, size):
    assert size_of(quota) == size


def test_a_full_bucket_leaks_within_six_hours():
    nearly = FruitlessCalls(1000, Bucket(12, NOON))
    assert nearly.next_call(NOON) == NOON + LEAKS_IN / 12
    assert nearly.next_call(NOON + LEAKS_IN / 12) is None
    assert FruitlessCalls(1000, Bucket(11, NOON)).next_call(NOON) is None


def test_a_list_goes_first_after_a_wait():
    assert FruitlessCalls(1000, Bucket(12, NOON)).next_call(NOON, for_list=True) is None
    assert FULL.next_call(NOON, for_list=True) == NOON + LEAKS_IN / 12


def test_many_attacked_athletes_share_one_bucket_and_others_are_not_affected():
    full, attacked = Bucket(35, NOON), Bucket(5, NOON)
    assert FruitlessCalls(1000, attacked, full).next_call(NOON) == NOON + ALL_LEAKS_IN / 35
    assert FruitlessCalls(1000, attacked, Bucket(999, NOON)).next_call(NOON) == NOON + REST
    assert FruitlessCalls(1000, Bucket(4, NOON), Bucket(999, NOON)).next_call(NOON) is None
    assert FruitlessCalls(1000, everyone=full).next_call(NOON) is None


# Announced activities that may not exist


async def test_within_its_share_an_unproven_event_is_fetched_at_once(clock):
    outcome = await run(FakeApi(activity=record(manual=True)), clock, EMPTY, CREATE)
    assert isinstance(outcome.effects[0], StoreDetail)


async def test_beyond_it_an_unproven_event_waits_for_one_list_call(clock):
    api = FakeApi()
    outcome = await run(api, clock, FULL, CREATE)
    assert api.calls == []
    assert isinstance(outcome, Snooze)
    assert outcome.wait_reason == "list_first"
    (ask,) = outcome.effects
    assert isinstance(ask, AskForList)
    assert ask.at == NOON + LEAKS_IN / 12 < outcome.until


@pytest.mark.parametrize("spent", [FULL, FruitlessCalls(1000, Bucket(99, NOON), Bucket(999, NOON), NOON)])
async def test_a_verified_signature_is_exempt(clock, spent):
    api = FakeApi(activity=record(manual=True))
    assert isinstance(await run(api, clock, spent, VERIFIED), Done)
    assert len(api.calls) == 1


async def test_an_activity_that_a_list_has_shown_is_fetched(clock):
    shown = StoredActivity(ACTIVITY, ATHLETE, "pending")
    api = FakeApi(activity=record(manual=True))
    assert isinstance(await run(api, clock, FULL, CREATE, shown), Done)
    assert len(api.calls) == 1


async def test_what_the_list_does_not_show_ends_when_the_share_is_spent(clock):
    listed = FruitlessCalls(1000, Bucket(13, NOON), listed_at=NOON)
    api = FakeApi()
    outcome = await run(api, clock, listed, CREATE, first_received_at=NOON - timedelta(minutes=1))
    assert isinstance(outcome, Done)
    assert outcome.note.startswith("not_visible")
    assert api.calls == []


async def test_a_list_that_came_too_soon_after_the_event_says_nothing(clock):
    listed = FruitlessCalls(1000, Bucket(1, NOON), listed_at=NOON)
    api = FakeApi(activity=record(manual=True))
    outcome = await run(api, clock, listed, CREATE, first_received_at=NOON - timedelta(seconds=5))
    assert isinstance(outcome, Done)
    assert len(api.calls) == 1


async def test_what_the_list_does_not_show_gets_two_looks_behind_all_other_work(clock):
    listed = FruitlessCalls(1000, Bucket(1, NOON), listed_at=NOON)
    since = {"first_received_at": NOON - timedelta(minutes=1)}
    moved = await run(FakeApi(), clock, listed, CREATE, **since)
    assert isinstance(moved, Continue)
    assert (moved.lane, moved.hint.looks_left) == (Lane.BACKFILL, LOOKS)
    first = await run(FakeApi(activity=GONE), clock, listed, moved.hint, **since)
    assert isinstance(first, Snooze)
    assert first.effects == (CountFruitless(ATHLETE),)
    last = await run(FakeApi(activity=GONE), clock, listed, first.hint, **since)
    assert isinstance(last, Done)


async def test_calls_for_an_activity_that_exists_after_all_are_not_fruitless(clock):
    late = RefreshHint(cause="event:e1", fruitless=3)
    outcome = await run(FakeApi(activity=record(manual=True)), clock, EMPTY, late)
    assert CountFruitless(ATHLETE, -3) in outcome.effects
    assert outcome.note is None


# Stored activities


@pytest.mark.parametrize("hint", [CREATE, DELETE])
async def test_events_of_a_stored_activity_wait_at_different_times(clock, hint):
    api = FakeApi()
    outcome = await run(api, clock, FULL, hint, DETAILED)
    assert isinstance(outcome, Snooze)
    assert outcome.wait_reason == "unproven"
    assert outcome.until > NOON + LEAKS_IN / 12
    assert api.calls == []


async def test_only_an_update_of_a_stored_activity_may_turn_out_fruitless(clock):
    def detail(outcome) -> StoreDetail:
        return outcome.effects[0]

    edited = await run(FakeApi(activity=record(manual=True)), clock, EMPTY, CREATE, DETAILED)
    new = await run(FakeApi(activity=record(manual=True)), clock, EMPTY, CREATE)
    signed = await run(FakeApi(activity=record(manual=True)), clock, EMPTY, VERIFIED, DETAILED)
    assert [detail(outcome).unproven for outcome in (edited, new, signed)] == [True, False, False]


async def test_a_denied_delete_is_a_fruitless_call(clock):
    outcome = await run(FakeApi(activity=record(manual=True)), clock, EMPTY, DELETE, STORED)
    assert CountFruitless(ATHLETE) in outcome.effects


# Lists and departures


async def test_a_list_waits_for_its_share_and_then_costs_one_call(clock):
    records, api = FakeRecords(), FakeApi(activities=[[]])
    records.fruitless = FULL
    handler = ListActivities(api, records, clock, random.Random(1))
    outcome = await handler(job("list_activities", PlainHint()))
    assert (outcome.until, outcome.wait_reason, api.calls) == (NOON + LEAKS_IN / 12, "unproven", [])
    clock.advance(seconds=LEAKS_IN.total_seconds() / 12)
    assert isinstance(await handler(job("list_activities", PlainHint())), Done)
    assert len(api.calls) == 1


async def test_a_list_shows_its_own_athletes_activities_only(clock):
    listed = [record(), replace(record(), athlete_id=ATHLETE + 1)]
    handler = ListActivities(FakeApi(activities=[listed]), FakeRecords(), clock, random.Random(1))
    (effect,) = (await handler(job("list_activities", PlainHint()))).effects
    assert effect.records == tuple(listed[:1])


async def test_a_list_that_strava_does_not_answer_leaves_the_work_to_the_fetches(clock):
    away = TransportFailure("away")
    away.again_after_s = 30.0
    handler = ListActivities(FakeApi(activities=away), FakeRecords(), clock, random.Random(1))
    outcome = await handler(job("list_activities", PlainHint()))
    assert (type(outcome), outcome.note) == (Done, "not listed: away")


def revoking(clock, api: FakeApi, records: FakeRecords | None = None) -> RevokeAthlete:
    return RevokeAthlete(
        api, records or FakeRecords(), clock, random.Random(1), lambda sealed, _: sealed, timedelta(days=7)
    )


async def test_departures_of_one_athlete_are_confirmed_once_in_five_minutes(clock):
    api = FakeApi(is_deauthorized=False)
    handler, claim = revoking(clock, api), RevokeHint("confirm", cause="event:e1")
    for _ in range(20):
        await handler(job("revoke_athlete", claim))
    assert len(api.calls) == 1
    waits = await handler(job("revoke_athlete", claim))
    assert (waits.until, waits.wait_reason) == (NOON + CONFIRM_EVERY, "unproven")
    clock.advance(seconds=CONFIRM_EVERY.total_seconds())
    assert isinstance(await handler(job("revoke_athlete", claim)), Done)
    assert len(api.calls) == 2


async def test_departures_share_the_calls_of_unproven_events_and_a_signature_needs_none(clock):
    records, api = FakeRecords(), FakeApi(is_deauthorized=True)
    records.fruitless = FULL
    handler = revoking(clock, api, records)
    assert isinstance(await handler(job("revoke_athlete", RevokeHint("confirm", cause="event:e1"))), Snooze)
    signed = RevokeHint("confirm", verified=True, cause="event:e1")
    assert isinstance(await handler(job("revoke_athlete", signed, hint_time=int(NOON.timestamp()))), Done)
    assert api.calls == []
