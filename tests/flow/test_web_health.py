"""Probes and metrics, as monitoring uses them."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from browsing import words
from web_world import API_KEY, BEGIN, LEADER, PASSWORD, World

from feedzone.errors import StorageUnavailable
from feedzone.services import readiness
from feedzone.store import probe
from feedzone.store.schema import tables


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_says_that_the_process_is_up(public: World, method: str) -> None:
    async with public.browser() as browser:
        answer = await browser.request(method, "/healthz")
        assert answer.status_code == 200
        assert (await browser.request(method, "/readyz")).status_code == 200
    assert answer.text == ("" if method == "HEAD" else '{"status":"ok"}')


async def test_readiness_says_whether_the_inbox_drains(world: World) -> None:
    async with world.browser() as browser:
        assert (await browser.get("/readyz")).json() == {
            "status": "ready",
            "database": "ok",
            "oldest_due_s": None,
            "worker": "keeping up",
        }
        await world.connect()
        world.clock.pass_by(seconds=61)
        answer = await browser.get("/readyz")
        assert answer.status_code == 200
        assert (answer.json()["oldest_due_s"], answer.json()["worker"]) == (61.0, "behind")


async def test_health_page_and_api_name_the_process_that_works_for_all(world: World) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with world.browser() as browser:
        health = words((await browser.get("/health")).text)
        assert "Process 17 on box runs schedules and pruning; another worker takes over if it ends." in health
        assert (await browser.get("/api/v1/status", headers=headers)).json()["leader"] == LEADER
        await world.database.write(lambda c: c.execute(tables.leases.update().values(until=BEGIN)))
        world.clock.pass_by(minutes=5)
        assert "No worker has run for" in words((await browser.get("/health")).text)
        status = (await browser.get("/api/v1/status", headers=headers)).json()
        assert (status["leader"], datetime.fromisoformat(status["leaderless_since"])) == (None, BEGIN)


async def test_without_a_database_the_server_is_not_ready(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StorageUnavailable("host db.internal")

    async def hangs() -> None:
        await asyncio.Event().wait()

    for pulse in (away, hangs):
        monkeypatch.setattr(world.parts.queries.status, "pulse", pulse)
        async with world.browser() as browser:
            answer = await browser.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "not ready"
        assert "internal" not in answer.text


async def test_a_full_disk_is_not_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "VALID_S", 0.0)
    pages = await world.database.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    await world.database.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar_one())
    async with world.browser() as browser:
        assert (await browser.get("/readyz")).status_code == 503
        await world.database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000").scalar_one())
        assert (await browser.get("/readyz")).status_code == 200


async def test_many_probes_cost_one_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(probe, "write", lambda _: written.append(1))
    monkeypatch.setattr(readiness, "VALID_S", 3600.0)
    async with world.browser() as browser:
        await asyncio.gather(*(browser.get("/readyz") for _ in range(8)))
    assert written == [1]


async def test_metrics_have_counters_and_gauges_from_the_database(public: World) -> None:
    await public.connect()
    await public.deliver(1)
    public.parts.metrics.deliveries.labels("200").inc()
    public.clock.pass_by(seconds=7)
    async with public.browser() as browser:
        assert (await browser.get("/metrics")).status_code == 401
        assert (await browser.get("/metrics", auth=("a", PASSWORD))).status_code == 200
        answer = await browser.get("/metrics", headers={"Authorization": f"Bearer {API_KEY}"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for line in (
        'feedzone_webhook_deliveries_total{answer="200"} 1.0',
        "feedzone_database_up 1.0",
        'feedzone_athletes{status="active"} 1.0',
        'feedzone_webhook_events{status="pending"} 1.0',
        'feedzone_jobs{state="queued"} 2.0',
        "feedzone_oldest_due_job_seconds 7.0",
        'feedzone_quota_limit{window="read_day"} 1000.0',
        'feedzone_quota_used{window="read_day"} 0.0',
    ):
        assert line in lines


async def test_metrics_are_served_while_the_database_is_unavailable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StorageUnavailable

    monkeypatch.setattr(world.parts.queries.status, "get", away)
    async with world.browser() as browser:
        answer = await browser.get("/metrics")
    assert answer.status_code == 200
    assert "feedzone_database_up 0.0" in answer.text
