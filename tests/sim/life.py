"""The actions of athletes on Strava and of the operator: connecting, training, editing, disconnecting."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

from feedzone.domain.event import DEBOUNCE
from feedzone.errors import FeedzoneError
from feedzone.sandbox import World

from .ledger import Ledger
from .process import EngineProcess, ProcessDied
from .scenario import NOTHING, PUBLIC, READS, Scenario
from .trace import Trace

HOUR_S = 3600.0
DAY_S = 86_400.0
RECENT = 14
"""Athletes act on this number of their newest activities."""
FRESH_S = 18 * HOUR_S
"""Rechecks cover activities this long. Only they find new descriptions, which no event or list shows."""

SHOWN_AGAIN = 0.4
"""The probability that an athlete later shows a hidden activity again."""

DELETED_AT_ONCE = 0.1
"""The probability that an athlete deletes an upload within seconds."""

NAMES = ("Coffee ride", "Not raining, yet", "Recovery, allegedly", "New loop", "With the dog", "Hill repeats")
WORDS = ("Legs like lead.", "Negative split ☀️", "Headwind both ways.", None, "Coffee after, twice.")
SPORTS = ("Ride", "GravelRide", "Run", "TrailRun", "Walk", "Hike", "WeightTraining")
ACTS = {
    "upload": 30,
    "late": 5,
    "manual": 5,
    "rename": 16,
    "retype": 6,
    "hide": 8,
    "show": 8,
    "describe": 8,
    "regear": 5,
    "race": 4,
    "alter": 8,
    "gear": 2,
}
"""The athletes' actions with their weights. A scenario adds the weight of `delete`."""


