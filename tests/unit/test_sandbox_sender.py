"""Events reach the callback as Strava sends them; and the demo's athletes keep it busy."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Any

import msgspec

from feedzone.sandbox import Application, Event, Life, Sender, World


class Callback:
    """A callback that answers from a script, then 200; and a clock that sleeping moves."""

    def __init__(self, *script: int | Exception, secret: str | None = None) -> None:
        self.now = 1_795_000_000.0
        self.script = list(script)
        self.got: list[tuple[float, dict[str, Any], dict[str, str], bytes]] = []
        self.world = World(1, lambda: self.now, application=Application(signing_secret=secret))
        self.athlete = self.world.add_athlete(10)
        self.world.connect(self.athlete.id, ["read", "activity:read", "activity:read_all"])
        self.world.subscribe("http://callback/")
        self.sender = Sender(self.world, self, self.sleep)

    async def post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        self.got.append((self.now, msgspec.json.decode(body), headers, body))
        reply = self.script.pop(0) if self.script else 200
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def get(self, url: str, params: dict[str, str], timeout: float) -> tuple[int, str, bytes]:
        raise AssertionError("no handshake here")

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def outcomes(self) -> list[str]:
        return [delivery.outcome for delivery in self.world.journal.deliveries]


async def test_an_event_arrives_once_with_exactly_the_documented_fields() -> None:
    there = Callback()
    await there.sender.start()
    spec = there.world.record(there.athlete.id)
    await there.sender.drain()
    assert there.world.subscription is not None
    assert [body for _, body, _, _ in there.got] == [{
        "object_type": "activity", "object_id": spec.id, "aspect_type": "create",
        "owner_id": there.athlete.id, "subscription_id": there.world.subscription.id,
        "event_time": 1_795_000_000, "updates": {},
    }]  # fmt: skip
    assert there.outcomes == ["delivered"]


async def test_three_attempts_about_a_minute_apart_and_then_the_event_is_lost() -> None:
    there = Callback(500, TimeoutError(), 404)
    await there.sender.start()
    there.world.record(there.athlete.id)
    await there.sender.drain()
    assert [at - there.got[0][0] for at, _, _, _ in there.got] == [0, 65, 130]
    assert there.outcomes == ["failed", "failed", "given_up"]


async def test_a_signing_secret_signs_the_raw_body() -> None:
    there = Callback(secret="shh")
    await there.sender.start()
    there.world.record(there.athlete.id)
    await there.sender.drain()
    _, _, headers, body = there.got[0]
    digest = hmac.new(b"shh", b"1795000000." + body, hashlib.sha256).hexdigest()
    assert headers["x-strava-signature"] == f"t=1795000000,v1={digest}"


async def test_events_wait_for_the_sender_and_stopping_twice_is_harmless() -> None:
    there = Callback()
    await there.sender.stop()
    await there.sender.start()
    await there.sender.stop()
    there.world.record(there.athlete.id)
    assert there.sender.pending == 1
    await there.sender.start()
    await there.sender.drain()
    await there.sender.stop()
    await there.sender.stop()
    assert there.outcomes == ["delivered"]


async def test_events_can_be_dropped_doubled_and_forged() -> None:
    there = Callback()
    await there.sender.start()
    there.world.faults.change({"event_drop": 1.0})
    there.world.record(there.athlete.id)
    there.world.faults.change({"event_drop": 0.0, "event_duplicate": 1.0})
    there.world.emit(Event("activity", 1, "delete", there.athlete.id, 5))
    await there.sender.drain()
    assert [body["aspect_type"] for _, body, _, _ in there.got] == ["delete", "delete"]
    assert sorted(there.outcomes) == ["delivered", "delivered", "dropped"]


async def test_a_slow_callback_holds_up_no_other_event() -> None:
    there, gate = Callback(), asyncio.Event()
    arrived: list[int] = []

    async def post(url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        arrived.append(msgspec.json.decode(body)["object_id"])
        if len(arrived) == 1:
            await gate.wait()
        elif len(arrived) == 3:
            gate.set()
        return 200

    there.post = post  # type: ignore[method-assign]
    await there.sender.start()
    for _ in range(3):
        there.world.record(there.athlete.id)
    await there.sender.drain()
    assert len(set(arrived)) == 3


async def test_life_makes_the_same_things_happen_for_the_same_seed() -> None:
    def lived() -> list[str]:
        there = Callback()
        life = Life(there.world, per_hour=60)
        done = life.step(there.now)
        for _ in range(120):
            there.now += 60
            done += life.step(there.now)
        return done

    done = lived()
    assert done == lived()
    assert 60 < len(done) < 200
    assert {line.split()[1] for line in done} >= {"upload", "rename", "hide", "delete"}


async def test_nothing_happens_while_nobody_is_connected() -> None:
    there = Callback()
    there.world.deauthorize(there.athlete.id)
    life = Life(there.world, per_hour=1000)
    life.step(there.now)
    assert life.step(there.now + 3600) == []
