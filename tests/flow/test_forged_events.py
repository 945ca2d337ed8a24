"""What somebody can do who knows the webhook's address: nothing that costs much or hurts others."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from engine import LIST, ManualEngine, make_engine

from feedzone import sandbox
from feedzone.domain.fruitless import size_of
from feedzone.sandbox import Limits
from feedzone.serve import webhook_of
from feedzone.settings import Settings
from feedzone.store.schema.tables import strava_activities, unknown_owners, webhook_events

JSON = {"Content-Type": "application/json"}
LIMITS = Limits(200, 2000, 100, 1000)
"""Strava's limits for a new application."""

UNKNOWN = 77


@pytest.fixture
async def engine(sqlite_database, clock, tmp_path) -> ManualEngine:
    made, (attacked, other) = make_engine(sqlite_database, clock, tmp_path, limits=LIMITS, athletes=2)
    for athlete in (attacked, other):
        await made.connect(athlete)
    await made.work()
    made.attacked, made.other = attacked, other
    return made


class Door:
    """The webhook with a client's address."""

    def __init__(self, engine: ManualEngine) -> None:
        self.engine = engine
        self._webhook = webhook_of(engine.app)
        self.path = engine.app.settings.webhook_path

    async def post(self, body: object, address: str = "192.0.2.1"):
        async def called(scope, receive, send) -> None:
            await self._webhook({**scope, "client": (address, 1234)}, receive, send)

        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await sandbox.request(called, "POST", self.path, raw, JSON)

    async def get(self, query: str, address: str = "192.0.2.1"):
        async def called(scope, receive, send) -> None:
            await self._webhook({**scope, "client": (address, 1234)}, receive, send)

        return await sandbox.request(called, "GET", f"{self.path}?{query}", b"", {})


@pytest.fixture
def door(engine) -> Door:
    return Door(engine)


def forged(engine, owner: int, number: int = 1, **changes: object) -> dict[str, object]:
    return {
        "object_type": "activity",
        "object_id": 9_000_000_000 + number,
        "aspect_type": "create",
        "owner_id": owner,
        "subscription_id": 120_475,
        "event_time": int(engine.clock.now().timestamp()),
        "updates": {},
    } | changes


# The door


@pytest.mark.parametrize(
    "junk", [b"{", b"[]", b"\xff", b'{"object_type": 5}', b'{"a":' * 975 + b"1" + b"}" * 975]
)
async def test_a_flood_of_junk_is_answered_429_and_events_of_athletes_are_still_taken(engine, door, junk):
    answers = [await door.post(junk) for _ in range(62)]
    assert [answer.status for answer in answers] == [400] * 60 + [429] * 2
    assert 0 < int(answers[-1].headers["retry-after"]) <= 61
    assert (await door.post(junk, address="192.0.2.2")).status == 400
    assert (await door.post(forged(engine, engine.attacked))).status == 200
    engine.clock.advance(seconds=61)
    assert (await door.post(junk)).status == 400


async def test_a_flood_of_wrong_handshakes_is_answered_429_and_the_right_one_still_works(engine, door):
    wrong = "hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=x"
    assert [(await door.get(wrong)).status for _ in range(61)] == [403] * 60 + [429]
    right = f"hub.mode=subscribe&hub.verify_token={engine.app.settings.verify_token}&hub.challenge=x"
    assert (await door.get(right)).json == {"hub.challenge": "x"}


async def test_a_flood_of_unknown_athletes_is_counted_and_then_refused(engine, door):
    statuses = Counter([(await door.post(forged(engine, UNKNOWN, number))).status for number in range(610)])
    assert statuses == {200: 600, 429: 10}
    assert await engine.rows(webhook_events) == []
    (counted,) = await engine.rows(unknown_owners)
    assert (counted.athlete_id, counted.events) == (UNKNOWN, 600)
    # The same address may be a proxy through which Strava delivers.
    assert (await door.post(forged(engine, engine.attacked))).status == 200
    assert len(await engine.rows(webhook_events)) == 1


async def test_every_event_that_is_taken_gets_the_same_answer(engine, door):
    engine.world.subscribe(engine.app.settings.callback_url)
    await engine.app.subscription.ensure()
    own = engine.world.subscription.id
    events = [
        forged(engine, engine.attacked, subscription_id=own),
        forged(engine, engine.attacked, subscription_id=own),  # a copy
        forged(engine, engine.attacked, 2, subscription_id=own + 1),
        forged(engine, UNKNOWN, 3, subscription_id=own),
        forged(engine, UNKNOWN, 4, subscription_id=own + 1),
        forged(engine, engine.attacked, 5, subscription_id=own, object_type="gear"),
        forged(engine, engine.attacked, 6, subscription_id=own, aspect_type="archive"),
        forged(engine, engine.attacked, subscription_id=own, object_type="athlete", aspect_type="update"),
    ]
    answers = [await door.post(event) for event in events]
    assert {(answer.status, answer.body) for answer in answers} == {(200, b'{"status":"accepted"}')}
    assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1