class Life:
    """The actions of all athletes and the operator.

    Once `over` is set, no new action begins; those under way end.
    """

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        processes: list[EngineProcess],
        ledger: Ledger,
        trace: Trace,
    ) -> None:
        self._world = world
        self._scenario = scenario
        self._processes = processes
        self._acts = ACTS | {"delete": scenario.deletions}
        self._ledger = ledger
        self._trace = trace
        self._rng = random.Random(f"{world.seed}:life")
        self.over = False
        self._busy: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- connecting -----------------------------------------------------------------------------------------

    async def connect_all(self) -> None:
        """Connect every athlete; the first one grants all scopes."""
        for number, athlete_id in enumerate(sorted(self._world.athletes)):
            scopes = (
                READS
                if number == 0
                else self._rng.choices((READS, PUBLIC, NOTHING), self._scenario.scopes)[0]
            )
            await self.connect(athlete_id, scopes)

    async def connect(self, athlete_id: int, scopes: tuple[str, ...]) -> None:
        """Consent at Strava and come back to feedzone, again and again until it works."""
        if athlete_id in self._busy:
            return
        self._busy.add(athlete_id)
        while not await self._try_to_connect(athlete_id, scopes):
            await asyncio.sleep(600)
        self._busy.discard(athlete_id)

    async def _try_to_connect(self, athlete_id: int, scopes: tuple[str, ...]) -> bool:
        world, process = self._world, self._rng.choice(self._processes)
        code = world.grants.authorize(athlete_id, frozenset(scopes), world.clock())
        self._trace.note("life", f"{athlete_id} connects: {','.join(scopes)}")

        async def exchange() -> Any:
            assert process.app is not None
            return await process.app.athletes.connect(code, ",".join(scopes))

        try:
            await process.do(exchange)
        except (FeedzoneError, ProcessDied) as problem:
            self._trace.note("life", f"{athlete_id} is not connected: {type(problem).__name__}")
            # Strava may have carried out the exchange, which ended the stored pair.
            self._ledger.lost_pairs[athlete_id] = world.clock()
            return False
        finally:
            if athlete_id in world.grants.live:
                self._ledger.deauthorized.pop(athlete_id, None)
        return True

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- actions --------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Let athletes act at random times until `over` is set."""
        scenario, rng = self._scenario, self._rng
        athletes = sorted(self._world.athletes)
        acts = scenario.acts_a_day * len(athletes)
        departures = scenario.departures_a_day * len(athletes)
        if scenario.simultaneous_refreshes:
            for athlete_id in athletes:
                self._spawn(self._edit_at_refreshes(athlete_id))
        while True:
            await asyncio.sleep(rng.expovariate((acts + departures) / DAY_S))
            if self.over:
                return
            athlete_id = rng.choice(athletes)
            if rng.random() < departures / (acts + departures):
                await self._leave(athlete_id)
            elif athlete_id in self._world.grants.live:
                self._act(athlete_id)

    def _act(self, athlete_id: int) -> None:
        act = self._rng.choices(list(self._acts), list(self._acts.values()))[0]
        if act == "gear":
            self._change_gear(athlete_id)
            return
        recent = self._world.visible(athlete_id, private_too=True)[-RECENT:]
        shown = [spec for spec in recent if not spec.private]
        hidden = [spec for spec in recent if spec.private]
        if act == "hide" and shown:
            done = self._world.hide(self._touch(self._rng.choice(shown).id))
            if self._rng.random() < SHOWN_AGAIN:
                self._spawn(self._show_again(done.id))
        elif act == "show" and hidden:
            done = self._world.unhide(self._rng.choice(hidden).id)
        elif act == "delete" and len(recent) > 1:
            done = self._world.delete(self._touch(self._rng.choice(recent).id))
        elif act in ("rename", "retype", "describe", "regear", "race", "alter") and recent:
            done = self._edit(act, recent)
            if self._rng.random() < self._scenario.together:
                for _ in range(3):
                    self._edit("rename", recent)
        else:
            done = self._upload(athlete_id, act)
            if self._rng.random() < DELETED_AT_ONCE:
                self._spawn(self._delete_at_once(done.id))
        self._trace.note("life", f"{athlete_id} {act} {done.id if done else '-'}")
        if done and not done.deleted and self._rng.random() < self._scenario.bursts:
            self._spawn(self._edit_on(done.id))

    def _change_gear(self, athlete_id: int) -> None:
        """Add, retire or delete gear. No event announces it: only the profile shows it."""
        rng, world = self._rng, self._world
        owned = [gear.id for gear in world.athletes[athlete_id].gear if not gear.deleted]
        if len(owned) < 2 or rng.random() < 0.4:
            done = world.add_gear(athlete_id, rng.choice(("bike", "shoe")), rng.choice(NAMES)).id
        else:
            done = rng.choice(owned)
            world.retire_gear(athlete_id, done, delete=rng.random() < 0.5)
        self._trace.note("life", f"{athlete_id} gear {done}")

    async def _edit_at_refreshes(self, athlete_id: int) -> None:
        """Edit several activities whenever the token must be refreshed, so that all processes refresh it."""
        world = self._world
        while not self.over:
            grant = world.grants.live.get(athlete_id)
            left = grant.expires_at - world.clock() if grant else HOUR_S
            await asyncio.sleep(max(600.0, left - 0.9 * HOUR_S))
            activities = [
                spec
                for spec in world.activities.values()
                if spec.athlete_id == athlete_id and not spec.deleted
            ]
            if not self.over and athlete_id in world.grants.live:
                for spec in activities[-4:]:
                    self._edit("rename", [spec])
                # Processes poll rarely in the simulation, because polls cost time: wake them here.
                await asyncio.sleep(1.0)
                for process in self._processes:
                    process.notify()

    async def _edit_on(self, activity_id: int) -> None:
        """Edit more within seconds: within the debounce, or just when the engine fetches the first edit."""
        for _ in range(self._rng.randrange(1, 4)):
            pause = self._rng.choice((0.0, DEBOUNCE.total_seconds()))
            await asyncio.sleep(pause + self._rng.uniform(0.05, 1.2))
            spec = self._world.activities[activity_id]
            if spec.deleted:
                return
            self._edit(self._rng.choice(("rename", "rename", "retype")), [spec])
            self._trace.note("life", f"{spec.athlete_id} edits on {activity_id}")

    async def _show_again(self, activity_id: int) -> None:
        await asyncio.sleep(self._rng.uniform(0.01, 2) * HOUR_S)
        if not self.over and not self._world.activities[activity_id].deleted:
            self._world.unhide(activity_id)
            self._trace.note("life", f"{activity_id} is shown again")

    async def _delete_at_once(self, activity_id: int) -> None:
        await asyncio.sleep(self._rng.uniform(0.05, 15))
        if not self._world.activities[activity_id].deleted:
            self._world.delete(self._touch(activity_id))
            self._trace.note("life", f"{activity_id} is deleted at once")

    def _touch(self, activity_id: int) -> int:
        self._ledger.touched.add(activity_id)
        return activity_id

    def _upload(self, athlete_id: int, act: str) -> Any:
        rng, now = self._rng, self._world.clock()
        start = now - rng.uniform(1, 5) * DAY_S if act == "late" else None
        return self._world.record(
            athlete_id,
            rng.choice(SPORTS),
            round(rng.uniform(12, 90)),
            start=start,
            manual=act == "manual",
            description=rng.choice(WORDS),
            visibility=rng.choices(("everyone", "followers_only", "only_me"), (80, 10, 10))[0],
        )

    def _edit(self, act: str, recent: list[Any]) -> Any:
        rng, world, spec = self._rng, self._world, self._rng.choice(recent)
        if act == "rename":
            return world.rename(spec.id, f"{rng.choice(NAMES)} {rng.randrange(100)}")
        if act == "retype":
            return world.change_type(spec.id, rng.choice(SPORTS))
        if act == "regear":
            gear = [gear.id for gear in world.athletes[spec.athlete_id].gear]
            return world.edit_silently(spec.id, gear_id=rng.choice([None, *gear]))
        if act == "alter":
            return self._alter(spec)
        if act == "race":
            return world.edit_silently(spec.id, workout_type=rng.choice((None, 1, 2, 3)))
        now = world.clock()
        fresh = [s for s in recent if min(s.start, s.created_at) > now - FRESH_S + DAY_S / 4]
        if not fresh:
            return None
        return world.edit_silently(rng.choice(fresh).id, description=rng.choice(WORDS))

    def _alter(self, spec: Any) -> Any:
        """Correct the elevation, crop, remove a channel, or hide or show the map: no event announces it."""
        rng = self._rng
        changes = (
            {"climb": rng.choice((0.5, 1.2))},
            {"minutes": max(2, spec.elapsed // 60 - 3)},
            {"lost": [rng.choice(("heartrate", "temp", "cadence"))]},
            {"map_hidden": not spec.map_hidden},
        )
        return self._world.alter(spec.id, **rng.choice(changes))

    # -- disconnecting --------------------------------------------------------------------------------------

    async def _leave(self, athlete_id: int) -> None:
        if athlete_id not in self._world.grants.live or athlete_id in self._busy:
            return
        scopes = tuple(sorted(self._world.grants.live[athlete_id].scopes))
        self._ledger.ever_left.add(athlete_id)
        if self._rng.random() < 0.7:
            self._world.deauthorize(athlete_id)
            self._ledger.deauthorized[athlete_id] = self._world.clock()
            self._trace.note("life", f"{athlete_id} deauthorizes")
        else:
            self._spawn(self._disconnect(athlete_id))
        if self._rng.random() < 0.6:
            self._spawn(self._come_back(athlete_id, self._rng.choice((scopes, READS, PUBLIC))))

    async def _disconnect(self, athlete_id: int) -> None:
        """The operator disconnects the athlete. The engine revokes the grant at Strava a little later."""
        self._busy.add(athlete_id)
        process = self._rng.choice(self._processes)

        async def remove() -> None:
            assert process.app is not None
            await process.app.athletes.disconnect(athlete_id)

        try:
            await process.do(remove)
        except (FeedzoneError, ProcessDied) as problem:
            self._trace.note("life", f"{athlete_id} is not disconnected: {type(problem).__name__}")
        else:
            self._trace.note("life", f"{athlete_id} is disconnected by the operator")
            self._ledger.removed.add(athlete_id)
        finally:
            self._busy.discard(athlete_id)

    def during_refresh(self, athlete_id: int) -> None:
        """Disconnect the athlete at the worst moment: Strava is about to issue a new pair."""
        rate = self._scenario.removals_in_refresh
        if self.over or athlete_id in self._busy or not rate or self._rng.random() >= rate:
            return
        self._ledger.ever_left.add(athlete_id)
        self._spawn(self._disconnect(athlete_id))
        if self._rng.random() < 0.5:
            self._spawn(self._come_back(athlete_id, READS))

    async def _come_back(self, athlete_id: int, scopes: tuple[str, ...]) -> None:
        await asyncio.sleep(self._rng.uniform(0.05, 12) * HOUR_S)
        if not self.over:
            self._ledger.removed.discard(athlete_id)
            await self.connect(athlete_id, scopes)

    async def settle_conflicts(self, conflicts: list[str]) -> None:
        """Confirm the mass deletions, as an operator who finds that they are real."""
        for conflict in conflicts:
            process = self._rng.choice(self._processes)

            async def accept(process: EngineProcess = process, conflict: str = conflict) -> None:
                assert process.app is not None
                await process.app.reconciliation.resolve(conflict, accept=True)

            self._trace.note("life", f"the operator accepts {conflict}")
            with contextlib.suppress(FeedzoneError, ProcessDied):  # the next round tries again
                await process.do(accept)

    async def reconnect(self, disconnected: list[int]) -> None:
        """Let athletes who lost access against their will connect again, as the operator asks them to."""
        for athlete_id in disconnected:
            grant = self._world.grants.live.get(athlete_id)
            if grant is not None and athlete_id not in self._ledger.removed:
                await self.connect(athlete_id, tuple(sorted(grant.scopes)))
