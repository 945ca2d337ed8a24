"""What athletes do on Strava, and what the operator does for them: connect, and help who has lost access."""

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
FRESH_S = 18 * HOUR_S
"""Descriptions change without an event and stand in no list: only re-reads of fresh activities see them."""

REGRETS = 0.4
"""How often what was hidden is shown again some time later."""

MISTAKES = 0.1
"""How often an upload is deleted within seconds."""

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
    "shop": 2,
}


class Life:
    """Everybody's life. `over` ends it: nobody does anything new, what has begun is finished."""

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

    async def everybody_connects(self) -> None:
        for number, athlete_id in enumerate(sorted(self._world.athletes)):
            scopes = (
                READS
                if number == 0
                else self._rng.choices((READS, PUBLIC, NOTHING), self._scenario.scopes)[0]
            )
            await self.connect(athlete_id, scopes)

    async def connect(self, athlete_id: int, scopes: tuple[str, ...]) -> None:
        """Consent, and tries again until it has worked, as people do."""
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
            # Strava may have carried it out and ended the pair that we hold.
            self._ledger.lost_pairs[athlete_id] = world.clock()
            return False
        finally:
            if athlete_id in world.grants.live:
                self._ledger.left.pop(athlete_id, None)
        return True

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- living ---------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Athletes act at random times until life is over."""
        scenario, rng = self._scenario, self._rng
        people = sorted(self._world.athletes)
        acts, partings = scenario.acts_a_day * len(people), scenario.departures_a_day * len(people)
        if scenario.meetings:
            for athlete_id in people:
                self._spawn(self._meet(athlete_id))
        while True:
            await asyncio.sleep(rng.expovariate((acts + partings) / DAY_S))
            if self.over:
                return
            athlete_id = rng.choice(people)
            if rng.random() < partings / (acts + partings):
                await self._part(athlete_id)
            elif athlete_id in self._world.grants.live:
                self._act(athlete_id)

    def _act(self, athlete_id: int) -> None:
        act = self._rng.choices(list(self._acts), list(self._acts.values()))[0]
        if act == "shop":
            self._shop(athlete_id)
            return
        recent = self._world.visible(athlete_id, private_too=True)[-RECENT:]
        shown = [spec for spec in recent if not spec.private]
        hidden = [spec for spec in recent if spec.private]
        if act == "hide" and shown:
            done = self._world.hide(self._touch(self._rng.choice(shown).id))
            if self._rng.random() < REGRETS:
                self._spawn(self._show_again(done.id))
        elif act == "show" and hidden:
            done = self._world.unhide(self._rng.choice(hidden).id)
        elif act == "delete" and len(recent) > 1:
            done = self._world.delete(self._touch(self._rng.choice(recent).id))
        elif act in ("rename", "retype", "describe", "regear", "race") and recent:
            done = self._edit(act, recent)
            if self._rng.random() < self._scenario.together:
                for _ in range(3):
                    self._edit("rename", recent)
        else:
            done = self._upload(athlete_id, act)
            if self._rng.random() < MISTAKES:
                self._spawn(self._delete_at_once(done.id))
        self._trace.note("life", f"{athlete_id} {act} {done.id if done else '-'}")
        if done and not done.deleted and self._rng.random() < self._scenario.bursts:
            self._spawn(self._edit_on(done.id))

    def _shop(self, athlete_id: int) -> None:
        """Buy gear, put some away, or delete it: nothing tells of that but the profile."""
        rng, world = self._rng, self._world
        owned = [gear.id for gear in world.athletes[athlete_id].gear if not gear.deleted]
        if len(owned) < 2 or rng.random() < 0.4:
            done = world.add_gear(athlete_id, rng.choice(("bike", "shoe")), rng.choice(NAMES)).id
        else:
            done = rng.choice(owned)
            world.retire_gear(athlete_id, done, delete=rng.random() < 0.5)
        self._trace.note("life", f"{athlete_id} shop {done}")

    async def _meet(self, athlete_id: int) -> None:
        """Whenever the token is due to be renewed, edit several activities at once: all processes need it."""
        world = self._world
        while not self.over:
            grant = world.grants.live.get(athlete_id)
            left = grant.expires_at - world.clock() if grant else HOUR_S
            await asyncio.sleep(max(600.0, left - 0.9 * HOUR_S))
            mine = [
                one for one in world.activities.values() if one.athlete_id == athlete_id and not one.deleted
            ]
            if not self.over and athlete_id in world.grants.live:
                for spec in mine[-4:]:
                    self._edit("rename", [spec])
                # Every process looks now and then; in the simulation seldom, for it costs time.
                await asyncio.sleep(1.0)
                for process in self._processes:
                    process.notify()

    async def _edit_on(self, activity_id: int) -> None:
        """More edits within seconds: together with the first, or just while the engine asks for that."""
        for _ in range(self._rng.randrange(1, 4)):
            settled = self._rng.choice((0.0, DEBOUNCE.total_seconds()))
            await asyncio.sleep(settled + self._rng.uniform(0.05, 1.2))
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
        if act == "race":
            return world.edit_silently(spec.id, workout_type=rng.choice((None, 1, 2, 3)))
        now = world.clock()
        fresh = [s for s in recent if min(s.start, s.created_at) > now - FRESH_S + DAY_S / 4]
        if not fresh:
            return None
        return world.edit_silently(rng.choice(fresh).id, description=rng.choice(WORDS))

    # -- leaving --------------------------------------------------------------------------------------------

    async def _part(self, athlete_id: int) -> None:
        if athlete_id not in self._world.grants.live or athlete_id in self._busy:
            return
        scopes = tuple(sorted(self._world.grants.live[athlete_id].scopes))
        self._ledger.ever_left.add(athlete_id)
        if self._rng.random() < 0.7:
            self._world.deauthorize(athlete_id)
            self._ledger.left[athlete_id] = self._world.clock()
            self._trace.note("life", f"{athlete_id} deauthorizes")
        else:
            self._spawn(self._disconnect(athlete_id))
        if self._rng.random() < 0.6:
            self._spawn(self._come_back(athlete_id, self._rng.choice((scopes, READS, PUBLIC))))

    async def _disconnect(self, athlete_id: int) -> None:
        """The operator removes the athlete, who loses access at Strava a little later."""
        self._busy.add(athlete_id)
        process = self._rng.choice(self._processes)

        async def remove() -> None:
            assert process.app is not None
            await process.app.athletes.disconnect(athlete_id)

        try:
            await process.do(remove)
        except (FeedzoneError, ProcessDied) as problem:
            self._trace.note("life", f"{athlete_id} is not removed: {type(problem).__name__}")
        else:
            self._trace.note("life", f"{athlete_id} is removed by the operator")
            self._ledger.removed.add(athlete_id)
        finally:
            self._busy.discard(athlete_id)

    def during_refresh(self, athlete_id: int) -> None:
        """The worst moment to be removed: Strava is about to give out a new pair."""
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

    async def answer(self, questions: list[str]) -> None:
        """The operator looks into mass deletions, finds that they are real, and says so."""
        for question in questions:
            process = self._rng.choice(self._processes)

            async def accept(process: EngineProcess = process, question: str = question) -> None:
                assert process.app is not None
                await process.app.reconciliation.resolve(question, accept=True)

            self._trace.note("life", f"the operator accepts {question}")
            with contextlib.suppress(FeedzoneError, ProcessDied):  # then it is asked again
                await process.do(accept)

    async def help(self, stranded: list[int]) -> None:
        """Those who lost access without having left connect again, when somebody tells them to."""
        for athlete_id in stranded:
            grant = self._world.grants.live.get(athlete_id)
            if grant is not None and athlete_id not in self._ledger.removed:
                await self.connect(athlete_id, tuple(sorted(grant.scopes)))
