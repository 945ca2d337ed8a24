"""Events that repeat, pile up, get lost or lie: what they cost at Strava, and what our rows end as."""

from __future__ import annotations

import asyncio
import random

import pytest
from engine import DETAIL, LIST, make_engine

from feedzone.app import working
from feedzone.domain.reconciliation import reconciliation_job
from feedzone.store.jobs import lifecycle
from feedzone.store.schema.tables import activity_changes, jobs, strava_activities, webhook_events


@pytest.fixture
async def engine(sqlite_database, clock, tmp_path):
    made, (athlete, _) = make_engine(sqlite_database, clock, tmp_path, athletes=2)
    await made.connect(athlete)
    await made.work()
    made.athlete = athlete
    return made


async def row_of(engine, activity: int):
    (row,) = await engine.rows(strava_activities, id=activity)
    return row


async def truth(engine) -> dict[int, str]:
    return {one["id"]: one["name"] for one in engine.world.truth(engine.athlete)}


async def held(engine) -> dict[int, str]:
    rows = await engine.rows(strava_activities)
    return {row.id: row.name for row in rows if row.sync_status != "deleted"}


async def test_while_strava_hangs_events_are_answered_all_the_same(engine):
    """Pain 11: no call leaves the process within a delivery, and the worker's calls hold up nobody."""
    hanging = asyncio.Event()

    async def hang(request, timeout):
        await hanging.wait()
        raise AssertionError("nobody waits so long")

    engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.hear()
    engine.app.transport.send = hang
    await engine.app.worker.producer.run_once()
    for _ in range(200):
        engine.world.record(engine.athlete, minutes=10, manual=True)
    async with asyncio.timeout(20):
        await engine.hear()
    assert len(engine.app.worker.producer.running) == 1
    assert len(await engine.rows(webhook_events)) == 201
    await engine.app.worker.producer.drain(0)


async def test_three_copies_of_an_event_are_one_row_and_one_fetch(engine):
    """Pain 13: also when each copy comes after the one before has been worked off."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    copy = engine.heard[0]
    before = len(engine.calls)
    for _ in range(3):
        assert await engine.deliver(copy) == [200]
        await engine.pass_by(seconds=62)
    assert len(await engine.rows(webhook_events)) == 1
    assert engine.asked(before) == {DETAIL: 1}
    assert (await row_of(engine, spec.id)).sync_status == "synced"


async def test_after_one_comparison_what_lost_events_would_have_told_is_here(engine):
    """Pain 14: every tenth event is dropped for good."""
    world, dice = engine.world, random.Random(3)
    specs = [world.record(engine.athlete, minutes=10, manual=True) for _ in range(30)]
    for spec in dice.sample(specs, 20):
        world.rename(spec.id, f"Renamed {spec.id}")
    for spec in dice.sample(specs, 8):
        world.delete(spec.id)
    announced = len(engine.heard)
    engine.heard[:] = [event for event in engine.heard if dice.random() > 0.1]
    assert len(engine.heard) < announced
    await engine.hear()
    await engine.work()
    engine.clock.advance(minutes=1)
    await engine.compare(engine.athlete)
    assert await held(engine) == await truth(engine)


async def test_an_activity_that_is_deleted_before_anybody_worked_is_gone_without_a_call(engine):
    """Pain 15, trap 3: create and delete in one batch."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    engine.world.delete(spec.id)
    before = len(engine.calls)
    await engine.hear()
    await engine.work()
    assert engine.asked(before) == {}
    assert (await row_of(engine, spec.id)).sync_status == "deleted"
    assert {event.status for event in await engine.rows(webhook_events)} == {"completed"}
    assert await engine.rows(jobs) == []


async def test_deletes_of_what_we_never_held_cost_no_call(engine):
    """Trap 18: a batch of nothing but deletes."""
    deletes = [
        {
            "object_type": "activity",
            "object_id": 9_000_000_000 + number,
            "aspect_type": "delete",
            "owner_id": engine.athlete,
            "subscription_id": 120_475,
            "event_time": 1_790_000_000,
            "updates": {},
        }
        for number in range(40)
    ]
    before = len(engine.calls)
    assert await engine.deliver(*deletes) == [200] * 40
    await engine.work()
    assert engine.asked(before) == {}
    assert await held(engine) == {}
    assert await engine.rows(jobs) == []


