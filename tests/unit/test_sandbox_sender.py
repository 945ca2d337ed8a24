"""The sandbox delivers events as Strava does; and the demo's athletes act on their own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Any

import msgspec

from feedzone.sandbox import Application, Autopilot, Event, Sender, World


class Callback:
    """A callback that responds from a script, then 200; and a clock that advances when it sleeps."""

    def __init__(self, *script: int | Exception, secret: str | None = None) -> None:
        self.now = 1_795_000_000.0
        self.script = list(script)
        self.received: list[tuple[float, dict[str, Any], dict[str, str], bytes]] = []
        self.world = World(1, lambda: self.now, application=Application(signing_secret=secret))
        self.athlete = self.world.add_athlete(10)
        self.world.connect(self.athlete.id, ["read", "activity:read", "activity:read_all"])
        self.world.subscribe("http://callback/")
        self.sender = Sender(self.world, self, self.sleep)

    async def post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        self.received.append((self.now, msgspec.json.decode(body), headers, body))
        reply = self.script.pop(0) if self.script else 200
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def get(self, url: str, params: dict[str, str], timeout: float) -> tuple[int, str, bytes]:
        raise AssertionError("this test makes no handshake")

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def outcomes(self) -> list[str]:
        return [delivery.outcome for delivery in self.world.journal.deliveries]


async def test_an_event_arrives_once_with_exactly_the_documented_fields() -> None:
    callback = Callback()
    await callback.sender.start()
    spec = callback.world.record(callback.athlete.id)
    await callback.sender.drain()
    assert callback.world.subscription is not None
    assert [body for _, body, _, _ in callback.received] == [{
        "object_type": "activity", "object_id": spec.id, "aspect_type": "create",
        "owner_id": callback.athlete.id, "subscription_id": callback.world.subscription.id,
        "event_time": 1_795_000_000, "updates": {},
    }]  # fmt: skip
    assert callback.outcomes == ["delivered"]


async def test_three_attempts_about_a_minute_apart_and_then_the_event_is_lost() -> None:
    callback = Callback(500, TimeoutError(), 404)
    await callback.sender.start()
    callback.world.record(callback.athlete.id)
    await callback.sender.drain()
    assert [at - callback.received[0][0] for at, _, _, _ in callback.received] == [0, 65, 130]
    assert callback.outcomes == ["failed", "failed", "given_up"]


async def test_a_signing_secret_signs_the_raw_body() -> None:
    callback = Callback(secret="shh")
    await callback.sender.start()
    callback.world.record(callback.athlete.id)
    await callback.sender.drain()
    _, _, headers, body = callback.received[0]
    digest = hmac.new(b"shh", b"1795000000." + body, hashlib.sha256).hexdigest()
    assert headers["x-strava-signature"] == f"t=1795000000,v1={digest}"


async def test_events_wait_until_the_sender_starts_and_stopping_twice_is_harmless() -> None:
    callback = Callback()
    await callback.sender.stop()
    await callback.sender.start()
    await callback.sender.stop()
    callback.world.record(callback.athlete.id)
    assert callback.sender.pending == 1
    await callback.sender.start()
    await callback.sender.drain()
    await callback.sender.stop()
    await callback.sender.stop()
    assert callback.outcomes == ["delivered"]


async def test_events_can_be_dropped_duplicated_and_forged() -> None:
    callback = Callback()
    await callback.sender.start()
    callback.world.faults.change({"event_drop": 1.0})
    callback.world.record(callback.athlete.id)
    callback.world.faults.change({"event_drop": 0.0, "event_duplicate": 1.0})
    callback.world.emit(Event("activity", 1, "delete", callback.athlete.id, 5))
    await callback.sender.drain()
    assert [body["aspect_type"] for _, body, _, _ in callback.received] == ["delete", "delete"]
    assert sorted(callback.outcomes) == ["delivered", "delivered", "dropped"]


async def test_a_slow_callback_delays_no_other_event() -> None:
    callback, gate = Callback(), asyncio.Event()
    arrived: list[int] = []

    async def post(url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        arrived.append(msgspec.json.decode(body)["object_id"])
        if len(arrived) == 1:
            await gate.wait()
        elif len(arrived) == 3:
            gate.set()
        return 200

    callback.post = post  # type: ignore[method-assign]
    await callback.sender.start()
    for _ in range(3):
        callback.world.record(callback.athlete.id)
    await callback.sender.drain()
    assert len(set(arrived)) == 3


async def test_athletes_act_the_same_way_for_the_same_seed() -> None:
    def run_two_hours() -> list[str]:
        callback = Callback()
        autopilot = Autopilot(callback.world, per_hour=60)
        done = autopilot.step(callback.now)
        for _ in range(120):
            callback.now += 60
            done += autopilot.step(callback.now)
        return done

    actions = run_two_hours()
    assert actions == run_two_hours()
    assert 60 < len(actions) < 200
    assert {line.split()[1] for line in actions} >= {"upload", "rename", "hide", "delete"}


async def test_athletes_who_are_not_connected_do_not_act() -> None:
    callback = Callback()
    callback.world.deauthorize(callback.athlete.id)
    autopilot = Autopilot(callback.world, per_hour=1000)
    autopilot.step(callback.now)
    assert autopilot.step(callback.now + 3600) == []