async def test_an_athlete_who_connects_is_known_at_once(engine, door):
    for number in range(601):
        await door.post(forged(engine, UNKNOWN, number))
    assert (await door.post(forged(engine, UNKNOWN))).status == 429
    third = engine.world.add_athlete(history_days=0).id
    assert (await door.post(forged(engine, third))).status == 429
    await engine.connect(third)
    assert (await door.post(forged(engine, third))).status == 200


def test_the_limits_are_settings():
    settings = Settings(
        _env_file=None, webhook_junk_limit=1, webhook_unknown_limit=2, webhook_athlete_limit=3
    )
    assert (
        settings.webhook_junk_limit, settings.webhook_unknown_limit, settings.webhook_athlete_limit
    ) == (1, 2, 3)  # fmt: skip


# What events cost


async def spend_a_day(engine, door, posts: list[dict[str, object]]) -> int:
    """Post the events at once, let a day pass, and return the calls."""
    before = len(engine.calls)
    for post in posts:
        assert (await door.post(post)).status == 200
    for minutes in [0.1] * 20 + [1] * 30 + [10] * 140:
        await engine.advance_and_work(minutes=minutes)
    return len(engine.calls) - before


async def test_invented_activities_cost_few_calls_and_others_are_not_delayed(engine, door):
    before = len(engine.calls)
    for number in range(300):
        await door.post(forged(engine, engine.attacked, number))
        if number % 10 == 0:
            await engine.work()
    spec = engine.world.record(engine.other, minutes=10, manual=True)
    await engine.deliver_announced()
    await engine.work()
    (row,) = await engine.rows(strava_activities, id=spec.id)
    assert row.sync_status == "synced"
    assert len(engine.calls) - before <= size_of(1000) + 15
    assert await spend_a_day(engine, door, []) <= 100
    assert {event.status for event in await engine.rows(webhook_events)} == {"completed"}


async def test_an_upload_of_the_attacked_athlete_is_stored_by_the_next_list(engine, door):
    for number in range(60):
        await door.post(forged(engine, engine.attacked, number))
    await engine.work()
    spec = engine.world.record(engine.attacked, minutes=10, manual=True)
    await engine.deliver_announced()
    for _ in range(40):
        await engine.advance_and_work(minutes=1)
    (row,) = await engine.rows(strava_activities, id=spec.id)
    assert row.sync_status == "synced"


@pytest.mark.parametrize("kind", ["update", "delete", "deauthorization"])
async def test_forged_claims_about_stored_data_cost_few_calls(engine, door, kind):
    specs = [engine.world.record(engine.attacked, minutes=10, manual=True) for _ in range(30)]
    await engine.deliver_announced()
    await engine.advance_and_work(days=2)
    now = int(engine.clock.now().timestamp())
    posts = []
    for number in range(300):
        spec = specs[number % len(specs)]
        changes: dict[str, object] = {"object_id": spec.id, "event_time": now + number, "aspect_type": kind}
        if kind == "update":
            changes["updates"] = {"visibility": "everyone"}
        if kind == "deauthorization":
            changes |= {"object_type": "athlete", "object_id": engine.attacked, "aspect_type": "update"}
            changes["updates"] = {"authorized": "false"}
        posts.append(forged(engine, engine.attacked, **changes))
    lists = engine.requests()[LIST]
    calls = await spend_a_day(engine, door, posts)
    assert calls - (engine.requests()[LIST] - lists) <= 100
    assert {row.sync_status for row in await engine.rows(strava_activities)} <= {"synced", "pending"}


async def test_a_create_that_arrives_after_its_newer_delete_ends_at_once(engine, door):
    now = int(engine.clock.now().timestamp())
    await door.post(forged(engine, engine.attacked, aspect_type="delete", event_time=now))
    await engine.work()
    before = len(engine.calls)
    await door.post(forged(engine, engine.attacked, event_time=now - 10))
    await engine.work()
    assert len(engine.calls) - before == 1
    await engine.advance_and_work(minutes=4)  # the second look at the deleted activity
    assert {event.status for event in await engine.rows(webhook_events)} == {"completed"}