async def test_five_updates_within_ten_seconds_are_seen_at_once_and_fetched_once(engine):
    """Pain 17."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.hear()
    await engine.work()
    await engine.pass_by(days=2)
    before = len(engine.calls)
    for number in range(5):
        engine.world.rename(spec.id, f"Title {number}")
        await engine.hear()
        assert (await row_of(engine, spec.id)).name == f"Title {number}"
        await engine.work()
        engine.clock.advance(seconds=2)
    for _ in range(10):
        await engine.pass_by(seconds=2)
    assert engine.asked(before)[DETAIL] == 1
    row = await row_of(engine, spec.id)
    assert (row.name, row.sync_status) == ("Title 4", "synced")


async def test_updates_that_never_end_are_fetched_all_the_same(engine):
    """Pain 17: whoever sends one every three seconds puts the truth off for half a minute, and no longer."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.hear()
    await engine.work()
    before = len(engine.calls)
    for number in range(12):
        engine.world.rename(spec.id, f"Title {number}")
        await engine.hear()
        await engine.pass_by(seconds=3)
    assert engine.asked(before)[DETAIL] >= 1


async def test_what_only_a_fetch_can_show_is_there_five_seconds_into_a_storm_that_costs_two(engine):
    """Pain 17: also of an activity that came just before."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.hear()
    await engine.work()
    await engine.pass_by(seconds=3)
    before, fetched = len(engine.calls), []
    for number in range(20):
        told = update_of(engine, spec.id, at=number, visibility="everyone")
        assert await engine.deliver(told) == [200]
        await engine.pass_by(seconds=1)
        fetched.append(engine.asked(before).get(DETAIL, 0))
    assert fetched[4] == 1
    await engine.pass_by(seconds=5)
    assert engine.asked(before)[DETAIL] == 2


def update_of(engine, activity_id: int, *, at: int, **updates: str) -> dict:
    return {
        "object_type": "activity",
        "object_id": activity_id,
        "aspect_type": "update",
        "owner_id": engine.athlete,
        "subscription_id": 120_475,
        "event_time": int(engine.clock.now().timestamp()) + at,
        "updates": updates,
    }


async def test_a_delete_does_not_wait_for_updates_to_settle(engine):
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.hear()
    await engine.work()
    engine.world.rename(spec.id, "Not for long")
    engine.world.delete(spec.id)
    await engine.hear()
    await engine.work()
    assert (await row_of(engine, spec.id)).sync_status == "deleted"


async def test_fifty_new_activities_cost_one_list_and_the_details_that_are_wanted(engine):
    """Pain 29: all rows are there after one call; of other sports than the wanted no detail is fetched."""
    await engine.app.athletes.keep_sports(engine.athlete, ["Ride"])
    before = len(engine.calls)
    sports = ["Ride", "Run", "Walk", "Run", "Swim"] * 10
    made = [
        engine.world.record(engine.athlete, sport, minutes=5 + n, manual=True)
        for n, sport in enumerate(sports)
    ]
    await engine.hear()
    await engine.work()
    assert engine.asked(before) == {LIST: 1, DETAIL: 10}
    rows = {row.id: row for row in await engine.rows(strava_activities)}
    assert {rows[spec.id].sync_status for spec in made} == {"synced"}
    assert {rows[spec.id].detail is not None for spec in made if spec.sport_type == "Ride"} == {True}
    assert {rows[spec.id].detail is None for spec in made if spec.sport_type != "Ride"} == {True}
    assert {row.status for row in await engine.rows(webhook_events)} == {"completed"}


async def test_fifty_new_activities_appear_after_the_first_call_and_none_is_fetched_twice(engine):
    """Pain 29."""
    before = len(engine.calls)
    for n in range(50):
        engine.world.record(engine.athlete, minutes=5 + n, manual=True)
    await engine.hear()
    await engine.work()
    assert engine.asked(before) == {LIST: 1, DETAIL: 50}


async def test_what_is_wanted_later_is_fetched_then(engine):
    await engine.app.athletes.keep_sports(engine.athlete, ["Ride"])
    made = [engine.world.record(engine.athlete, "Run", minutes=5 + n, manual=True) for n in range(8)]
    await engine.hear()
    await engine.work()
    before = len(engine.calls)
    await engine.app.athletes.keep_sports(engine.athlete, None)
    await engine.work()
    assert engine.asked(before) == {DETAIL: 8}
    assert {(await row_of(engine, spec.id)).detail is None for spec in made} == {False}


async def test_an_activity_whose_sport_is_not_wanted_keeps_its_detail_and_costs_no_streams(engine):
    """Pain 29: one event says nothing of the sport, so that rules come after the fetch."""
    await engine.app.athletes.keep_sports(engine.athlete, ["Ride"])
    before = len(engine.calls)
    spec = engine.world.record(engine.athlete, "Run", minutes=10)
    await engine.hear()
    await engine.work()
    assert engine.asked(before) == {DETAIL: 1}
    assert (await row_of(engine, spec.id)).sync_status == "synced"


async def test_a_workout_type_that_no_event_told_of_is_noticed_by_a_single_list_call(engine):
    """Pain 18: the quick look, and the fetch that it causes; and by hand, at once."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.hear()
    await engine.work()
    engine.clock.advance(days=2)
    await engine.work()
    engine.world.edit_silently(spec.id, workout_type=3)
    before = len(engine.calls)
    await engine.database.write(lambda c: enqueue_quick_look(c, engine))
    await engine.work()
    assert engine.asked(before) == {LIST: 1, DETAIL: 1}
    assert (await row_of(engine, spec.id)).workout_type == 3
    engine.world.edit_silently(spec.id, description="By hand")
    await engine.app.athletes.refresh_activity(spec.id)
    await engine.work()
    assert (await row_of(engine, spec.id)).description == "By hand"


