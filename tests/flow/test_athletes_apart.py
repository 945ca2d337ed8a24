"""Which transactions write rows of several athletes: those, and no others, cross shards (docs/scale.md)."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from engine import ManualEngine, make_engine
from sqlalchemy import text

from clocks import PatientClock
from feedzone.domain.event import parse_event
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.fruitless import EVERYONE
from feedzone.store.jobs.schedule import GearSchedule, ReconciliationSchedule
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import metadata
from feedzone.store.shown_updates import ShownUpdatesSchedule
from feedzone.worker.wakeup import LocalWakeup

GROUPS = {
    "store/jobs/queue.py": "lease or finish several jobs",
    "ingest/dispatcher.py": "dispatch a batch of events",
    "ingest/inbox.py": "store concurrent deliveries",
}
"""Transactions that take several athletes together for speed; one athlete's part could commit alone."""

SETS = {
    "store/batches.py": "change or delete some rows",
    "store/jobs/schedule.py": "enqueue what is due",
    "store/jobs/idle.py": "enqueue comparisons from idle calls",
    "store/quota/call_log.py": "write down the calls of some seconds",
    "store/shown_updates.py": "take back what no fetch confirmed",
    "store/jobs/leaving_schedule.py": "set the deadlines of athletes whose tokens were refused for long",
    "store/erasures.py": "delete again what a restored backup brought back",
}
"""Transactions over rows of any athletes, in small batches; one row needs no other one."""

SCALE = Path(__file__).parents[2] / "docs" / "scale.md"
COLUMNS = {"webhook_events": "owner_id", "strava_athletes": "id"}
START = """
CREATE TABLE touched (tx bigint, athlete bigint);
CREATE FUNCTION note_athlete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO touched VALUES (txid_current(), (to_jsonb(coalesce(NEW, OLD)) ->> TG_ARGV[0])::bigint);
  RETURN NULL;
END $$
"""
END = "DROP FUNCTION note_athlete CASCADE; DROP TABLE touched"


class Recording(PostgresDatabase):
    """Knows which module each transaction came from, and whose rows it wrote."""

    sources: dict[int, str]

    async def write(self, body: Any, **options: Any) -> Any:
        def numbered(connection: Any) -> tuple[Any, int]:
            result = body(connection)
            return result, connection.execute(text("SELECT txid_current()")).scalar_one()

        result, number = await super().write(numbered, **options)
        self.sources[number] = source_of(body)
        return result

    async def several(self) -> dict[str, set[int]]:
        """Return the modules with a transaction that wrote rows of several athletes."""
        rows = await self.read(lambda c: c.execute(text("SELECT tx, athlete FROM touched")).all())
        touched = defaultdict(set)
        for number, athlete in rows:
            touched[number] |= {athlete} - {None, EVERYONE}
        return {self.sources[number]: athletes for number, athletes in touched.items() if len(athletes) > 1}


def source_of(body: Callable[..., Any]) -> str:
    while isinstance(body, partial):
        body = body.func
    return body.__module__.removeprefix("feedzone.").replace(".", "/") + ".py"


@pytest.fixture
async def recording(migrated_postgres, postgres_database) -> AsyncIterator[Recording]:
    tables = [table for table in metadata.sorted_tables if "athlete_id" in table.c or table.name in COLUMNS]
    triggers = [
        f"CREATE TRIGGER note_athlete AFTER INSERT OR UPDATE OR DELETE ON {table.name} FOR EACH ROW "
        f"EXECUTE FUNCTION note_athlete('{COLUMNS.get(table.name, 'athlete_id')}')"
        for table in tables
    ]
    for statement in (*START.split(";\n", 1), *triggers):
        await postgres_database.write(partial(execute, statement=statement))
    opened = Recording(migrated_postgres)
    opened.sources = {}
    yield opened
    await opened.close()
    for statement in END.split("; "):
        await postgres_database.write(partial(execute, statement=statement))


def execute(connection: Any, statement: str) -> None:
    connection.exec_driver_sql(statement)


@pytest.fixture
def engine(recording: Recording, clock: PatientClock, tmp_path: Path) -> ManualEngine:
    made, _ = make_engine(recording, clock, tmp_path, athletes=4)
    return made


async def use(engine: ManualEngine, *, together: bool) -> None:
    """Let four athletes connect, upload, edit, delete and ask for a sync, and one of them leave."""
    world, people = engine.world, list(engine.world.athletes)
    engine.app = engine.process(queue_batch_size=20 if together else 1)

    for athlete in people:
        world.record(athlete, minutes=10)
        await engine.connect(athlete)
    engine.announced.clear()
    await engine.work()
    for name in ("First", "Second"):
        new = [partial(world.record, athlete, minutes=10, name=name) for athlete in people]
        await each(engine, new, together=together)
    ids = [world.truth(athlete)[0]["id"] for athlete in people]
    await each(engine, [partial(world.rename, activity, "Renamed") for activity in ids], together=together)
    await each(engine, [partial(world.delete, activity) for activity in ids[:2]], together=together)
    await engine.app.athletes.sync(people[1], days=60)
    await engine.app.athletes.keep_sports(people[2], {"Run"})
    await engine.app.athletes.disconnect(people[3])
    await engine.work()
    await engine.app.worker.rescuer.run_once()


async def each(engine: ManualEngine, steps: list[Callable[[], Any]], *, together: bool) -> None:
    """Let Strava announce what the steps do, all together or one after the other, and work it off."""
    for step in steps:
        step()
        if not together:
            await engine.deliver_announced()
            await engine.advance_and_work(seconds=10)
    if together:
        events = [parse_event(msgspec.json.encode(event.payload(120_475))) for event in engine.announced]
        await asyncio.gather(*(engine.app.inbox.accept(event, "absent") for event in events))
        engine.announced.clear()
        await engine.advance_and_work(seconds=10)


async def let_days_pass(engine: ManualEngine) -> None:
    """Run the duties that one process does for all, nine days later."""
    database, clock, rng, bell = engine.database, engine.clock, random.Random(1), LocalWakeup()
    assert engine.app.worker._recorder is not None
    await engine.app.worker._recorder.run_once()
    clock.advance(days=9)
    await ReconciliationSchedule(database, clock, bell, rng, days=30).run()
    await GearSchedule(database, clock, bell, rng).run()
    await ShownUpdatesSchedule(database, clock).run()
    await Retention(database, clock, 1).prune()


async def test_what_takes_athletes_together_could_take_each_alone(engine, recording):
    await use(engine, together=False)
    assert set(await recording.several()) <= set(SETS)


async def test_only_known_transactions_write_rows_of_several_athletes(engine, recording):
    await use(engine, together=True)
    await let_days_pass(engine)
    several = set(await recording.several())
    assert several <= {*GROUPS, *SETS}
    assert several >= {*GROUPS, "store/batches.py", "store/jobs/schedule.py", "store/quota/call_log.py"}


@pytest.mark.parametrize("source", [*GROUPS, *SETS])
def test_the_page_about_scale_names_each_of_them(source):
    assert f"`{source}`" in SCALE.read_text()
