"""What people who look at the pages, and machines that watch them, can rely on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
import uvicorn
from web_world import API_KEY, KEY, World, web_world

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.budget import Reservation
from feedzone.domain.job import Lane
from feedzone.errors import StorageUnavailable
from feedzone.store import athletes, subscriptions
from feedzone.store.database import Database
from feedzone.web.pages import Live
from feedzone.web.routes import end_streams

PASSWORD = "correct horse"


@pytest.fixture
async def world(sqlite_database: Database) -> AsyncIterator[World]:
    async with web_world(sqlite_database) as world:
        yield world


@pytest.fixture
async def public(sqlite_database: Database) -> AsyncIterator[World]:
    """An installation that others can reach."""
    async with web_world(
        sqlite_database, app_url="https://feedzone.test", is_local=False, admin_password=PASSWORD
    ) as world:
        yield world


async def page(world: World) -> str:
    async with world.browser() as browser:
        answer = await browser.get("/")
    assert answer.status_code == 200, answer.text
    return answer.text


async def subscribe(world: World) -> None:
    await world.database.write(lambda c: subscriptions.remember(c, 1, "https://x.test", world.clock.now()))


async def test_an_empty_installation_says_how_to_begin(world: World) -> None:
    text = await page(world)
    assert "Strava sends no events, and is asked instead: run feedzone subscription ensure." in text
    await subscribe(world)
    text = await page(world)
    assert "Nobody is connected yet." in text
    assert 'href="/connect"' in text


async def test_when_all_is_well_one_line_says_so(world: World) -> None:
    await subscribe(world)
    await world.connect()
    assert "All is well: 1 athlete in sync." in await page(world)


async def test_work_that_nobody_does_is_said_first(world: World) -> None:
    await subscribe(world)
    await world.connect()
    world.clock.pass_by(minutes=5, seconds=1)
    assert "Work has been waiting for 5 min" in await page(world)


async def test_dead_letters_and_lost_connections_are_said(world: World) -> None:
    await subscribe(world)
    await world.connect()
    await world.dead_letter(1)
    await world.database.write(lambda c: athletes.mark(c, 42, "needs_reauth", "revoked", world.clock.now()))
    text = await page(world)
    assert "1 job failed for good" in text
    assert "1 athlete must connect again." in text


@pytest.mark.parametrize(
    ("configured", "people", "told"),
    [
        (None, 7, None),
        (None, 8, "8 of 10 seats of the Strava application are taken"),
        (None, 11, None),
        (1, 1, "1 of 1 seat of the Strava application are taken"),
        (100, 79, None),
    ],
)
async def test_seats_are_counted_and_their_end_is_told_in_time(
    world: World, configured: int | None, people: int, told: str | None
) -> None:
    """Pain 36: ten seats unless somebody says otherwise, or there are more athletes already."""
    world.parts.insights._seats = configured
    await subscribe(world)
    for number in range(people):
        world.desk.profile = AthleteProfile(42 + number, None, f"Ada {number}", None)
        await world.connect()
    text = await page(world)
    assert f"seats taken: {people}" in text
    assert ("seats of the Strava" in text or "seat of the Strava" in text) is (told is not None)
    assert told is None or told in text
    await world.parts.athletes.disconnect(42)  # Strava has not been told yet
    assert f"seats taken: {people}" in await page(world)


async def test_a_spent_rate_limit_says_when_work_goes_on(world: World) -> None:
    await subscribe(world)
    await world.connect()
    budget = world.parts.insights.foresight._budget
    await budget.answered(await budget.reserve(Lane.LIVE), {})
    await budget.latch(Reservation(), {})
    assert "The rate limit is spent: work goes on at 2026-11-03 08:15:00 UTC." in await page(world)


async def test_athletes_activities_and_events_are_shown_as_they_are(world: World) -> None:
    await world.connect()
    await world.store(1, name="Évian <b>loop</b>")
    await world.store(2, status="failed", name=None, distance=None, start_date_local=None)
    await world.deliver(1, "update", private="false")
    text = " ".join(re.sub(r"<[^>]+>", " ", await page(world)).split())
    assert "Ada Lovelace" in text
    assert "1 of 0 so far" not in text
    assert "Évian &lt;b&gt;loop&lt;/b&gt;" in text
    assert "2026-11-03 07:00" in text
    assert "42.2 km" in text
    assert "activity update 1" in text
    assert "pending" in text


async def test_the_page_needs_no_script_and_nothing_from_elsewhere(world: World) -> None:
    await world.connect()
    text = await page(world)
    for address in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert address.startswith("/"), address
    assert "style=" not in text
    assert "onclick" not in text
    async with world.browser() as browser:
        for address in set(re.findall(r'(?:src|href)="(/static/[^"]*)"', text)):
            answer = await browser.get(address)
            assert answer.status_code == 200
            assert "no-cache" in answer.headers["cache-control"]
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_without_a_password_only_this_machine_may_look(sqlite_database: Database) -> None:
    async with (
        web_world(sqlite_database, app_url="https://feedzone.test", is_local=False) as world,
        world.browser() as browser,
    ):
        for path in ("/", "/live", "/metrics"):
            answer = await browser.get(path)
            assert answer.status_code == 403
            assert "set ADMIN_PASSWORD" in answer.text


async def test_a_foreign_name_that_leads_to_this_machine_shows_nothing(world: World) -> None:
    async with world.browser(headers={"Host": "rebound.test"}) as browser:
        assert (await browser.get("/")).status_code == 403
    async with world.browser(headers={"Host": "localhost:8000"}) as browser:
        assert (await browser.get("/")).status_code == 200


async def test_the_password_opens_the_pages_with_any_user_name(public: World) -> None:
    async with public.browser() as browser:
        answer = await browser.get("/")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        for name in ("", "admin", "ada"):
            assert (await browser.get("/", auth=(name, PASSWORD))).status_code == 200
        for wrong in ("", "Correct horse", f"{PASSWORD} ", "é"):
            assert (await browser.get("/", auth=("admin", wrong))).status_code == 401
        assert (await browser.get("/", headers={"Authorization": "Basic %%%"})).status_code == 401
        assert (await browser.get("/", headers=KEY)).status_code == 401


async def test_guessing_the_password_is_stopped_for_a_while(public: World) -> None:
    async with public.browser() as browser:
        for path in ("/", "/metrics") * 5:
            assert (await browser.get(path, auth=("a", "guess"))).status_code == 401
        answer = await browser.get("/", auth=("a", PASSWORD))
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "61"
        public.clock.pass_by(minutes=1, seconds=1)
        assert (await browser.get("/", auth=("a", PASSWORD))).status_code == 200


async def test_the_reference_and_the_way_to_connect_are_open_to_everyone(public: World) -> None:
    async with public.browser() as browser:
        assert (await browser.get("/docs")).status_code == 200
        assert (await browser.get("/docs/openapi.json")).status_code == 200
        assert (await browser.get("/connect")).status_code == 303


async def test_a_wrong_address_shows_a_page_to_people(world: World) -> None:
    async with world.browser() as browser:
        answer = await browser.get("/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "Not Found" in answer.text


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


async def test_without_its_database_it_is_not_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> None:
        raise StorageUnavailable("host db.internal")

    async def hangs() -> None:
        await asyncio.Event().wait()

    for pulse in (away, hangs):
        monkeypatch.setattr(world.parts.insights, "pulse", pulse)
        async with world.browser() as browser:
            answer = await browser.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "not ready"
        assert "internal" not in answer.text


async def test_metrics_tell_what_was_counted_and_what_the_database_says(public: World) -> None:
    await public.connect()
    await public.deliver(1)
    public.parts.metrics.deliveries.labels("200").inc()
    public.clock.pass_by(seconds=7)
    async with public.browser() as browser:
        assert (await browser.get("/metrics")).status_code == 401
        assert (await browser.get("/metrics", auth=("a", PASSWORD))).status_code == 200
        answer = await browser.get("/metrics", headers={"Authorization": f"Bearer {API_KEY}"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = answer.text.splitlines()
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
        assert line in told


async def test_metrics_are_told_also_while_the_database_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StorageUnavailable

    monkeypatch.setattr(world.parts.insights, "status", away)
    async with world.browser() as browser:
        answer = await browser.get("/metrics")
    assert answer.status_code == 200
    assert "feedzone_database_up 0.0" in answer.text


class Painter:
    """Renders what it was told to, and counts how often."""

    def __init__(self) -> None:
        self.picture = "one"
        self.painted = 0

    async def __call__(self) -> str:
        self.painted += 1
        if self.picture == "broken":
            raise StorageUnavailable
        return self.picture


class Ticks:
    """A clock whose sleepers wake when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, _: float) -> None:
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]

    async def tick(self) -> None:
        while not self.waiting:
            await asyncio.sleep(0)
        self.waiting.pop().set_result(None)
        while not self.waiting:
            await asyncio.sleep(0)