def enqueue_quick_look(connection, engine) -> None:
    now = engine.clock.now()
    lifecycle.enqueue(connection, [reconciliation_job(engine.athlete, 30, full=False)], now)


async def test_a_delete_that_no_event_told_of_costs_one_call_more(engine):
    """Pain 52."""
    specs = [engine.world.record(engine.athlete, minutes=10, manual=True) for _ in range(25)]
    await engine.hear()
    await engine.work()
    engine.clock.advance(days=2)
    await engine.work()
    unchanged = await engine.compare(engine.athlete)
    engine.clock.advance(minutes=1)
    engine.world.delete(specs[4].id)
    assert await engine.compare(engine.athlete) - unchanged == {DETAIL: 1}
    assert (await row_of(engine, specs[4].id)).sync_status == "deleted"


async def test_hidden_and_shown_again_is_gone_and_back_and_the_trail_shows_both(engine):
    """Pain 23: without activity:read_all, hiding comes as a delete and showing as a create."""
    world = engine.world
    other = next(one for one in world.athletes if one != engine.athlete)
    await engine.connect(other, ("read", "activity:read"))
    await engine.work()  # its list would show what is recorded, before or after its event does
    spec = world.record(other, minutes=10, manual=True)
    await engine.hear()
    await engine.work()
    world.hide(spec.id)
    assert engine.heard[-1].aspect_type == "delete"
    await engine.hear()
    await engine.work()
    assert (await row_of(engine, spec.id)).sync_status == "deleted"
    engine.clock.advance(minutes=5)
    world.unhide(spec.id)
    await engine.hear()
    await engine.work()
    row = await row_of(engine, spec.id)
    assert (row.sync_status, row.deleted_at, row.name) == ("synced", None, spec.name)
    trail = await engine.rows(activity_changes, activity_id=spec.id, field="sync_status")
    assert [(one.old_value, one.new_value) for one in sorted(trail, key=lambda one: one.id)] == [
        ("null", '"synced"'),
        ('"pending"', '"deleted"'),  # since the event asked for it to be looked at
        ('"deleted"', '"synced"'),
    ]


async def test_an_unknown_owner_is_answered_200_causes_nothing_and_is_listed(engine):
    """Pain 28, trap 15."""
    stranger = {
        "object_type": "activity",
        "object_id": 5,
        "aspect_type": "create",
        "owner_id": 77,
        "subscription_id": 120_475,
        "event_time": 1_790_000_000,
        "updates": {},
    }
    before = len(engine.calls)
    assert await engine.deliver(stranger, stranger | {"object_id": 6}) == [200, 200]
    await engine.work()
    assert engine.asked(before) == {}
    assert await engine.rows(jobs) == []
    (unknown,) = (await engine.app.insights.status()).unknown_owners
    assert (unknown.owner_id, unknown.events) == (77, 2)


async def test_a_restart_keeps_the_subscription(engine):
    """Trap 16: whatever starts, Strava has the same subscription, and nobody else's is touched."""
    engine.world.subscribe(engine.app.settings.callback_url)
    kept = engine.world.subscription
    for _ in range(2):
        engine.app = engine.process()
        assert (await engine.app.subscription.ensure())[1] is False
        async with working(engine.app):
            pass
    assert engine.world.subscription is kept
    asked = [(call.method, call.path) for call in engine.calls if "push" in call.path]
    assert set(asked) == {("GET", "/push_subscriptions")}
