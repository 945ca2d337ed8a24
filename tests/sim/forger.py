"""An attacker who knows the webhook's address and sends events that Strava never sent."""

from __future__ import annotations

import asyncio
import random

import msgspec

from feedzone.sandbox import World

from .ledger import Ledger
from .life import DAY_S
from .network import ProcessWire, identity
from .scenario import Scenario
from .trace import Trace

KINDS = {
    "delete": 3,
    "deauthorization": 3,
    "update": 1,
    "unknown owner": 1,
    "wrong subscription": 1,
    "wrong owner": 1,
    "create": 1,
}


class Forger:
    """Sends one forged event at a time."""

    def __init__(self, world: World, wire: ProcessWire, ledger: Ledger, trace: Trace) -> None:
        self._world = world
        self._wire = wire
        self._ledger = ledger
        self._trace = trace
        self._rng = random.Random(f"{world.seed}:forger")

    async def send_one(self) -> None:
        kind = self._rng.choices(list(KINDS), list(KINDS.values()))[0]
        body = self._forge(kind, sorted(self._world.grants.live))
        if body is not None:
            await self._send(kind, body)

    async def flood(self, scenario: Scenario) -> None:
        """Send many events about one athlete in a day: half of them at once, the others one by one."""
        rng = self._rng
        await asyncio.sleep(rng.uniform(0.02, 0.1) * DAY_S)
        athlete = self._ledger.attacked = rng.choice(sorted(self._world.grants.live))
        at_once, rest = scenario.flood - scenario.flood // 2, scenario.flood // 2
        pauses = [0.0] * at_once + [rng.expovariate(rest / (0.8 * DAY_S)) for _ in range(rest)]
        for pause in pauses:
            await asyncio.sleep(pause)
            kind = rng.choice(scenario.flood_kinds)
            body = self._forge(kind, [athlete])
            if body is not None:
                await self._send(kind, body)

    async def _send(self, kind: str, body: dict[str, object]) -> None:
        if self._world.subscription is None:
            return
        raw = msgspec.json.encode(body)
        self._ledger.forged[identity(raw)] = kind
        self._trace.note("forged", f"{kind} {body['object_type']} {body['object_id']}")
        try:
            await self._wire.post(
                self._world.subscription.callback_url, raw, {"content-type": "application/json"}, 5.0
            )
        except Exception:
            self._trace.note("forged", "was not accepted")

    def _forge(self, kind: str, connected: list[int]) -> dict[str, object] | None:
        """Return an event about one of these connected athletes."""
        rng, world = self._rng, self._world
        if not connected or world.subscription is None:
            return None
        owner = rng.choice(connected)
        activities = world.visible(owner, world.grants.live[owner].reads_private)
        if not activities:
            return None
        body: dict[str, object] = {
            "object_type": "activity",
            "object_id": rng.choice(activities[-20:]).id,
            "aspect_type": "delete",
            "owner_id": owner,
            "subscription_id": world.subscription.id,
            "event_time": int(world.clock()),
            "updates": {},
        }
        match kind:
            case "deauthorization":
                body |= {"object_type": "athlete", "object_id": owner, "aspect_type": "update"}
                body["updates"] = {"authorized": "false"}
            case "update":
                body |= {"aspect_type": "update", "updates": {"title": "forged", "private": "true"}}
            case "unknown owner":
                body["owner_id"] = 666
            case "wrong subscription":
                body["subscription_id"] = 1
            case "wrong owner":
                body["owner_id"] = rng.choice(connected)
            case "create":
                body |= {"aspect_type": "create", "object_id": rng.randrange(2**33, 2**34)}
        return body
