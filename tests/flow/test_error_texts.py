"""An athlete's words reach the columns that hold them, and no error, log line or page of anybody else."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from engine import JSON, make_engine

from feedzone import sandbox
from feedzone.domain.job_kinds import JobKind
from feedzone.ports import Request, Response
from feedzone.serve import front_door
from feedzone.store.schema.personal import HOLDINGS
from feedzone.store.schema.tables import job_attempts, metadata
from feedzone.telemetry import configure_logging

WORD = "CANARY-7f3a ride"
FAULTS: dict[str, Callable[[bytes], tuple[int, bytes]]] = {
    "cut": lambda body: (200, body[: body.index(b"CANARY") + 20] if b"CANARY" in body else body[:-1]),
    "text behind it": lambda body: (200, body + b" CANARY"),
    "markup around it": lambda body: (200, b"<html>" + body),
    "status 500": lambda body: (500, body),
    "status 403": lambda body: (403, body),
    "another shape": lambda body: (200, b'{"id": "CANARY", "data": [' + body + b"]}"),
    "not utf-8": lambda body: (200, body + b"\xff"),
    "an error that quotes": lambda _: (
        404,
        msgspec.json.encode(
            {"message": WORD, "errors": [{"resource": "Activity", "field": WORD, "code": WORD}]}
        ),
    ),
}
PLACES = ["/activities/", "/streams", "/athlete/activities", "/api/v3/athlete", "/oauth/token"]


@pytest.fixture
def written(monkeypatch):
    """Everything that is logged, on every level."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    configure_logging("DEBUG", "json", [])
    return output.getvalue


class Spoiled:
    """Carries calls to the sandbox; spoils the bodies of answers from one place."""

    def __init__(self, transport: Any) -> None:
        self._send = transport.send
        transport.send = self.send
        self.place, self.fault = "", FAULTS["cut"]
        self.spoiled = 0

    async def send(self, request: Request, timeout: float) -> Response:
        answer = await self._send(request, timeout)
        if not self.place or self.place not in request.url:
            return answer
        self.spoiled += 1
        status, body = self.fault(answer.body)
        return Response(status, answer.headers, body)


@pytest.fixture
async def engine(sqlite_database, clock, tmp_path, written):
    made, (athlete,) = make_engine(sqlite_database, clock, tmp_path)
    await made.connect(athlete)
    made.athlete, made.spoiled = athlete, Spoiled(made.app.transport)
    await made.work()
    return made


async def columns_with_the_word(engine) -> set[str]:
    return {
        f"{table.name}.{name}"
        for table in metadata.sorted_tables
        for row in await engine.rows(table)
        for name, value in row._mapping.items()
        if "CANARY" in repr(value)
    }


def words() -> set[str]:
    return {
        f"{name}.{column}"
        for name, held in HOLDINGS.items()
        for column in f"{held.activity} {held.athlete}".split()
    }


async def pages(engine) -> str:
    texts, door = [], front_door(engine.app)
    for path in ("/healthz", "/readyz", "/metrics", "/login", "/join"):
        answer = await sandbox.request(door, "GET", path, b"", {"Host": "feedzone.test"})
        texts.append(repr(answer.body))
    return "".join(texts)


@pytest.mark.parametrize("place", PLACES)
async def test_no_word_of_an_answer_is_in_an_error_or_a_log_line(engine, written, place):
    for fault in FAULTS:
        activity = engine.world.record(engine.athlete, minutes=2)
        engine.world.rename(activity.id, WORD)
        engine.spoiled.place, engine.spoiled.fault = place, FAULTS[fault]
        await engine.deliver_announced()
        await engine.app.reconciliation.reconcile(engine.athlete)
        for _ in range(6):
            await engine.advance_and_work(hours=3)
        assert await columns_with_the_word(engine) <= words(), fault
    assert engine.spoiled.spoiled > len(FAULTS)
    assert "CANARY" not in await pages(engine)
    assert '"event": "job_finished"' in written()
    assert "CANARY" not in written()


async def test_no_word_of_a_crash_is_in_the_log(engine, written, monkeypatch):
    async def crash(_job: Any) -> Any:
        raise ValueError(f"could not convert {WORD}") from KeyError(WORD)

    kind: JobKind = "refresh_activity"
    monkeypatch.setitem(engine.app.worker._executor._handlers, kind, crash)
    engine.world.record(engine.athlete, minutes=2)
    await engine.deliver_announced()
    await engine.advance_and_work(minutes=1)
    (attempt,) = await engine.rows(job_attempts)
    assert attempt.error.startswith("a bug in feedzone: ValueError at executor.py:")
    assert "job_crashed" in written()
    assert "ValueError" in written()
    assert "CANARY" not in written()


async def test_no_word_of_a_refused_delivery_is_in_a_table_or_a_log_line(engine, written):
    webhook, path = engine.webhook(), engine.app.settings.webhook_path
    whole = msgspec.json.encode(
        {"object_type": "activity", "object_id": WORD, "aspect_type": "update", "updates": {"title": WORD}}
    )
    for body in (whole, whole[:-9], b"<html>" + whole, whole + b"\xff", b'"' + WORD.encode() + b'"'):
        answer = await sandbox.request(webhook, "POST", path, body, JSON)
        assert answer.status == 400
        assert b"CANARY" not in answer.body
    assert await columns_with_the_word(engine) == set()
    assert "CANARY" not in written()
