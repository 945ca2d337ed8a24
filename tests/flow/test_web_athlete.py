"""The pages of an athlete, for the athlete and for the operator. tests/browser checks their look."""

from __future__ import annotations

import io
import re
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pyarrow.parquet as pq
import pytest
from browsing import act, connect, csrf, sign_in, words
from web_world import DETAIL, World, web_world

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.gear import GearListing, GearRecord
from feedzone.queries.export import zipped
from feedzone.store import athletes, gear
from feedzone.store.engine.database import Database

WALL = datetime(2026, 11, 3, 7, 0)  # noqa: DTZ001  (wall time)
SECRETS = ("Évian loop", "42.2 km", "26.2 mi", "Fjord Gravel", "Tue 3 Nov", "2026-11-03T07", "1:30:00")


@pytest.fixture
async def public(public: World) -> World:
    """A world with an athlete, a ride and a bike."""
    await public.connect()
    await furnish(public)
    return public


async def furnish(world: World) -> None:
    await world.store(1, name="Évian loop", moving_time=5400, total_elevation_gain=600.0)
    bike = GearRecord("b1", "bike", "Fjord Gravel", None, True, True, 4_000_000.0, "{}")
    told = GearListing(42, (bike,), ())
    await world.database.write(lambda c: gear.store(c, told, world.clock.now()))