async def test_however_many_look_the_page_is_rendered_once_and_sent_only_when_it_changed() -> None:
    painter, ticks = Painter(), Ticks()
    live = Live(painter, ticks)
    first, second = live.follow(None), live.follow(None)
    shown = [await anext(first), await anext(second)]
    assert [message.data for message in shown] == ["one", "one"]
    waiting = [asyncio.ensure_future(anext(first)), asyncio.ensure_future(anext(second))]
    for _ in range(3):
        await ticks.tick()
    assert not any(future.done() for future in waiting)
    painter.picture = "broken"
    await ticks.tick()
    painter.picture = "two"
    await ticks.tick()
    assert [(await future).data for future in waiting] == ["two", "two"]
    assert painter.painted == 6
    known = live.follow(str((await anext(live.follow(None))).id))
    later = asyncio.ensure_future(anext(known))
    painter.picture = "three"
    await ticks.tick()
    assert (await later).data == "three"
    for stream in (first, second, known):
        await stream.aclose()
    live.close()


async def test_nothing_is_rendered_while_nobody_looks() -> None:
    painter, ticks = Painter(), Ticks()
    live = Live(painter, ticks)
    stream = live.follow(None)
    await anext(stream)
    await stream.aclose()
    assert live.listeners == 0
    await asyncio.sleep(0)
    assert ticks.waiting[0].cancelled()
    again = live.follow(None)
    painter.picture = "two"
    assert (await anext(again)).data == "two"
    await again.aclose()


async def listeners(world: World, expected: int) -> None:
    """Wait until the page has so many."""
    async with asyncio.timeout(5):
        while world.site.state.live.listeners != expected:
            await asyncio.sleep(0.01)


async def test_an_open_page_follows_and_does_not_keep_the_server_from_stopping(world: World) -> None:
    server = uvicorn.Server(uvicorn.Config(world.site, port=0, log_config=None, lifespan="on"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as browser:
        home = (await browser.get("/")).text
        path = re.search(r'data-live="([^"]*)"', home).group(1)
        async with browser.stream("GET", path) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            await world.connect()
            lines = stream.aiter_lines()
            async for line in lines:
                if "Ada Lovelace" in line:
                    break
            async with browser.stream("GET", path):
                await listeners(world, 2)
            await listeners(world, 1)
            async with asyncio.timeout(5):
                server.should_exit = True
                end_streams(world.site)
                async for _ in lines:
                    pass
                await serving
