"""The engine's processes in the world of the rate limit, from the first connection to the last window."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feedzone.domain.job import Lane
from feedzone.sandbox import Behaviour, Sender

from ..life import Life
from ..network import ProcessWire
from ..process import EPOCH, EngineProcess, Machine
from ..runner import make_template, workplace
from ..scenario import CALM, READS
from ..simulation import Result, Simulation
from .plan import DAY_S, QUARTER_S, Plan, takes, times, uploads
from .record import Look, Others, Prediction, Read, Record, Story

POLL_S = 5.0
"""The engine's poll interval. Here every process is notified this long after a change of the queue or the
budget, and otherwise polls every ten minutes, which costs less."""

LOOK_S = QUARTER_S / 2
IDLE_LOOK_S = 120.0
"""How often idle calls are noticed, where events are lost."""
NO_IDLE_LOOK_S = 1e7

COUNTED = "/activities", "/athlete", "/gear", "/oauth/deauthorize"

TRIGGERS = """
CREATE TEMP TABLE seen_details (activity_id INTEGER PRIMARY KEY, at REAL);
CREATE TEMP TABLE seen_streams (activity_id INTEGER PRIMARY KEY, at REAL);
CREATE TEMP TRIGGER see_detail AFTER INSERT ON main.strava_activities WHEN NEW.detail IS NOT NULL BEGIN
    INSERT OR IGNORE INTO seen_details VALUES (NEW.id, instant());
END;
CREATE TEMP TRIGGER see_detail_later AFTER UPDATE OF detail ON main.strava_activities
WHEN NEW.detail IS NOT NULL AND OLD.detail IS NULL BEGIN
    INSERT OR IGNORE INTO seen_details VALUES (NEW.id, instant());
END;
CREATE TEMP TRIGGER see_streams AFTER INSERT ON main.activity_streams WHEN NEW.state = 'present' BEGIN
    INSERT OR IGNORE INTO seen_streams VALUES (NEW.activity_id, instant());
END;
CREATE TEMP TRIGGER see_streams_later AFTER UPDATE OF state ON main.activity_streams
WHEN NEW.state = 'present' BEGIN
    INSERT OR IGNORE INTO seen_streams VALUES (NEW.activity_id, instant());
END;
CREATE TEMP TRIGGER see_job AFTER INSERT ON main.jobs BEGIN SELECT queued(); END;
CREATE TEMP TRIGGER see_job_later AFTER UPDATE OF due_at, state ON main.jobs WHEN NEW.state = 'queued' BEGIN
    SELECT queued();