async def read(browser: httpx.AsyncClient, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    return words(answer.text)


async def test_the_page_shows_calendar_sums_list_and_gear(world: World) -> None:
    await world.connect()
    await furnish(world)
    await world.store(2, sport_type="Run", name="Canal", distance=10_000.0, moving_time=3000)
    async with world.browser() as browser:
        html = (await browser.get("/athletes/42")).text
    assert 'aria-label="Tuesday 3 November: 2 activities, 2 h 20 min, 52.2 km"' in html
    assert 'href="/athletes/42?on=2026-11-03#activities"' in html
    assert 'href="/activities/1"' in html
    text = words(html)
    assert "Ride 1 42.2 km 1 h 30 min 600 m" in text
    assert "Run 1 10.0 km 50 min" in text
    assert "Fjord Gravel primary retired 4,000 km" in text
    assert "Évian loop Ride · 42.2 km · 1:30:00 · ↑ 600 m Tue 3 Nov" in text


async def test_units_are_the_readers(world: World) -> None:
    await world.connect()
    await furnish(world)
    async with world.browser(cookies={"feedzone_units": "imperial"}) as browser:
        text = await read(browser, "/athletes/42")
    assert "26.2 mi" in text
    assert "1,969 ft" in text
    assert "2,485 mi" in text
    assert " km" not in text


async def test_the_list_is_searched_filtered_and_paged(world: World) -> None:
    await world.connect()
    for number in range(70):
        day = WALL - timedelta(days=number)
        await world.store(number + 1, name=f"Lap {number}", start_date_local=day)
    await world.store(100, name="Dawn", sport_type="Run", status="failed")

    async def shown(query: str) -> list[int]:
        async with world.browser() as browser:
            answer = await browser.get(f"/athletes/42{query}")
            assert answer.status_code == 200
            return [int(one) for one in re.findall(r'href="/activities/(\d+)"', answer.text)]

    assert await shown("") == [100, *range(1, 30)]
    assert await shown("?q=dawn") == [100]
    assert await shown("?q=&sport=&state=") == [100, *range(1, 30)]
    assert await shown("?sport=Run") == [100]
    assert await shown("?state=failed") == [100]
    assert await shown("?state=pending") == []
    assert await shown("?on=2026-11-02") == [2]
    assert len(await shown("?on=2026-10")) == 30
    assert await shown("?year=2025") == []
    async with world.browser() as browser:
        answer = await browser.get("/athletes/42?q=lap")
        seen, older = 30, re.search(r'href="([^"]+cursor=[^"]+)"', answer.text)
        while older:
            assert "q=lap" in older.group(1)
            answer = await browser.get(older.group(1).replace("&amp;", "&"))
            seen += answer.text.count('href="/activities/')
            older = re.search(r'href="([^"]+cursor=[^"]+)">Older', answer.text)
        assert seen == 70


@pytest.mark.parametrize(
    "query",
    ["on=yesterday", "on=2026-13", "on=2026-02-30", "year=0", "state=odd", "cursor=x", "q=" + "x" * 101],
)
async def test_an_invalid_filter_is_rejected(world: World, query: str) -> None:
    await world.connect()
    async with world.browser() as browser:
        assert (await browser.get(f"/athletes/42?{query}")).status_code == 400


async def test_an_activity_without_a_start_time_is_listed(world: World) -> None:
    await world.connect()
    await world.store(7, name=None, start_date_local=None, distance=None, status="failed")
    async with world.browser() as browser:
        assert "Unnamed Ride failed" in await read(browser, "/athletes/42")
        assert "Unnamed" not in await read(browser, "/athletes/42?year=2026")


async def test_an_empty_page_explains_the_next_step(world: World) -> None:
    await world.connect()
    async with world.browser() as browser:
        assert "Recent activities are being synced. They appear here automatically." in await read(
            browser, "/athletes/42"
        )
        await world.database.write(lambda c: athletes.finish_listing(c, 42, world.clock.now()))
        assert "“Sync full history” fetches all activities" in await read(browser, "/athletes/42")
        assert (await browser.get("/athletes/7")).status_code == 404


async def test_without_consent_an_operator_sees_counts_but_no_names_distances_or_dates(public: World) -> None:
    async with public.browser() as browser:
        await sign_in(browser)
        answer = await browser.get("/athletes/42?q=vian&on=2026-11-03")
        text = words(answer.text)
        for secret in SECRETS:
            assert secret not in answer.text, secret
        assert "/activities/1" not in answer.text
        assert "Synced 1 Waiting 0 Failed 0" in text
        assert "has not shared activity names" in text
        assert "https://feedzone.test/me" in text
        await public.parts.athletes.let_operator_see(42, True)
        assert "Évian loop" in await read(browser, "/athletes/42")
        await public.parts.athletes.let_operator_see(42, False)
        assert "Évian loop" not in await read(browser, "/athletes/42")


async def test_an_athlete_shares_or_hides_their_page_with_one_click(public: World) -> None:
    async with public.browser() as mine, public.browser() as operator:
        await connect(public, mine)
        await sign_in(operator)
        assert "Évian loop" in await read(mine, "/me")
        assert "Évian loop" not in await read(operator, "/athletes/42")
        for share, said, seen in (("yes", "can now see", True), ("no", "can no longer see", False)):
            answer = await mine.post("/me/sharing", data={"share": share}, headers=csrf(mine))
            assert answer.headers["location"] == "/me"
            assert f"The operator {said} your activities" in await read(mine, "/me")
            assert ("Évian loop" in await read(operator, "/athletes/42")) is seen
        assert (await mine.post("/me/sharing", data={"share": "?"}, headers=csrf(mine))).status_code == 400


async def test_an_athlete_reaches_no_operator_page_and_no_other_athletes_data(public: World) -> None:
    public.desk.profile = AthleteProfile(43, None, "Grace", "Hopper")
    async with public.browser() as browser:
        await connect(public, browser)
        for path in ("/athletes/42", "/athletes/43", "/athletes/42?q=loop"):
            assert (await browser.get(path)).status_code == 303
        page = (await browser.get("/me")).text
        assert not any(secret in page for secret in SECRETS)
        archive = await files(browser)
        assert not [name for name in archive if name.endswith(".parquet")]
        assert b"vian" not in b"".join(archive.values())


async def files(browser: httpx.AsyncClient) -> dict[str, bytes]:
    answer = await browser.get("/me/download")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["cache-control"] == "no-store"
    assert re.search(
        r'attachment; filename="feedzone-\d+-2026-11-03.zip"', answer.headers["content-disposition"]
    )
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return {name: archive.read(name) for name in archive.namelist()}


async def test_a_download_contains_all_data_as_received(public: World) -> None:
    await public.store_streams(1)
    await public.store(1, name="Évian, renamed")
    async with public.browser() as browser:
        assert (await browser.get("/me/download")).status_code == 303  # nobody has signed in
        await connect(public, browser)
        held = await files(browser)
    assert held["activities/1.json"] == DETAIL.encode()
    table = pq.read_table(io.BytesIO(held["streams/1.parquet"]))
    assert table.num_rows == 3
    assert table.column("lat").to_pylist()[0] is not None
    assert msgspec.json.decode(held["gear.json"])[0]["name"] == "Fjord Gravel"
    assert msgspec.json.decode(held["athlete.json"])["firstname"] == "Ada"
    changes = [msgspec.json.decode(line) for line in held["changes.jsonl"].splitlines()]
    assert ("name", "Évian, renamed") in [(change["field"], change["new_value"]) for change in changes]
    assert b"token" not in held["athlete.json"].replace(b"token_expires_at", b"")
    assert "gear.json" in held["about.txt"].decode()


async def test_an_archive_is_streamed_without_filling_memory() -> None:
    async def pieces() -> AsyncIterator[tuple[str, bytes]]:
        for number in range(2000):
            yield f"streams/{number}.parquet", bytes([number % 256]) * 50_000

    tracemalloc.start()
    size = 0
    async for chunk in zipped(pieces(), datetime(2026, 11, 3, tzinfo=UTC)):
        size += len(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 100_000_000
    assert peak < 10_000_000


async def test_an_operators_action_is_confirmed_on_the_athletes_page(world: World) -> None:
    await world.connect()
    async with world.browser() as browser:
        said = await act(browser, "/actions/athletes/42/sync", back="/athletes/42")
        assert "Syncing the last 30 days of Ada" in said
        assert "Permissions" in said
        assert "queued" in await act(browser, "/actions/athletes/42/verify", back="/athletes/42")
        said = await act(browser, "/actions/athletes/42/sync", back="https://elsewhere.test")
        assert "Invite an athlete" in said


async def test_a_disconnected_athlete_has_a_page_with_only_the_receipt(public: World) -> None:
    await public.parts.athletes.disconnect(42)
    async with public.browser() as browser:
        await sign_in(browser)
        text = await read(browser, "/athletes/42")
    assert "Athlete 42 disconnected" in text
    assert "Activities 1" in text
    assert "Ada" not in text
    assert not any(secret in text for secret in SECRETS)


async def test_a_missing_permission_is_shown_with_its_consequence(world: World) -> None:
    await world.connect("read,activity:read")
    async with world.browser() as browser:
        text = await read(browser, "/athletes/42")
        assert "Private activities are not synced, and an activity made private is deleted here." in text
        assert "Bikes and shoes are not synced." in text
        await connect(world, browser)
        assert "Reconnect to allow it." in await read(browser, "/me")


@pytest.mark.parametrize("query", ["", "?year=2026&on=2026-11&q=vi&sport=Ride&state=synced"])
async def test_the_page_is_read_from_both_databases(database: Database, query: str) -> None:
    async with web_world(database) as world:
        await world.connect()
        await furnish(world)
        await world.deliver(9)
        async with world.browser() as browser:
            text = await read(browser, f"/athletes/42{query}")
            assert "Évian loop" in text
            await connect(world, browser)
            assert (await files(browser))["activities/1.json"] == DETAIL.encode()
            assert "Évian loop" in await read(browser, "/connect/done")


async def test_the_consent_page_names_data_storage_period_and_withdrawal(sqlite_database: Database) -> None:
    async with (
        web_world(
            sqlite_database, app_url="https://feedzone.test", is_local=False, retention_days=90, event_days=90
        ) as world,
        world.browser() as browser,
    ):
        html = (await browser.get("/join")).text
        text = words(html)
        for said in ("feedzone.test", "Nothing is ever written to Strava", "after 90 days", "not affiliated"):
            assert said in text, said
        assert "The last 30 days are synced first" in text
        assert " checked" not in html
        assert (await browser.get("/connect")).status_code == 303


@pytest.mark.parametrize(
    ("query", "headers", "may_see"),
    [
        ("?share=yes", {}, True),
        ("?share=yes", {"Sec-Fetch-Site": "same-origin"}, True),
        ("?share=yes", {"Sec-Fetch-Site": "none"}, True),
        ("?share=no", {}, False),
        ("?share=odd", {}, False),
        ("", {}, False),
    ],
)
async def test_the_sharing_choice_survives_the_way_to_strava_and_back(
    world: World, query: str, headers: dict[str, str], may_see: bool
) -> None:
    async with world.browser() as browser:
        leaving = await browser.get(f"/connect{query}", headers=headers)
        state = parse_qs(urlsplit(leaving.headers["location"]).query)["state"][0]
        await browser.get("/connect/callback", params={"state": state, "code": "c", "scope": "activity:read"})
    assert (await world.parts.queries.athletes.get(42)).operator_may_see is may_see


async def test_reconnecting_keeps_the_sharing_choice(world: World) -> None:
    await world.connect()
    await world.parts.athletes.let_operator_see(42, True)
    async with world.browser() as browser:
        await connect(world, browser)
    assert (await world.parts.queries.athletes.get(42)).operator_may_see


async def test_the_sharing_box_is_checked_in_advance_only_for_the_operator(public: World) -> None:
    async with public.browser() as browser:
        assert " checked" not in (await browser.get("/join")).text
        await sign_in(browser)
        assert " checked" in (await browser.get("/join")).text


async def test_arriving_activities_are_shown_only_to_their_athlete(public: World) -> None:
    async with public.browser() as mine, public.browser() as stranger:
        await connect(public, mine)
        leaving = await mine.get("/connect")
        state = parse_qs(urlsplit(leaving.headers["location"]).query)["state"][0]
        answer = await mine.get(
            "/connect/callback", params={"state": state, "code": "c", "scope": "activity:read"}
        )
        page = answer.headers["location"]
        assert "Évian loop" in await read(mine, page)
        assert "The operator may see my activities" in await read(mine, page)
        text = await read(stranger, page)
        assert "Ada is connected" in text
        assert "1 of 1 activity synced" in text
        assert not any(secret in text for secret in SECRETS)
        assert "data-live" not in (await stranger.get(page)).text
