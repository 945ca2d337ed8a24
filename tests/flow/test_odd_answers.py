"""For an hour somebody else answers instead of Strava: nothing changes here, and then everything arrives."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from engine import make_engine

from feedzone.ports import Request, Response
from feedzone.store.schema.tables import jobs, strava_activities, strava_athletes
from odd_answers import HTML, ODD

OTHERS = {"429": Response(429, {}, HTML), "503": Response(503, {}, HTML)}
NAMES = ["302 empty", "200 html", "401 html", "403 waf json", "404 html", "404 gear"]


@dataclass
class Impostor:
    """Answers the calls to addresses that end or start so, instead of Strava."""

    transport: object
    answer: Response | None = None
    only: str = ""
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._send = self.transport.send
        self.transport.send = self.send

    async def send(self, request: Request, timeout: float) -> Response:
        if self.answer is None or self.only not in request.url:
            return await self._send(request, timeout)
        self.calls.append(request.url)
        return self.answer


@pytest.fixture
async def engine(sqlite_database, clock, tmp_path):
    made, athletes = make_engine(sqlite_database, clock, tmp_path, athletes=3)
    made.people = athletes
    for athlete in athletes:
        await made.connect(athlete)
        for _ in range(4):
            made.world.record(athlete, minutes=2)
    await made.deliver_announced()
    for _ in range(8):
        await made.advance_and_work(minutes=20)
    made.announced.clear()
    made.impostor = Impostor(made.app.transport)
    return made


async def state(engine) -> list[tuple]:
    """Return what must not change: the stored activities, and every athlete with their tokens."""
    athletes = [
        (row.id, row.status, row.status_reason, row.access_token_encrypted, row.refresh_token_encrypted)
        for row in await engine.rows(strava_athletes)
    ]
    rows = await engine.rows(strava_activities)
    details = [(row.id, row.distance, row.last_fetched_at) for row in rows if row.last_fetched_at]
    return [*athletes, *details, *(row.id for row in rows if row.sync_status == "deleted")]


async def live_names(engine) -> dict[int, str]:
    return {row.id: row.name for row in await engine.rows(strava_activities, sync_status="synced")}


async def life(engine) -> None:
    """Uploads, edits, forged deletes of everything, forged deauthorizations, reconciliations."""
    stored = list(await live_names(engine))
    for athlete in engine.people:
        for _ in range(3):
            engine.world.record(athlete, minutes=2)
        await engine.app.reconciliation.reconcile(athlete)
    for number in stored[:6]:
        engine.world.rename(number, f"Renamed {number}")
    await engine.deliver_announced()
    forged = {"subscription_id": 120_475, "event_time": int(engine.clock.now().timestamp())}
    for row in await engine.rows(strava_activities, sync_status="synced"):
        event = {"object_type": "activity", "object_id": row.id, "owner_id": row.athlete_id}
        await engine.deliver(forged | event | {"aspect_type": "delete", "updates": {}})
    for athlete in engine.people:
        event = {"object_type": "athlete", "object_id": athlete, "owner_id": athlete}
        await engine.deliver(forged | event | {"aspect_type": "update", "updates": {"authorized": "false"}})


async def an_hour(engine, answer: Response) -> int:
    engine.impostor.answer = answer
    await life(engine)
    for _ in range(30):
        await engine.advance_and_work(minutes=2)
    engine.impostor.answer = None
    return len(engine.impostor.calls)


async def rest(engine) -> None:
    """The impostor is gone. Automatic retries do the rest."""
    for _ in range(15):
        await engine.advance_and_work(minutes=4)
        await engine.retry_dead_letters()
    uploaded = {spec.id: spec.name for spec in engine.world.activities.values() if not spec.deleted}
    assert await live_names(engine) == uploaded
    assert await engine.rows(jobs, state="dead") == []
    assert {row.status for row in await engine.rows(strava_athletes)} == {"active"}


@pytest.mark.parametrize("name", [*NAMES, "429", "503"])
async def test_an_hour_of_answers_that_are_not_stravas_changes_and_loses_nothing(engine, name):
    """Whoever answers, it costs what an outage with status 503 costs, and ends by itself."""
    before = await state(engine)
    calls = await an_hour(engine, OTHERS.get(name) or ODD[name])
    assert await state(engine) == before
    assert {job.error_class for job in await engine.rows(jobs, state="dead")} <= {"strava_error"}
    assert calls < 100
    await rest(engine)


@pytest.mark.parametrize("name", ["302 empty", "200 other json", "400 empty", "401 json"])
async def test_an_hour_of_foreign_answers_at_the_token_address_revokes_nobody(engine, name):
    """The access tokens have expired: every call needs the token address first."""
    engine.clock.advance(hours=7)
    before = await state(engine)
    engine.impostor.only = "/oauth/"
    await an_hour(engine, OTHERS.get(name) or ODD[name])
    assert await state(engine) == before
    await rest(engine)


async def test_a_wrong_base_url_deletes_nothing(engine):
    """Below a wrong prefix Strava answers 404 in its own shape, about the path."""
    engine.impostor.only = "/api/v3/"
    before = await state(engine)
    await an_hour(engine, ODD["404 path"])
    assert await state(engine) == before
    await rest(engine)