END;
CREATE TEMP TRIGGER see_budget AFTER UPDATE ON main.api_budget BEGIN SELECT queued(); END;
"""
LEFT = """
SELECT athlete_id, count(*), max(kind = 'backfill_athlete') FROM jobs
WHERE state IN ('queued', 'running') AND (priority = ? OR kind = 'backfill_athlete') GROUP BY athlete_id
"""
DONE = """
SELECT max(d.at, coalesce(s.at, d.at))
FROM temp.seen_details d LEFT JOIN temp.seen_streams s USING (activity_id)
JOIN main.strava_activities a ON a.id = d.activity_id WHERE s.at IS NOT NULL OR a.manual
"""
LANES = "SELECT lane, count(*) FROM call_log WHERE counted AND sent_at >= ? AND sent_at < ? GROUP BY lane"


class QuotaWorld(Simulation):
    """A world without faults and checkers: it measures calls and latencies."""

    behaviour = Behaviour(knot_s=600, sample_s=60)
    poll_ms = 600_000

    def __init__(self, seed: int, plan: Plan, template: Path, folder: Path, print_line: Any = None) -> None:
        scenario = replace(
            CALM, name="quota", athletes=plan.athletes, processes=plan.processes, limits=plan.limits,
            sync_days=30, fetch_photos=False,
        )  # fmt: skip
        super().__init__(seed, scenario, template, folder, print_line)
        self.plan = plan
        self.record = Record(seed, plan, times(seed, plan))
        self._others = Others(self.world.meter)
        self._totals: dict[int, int] = {}
        self._predicted: set[tuple[int | None, int]] = set()
        self._lanes_until = self.record.times.backfill_at
        self._engines: Machine | None = None
        self._poll_is_due = False
        self._file._raw.create_function("queued", 0, self._queued)
        self._file._raw.executescript(TRIGGERS)

    def live(self) -> Record:
        """Run the world and return its observations."""
        began = time.process_time()
        result = self.run()
        self.record.crashes += result.divergences
        self.record.seconds = time.process_time() - began
        return self.record

    # -- events of the world----------------------------------------------------------------------------------

    async def _run_world(self, result: Result) -> None:
        plan, at = self.plan, self.record.times
        wire = ProcessWire(self.seed, self.scenario, self.ledger, self.trace)
        sender = Sender(self.world, wire)
        await self._until(at.begin)
        machine = self._engines = self._machine(sender, self.scenario)
        # Idle calls before a backfill use up its share of the day, which its first forecasts do not foresee.
        machine.idle_look_s = IDLE_LOOK_S if plan.lost else NO_IDLE_LOOK_S
        processes = [EngineProcess(f"p{n + 1}", machine) for n in range(plan.processes)]
        wire.processes = machine.processes = processes
        athletes = [
            self.world.add_athlete(plan.history_of(n), plan.per_week).id for n in range(plan.athletes)
        ]
        await sender.start()
        for process in processes:
            process.start()
        await self._subscribe(processes[0])
        life = Life(self.world, self.scenario, processes, self.ledger, self.trace)
        background = [self.loop.create_task(self._upload(athletes)), self.loop.create_task(self._take())]
        for athlete_id in athletes:
            await life.connect(athlete_id, READS)
        await self._until(at.backfill_at)
        for athlete_id in athletes:
            await self._request_backfill(random.Random(athlete_id).choice(processes), athlete_id)
        await self._watch(processes)
        for task in background:
            task.cancel()
        for process in processes:
            await process.stop()
        self._conclude()

    def _now(self) -> float:
        return EPOCH.timestamp() + self.loop.time()

    async def _until(self, instant: float) -> None:
        await asyncio.sleep(max(0.0, instant - self._now()))

    async def _request_backfill(self, process: EngineProcess, athlete_id: int) -> None:
        async def sync() -> None:
            assert process.app is not None
            await process.app.athletes.sync(athlete_id, everything=True)

        await process.do(sync)

    async def _upload(self, athletes: list[int]) -> None:
        rng = random.Random(f"{self.seed}:lost")
        for upload in uploads(self.seed, self.plan):
            await self._until(upload.at)
            self.world.faults.event_drop = 1.0 if rng.random() < self.plan.lost else 0.0
            if athletes[upload.athlete] in self.world.grants.live:
                spec = self.world.record(athletes[upload.athlete], upload.sport, upload.minutes)
                self.record.stories[spec.id] = Story(spec.id, self._now())

    async def _take(self) -> None:
        for take in takes(self.seed, self.plan):
            await self._until(take.at)
            if taken := self._others.take(self._now(), take.calls):
                self.record.reads.append(Read(self._now(), taken, own=False, refused=False))

    def _queued(self) -> None:
        if not self._poll_is_due and self._engines is not None:
            self._poll_is_due = True
            self.loop.call_later(POLL_S, self._poll, context=self._engines.context)

    def _poll(self) -> None:
        assert self._engines is not None
        self._poll_is_due = False
        for process in self._engines.processes:
            process.notify()

    # -- observations ---------------------------------------------------------------------------------------

    async def _watch(self, processes: list[EngineProcess]) -> None:
        """Observe the queue a second before each window's end and middle, and record the forecasts."""
        end = self.record.times.end
        while True:
            await self._until((self._now() + 1) // LOOK_S * LOOK_S + LOOK_S - 1)
            left, listing = self._left()
            self.record.looks.append(Look(self._now(), left))
            if (self._now() + 1) % DAY_S == 0:
                self._count_lanes()
            if not listing:
                await self._record_predictions(processes[0], left)
            done = self.plan.until_done and not left
            if done or self._now() + LOOK_S > end:
                return

    def _left(self) -> tuple[dict[int, int], bool]:
        """Return the number of backfill jobs by athlete, and whether a backfill is still listing."""
        rows = self._file._raw.execute(LEFT, (int(Lane.BACKFILL),)).fetchall()
        return {athlete_id: count for athlete_id, count, _ in rows}, any(lists for *_, lists in rows)

    async def _record_predictions(self, process: EngineProcess, left: dict[int, int]) -> None:
        if not self._totals:
            self._totals = dict(left)
        total_jobs = sum(self._totals.values())
        tenths: dict[int | None, int] = {
            athlete_id: 10 * (total - left.get(athlete_id, 0)) // total
            for athlete_id, total in self._totals.items()
        }
        tenths[None] = 10 * (total_jobs - sum(left.values())) // total_jobs if total_jobs else 10
        reached = {
            athlete_id: tenth
            for athlete_id, tenth in tenths.items()
            if 0 < tenth < 10 and (athlete_id, tenth) not in self._predicted
        }
        if not reached:
            return
        self._predicted.update(reached.items())
        assert process.app is not None
        queries = process.app.queries
        athletes = (await process.do(lambda: queries.athletes.page(50))).items
        ends: dict[int | None, datetime | None] = {athlete.id: athlete.sync.done_at for athlete in athletes}
        ends[None] = (await process.do(queries.quota.budget)).queue.done_at
        for athlete_id, tenth in reached.items():
            end = ends[athlete_id]
            expected_at = end.timestamp() if end is not None else None
            self.record.predictions.append(
                Prediction(
                    athlete_id, tenth, self._now(), expected_at, begun_at=self.record.times.backfill_at
                )
            )

    def _count_lanes(self) -> None:
        since, until = (_stored(at) for at in (self._lanes_until, self._now()))
        self.record.lanes.update(dict(self._file._raw.execute(LANES, (since, until)).fetchall()))
        self._lanes_until = self._now()

    def _conclude(self) -> None:
        record, start = self.record, EPOCH.timestamp()
        self._count_lanes()
        record.reads += [
            Read(call.at, 1, own=True, refused=call.status == 429)
            for call in self.world.journal.calls
            if call.path.startswith(COUNTED)
        ]
        record.reads.sort()
        raw = self._file._raw
        for identity, at in self.ledger.acknowledged.items():
            kind, activity_id, aspect, *_ = identity
            if kind == "activity" and aspect == "create" and activity_id in record.stories:
                record.stories[activity_id].delivered_at = start + at
        for column, table in (("detail_at", "seen_details"), ("streams_at", "seen_streams")):
            for activity_id, at in raw.execute(f"SELECT activity_id, at FROM temp.{table}"):
                if activity_id in record.stories:
                    setattr(record.stories[activity_id], column, start + at)
        record.done = [start + at for (at,) in raw.execute(DONE)]
        query = "SELECT id, initial_sync_completed_at FROM strava_athletes WHERE initial_sync_completed"
        for athlete_id, at in raw.execute(query):
            record.finished[athlete_id] = datetime.fromisoformat(at).timestamp()
        for prediction in record.predictions:
            if prediction.athlete_id is not None:
                prediction.ended_at = record.finished.get(prediction.athlete_id)
            elif len(record.finished) == self.plan.athletes:
                prediction.ended_at = max(record.finished.values())


def _stored(epoch: float) -> str:
    """Return a time as SQLite stores it (store/engine/types.py)."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def live(seed: int, plan: Plan) -> Record:
    """Run the world of this seed and return its observations."""
    folder = workplace()
    try:
        return QuotaWorld(seed, plan, make_template(folder), folder).live()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
