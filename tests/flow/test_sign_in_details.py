"""What the cookies of a sign-in hold, and what another site can do with a link."""

from __future__ import annotations

import base64
import re
from http.cookies import SimpleCookie
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from browsing import connect, csrf, sign_in
from web_world import PASSWORD, World

from feedzone.store import athletes
from feedzone.web import connections, server
from feedzone.web.auth.access import can_view
from feedzone.web.auth.viewer import Viewer, viewer

DAY_S = 86_400


def cookies_of(answer: httpx.Response) -> dict[str, Any]:
    jar: SimpleCookie = SimpleCookie()
    for header in answer.headers.get_list("set-cookie"):
        jar.load(header)
    return dict(jar)


async def test_a_session_lasts_thirty_days_and_no_script_or_other_site_reads_it(public: World) -> None:
    async with public.browser() as browser:
        session = cookies_of(await sign_in(browser))["__Host-feedzone_session"]
    assert session["max-age"] == str(30 * DAY_S)
    assert session["path"] == "/"
    assert session["samesite"].lower() == "lax"
    assert session["httponly"]
    assert session["secure"]


async def test_the_display_preferences_last_a_year_and_only_known_ones_are_stored(public: World) -> None:
    async with public.browser() as browser:
        await browser.get("/login")
        form = {"theme": "dark", "units": "furlongs", "back": "//elsewhere.test"}
        answer = await browser.post("/preferences", data=form, headers=csrf(browser))
    stored = cookies_of(answer)
    assert stored["feedzone_theme"].value == "dark"
    assert stored["feedzone_theme"]["max-age"] == str(365 * DAY_S)
    assert "feedzone_units" not in stored
    assert answer.headers["location"] == "/"


async def test_signing_out_removes_the_cookie(public: World) -> None:
    async with public.browser() as browser:
        await sign_in(browser)
        removed = cookies_of(await browser.post("/logout", headers=csrf(browser)))["__Host-feedzone_session"]
    assert (removed.value, removed["max-age"]) == ("", "0")


async def test_an_athlete_who_left_and_returns_is_signed_in_again(public: World) -> None:
    async with public.browser() as browser:
        await connect(public, browser)
        await public.parts.athletes.disconnect(42)
        assert (await browser.get("/me")).status_code == 303
        await connect(public, browser)
        assert (await browser.get("/me")).status_code == 200


async def test_a_monitor_may_send_the_password_with_any_user_name(public: World) -> None:
    async with public.browser() as monitor:
        assert (await monitor.get("/metrics", auth=("anyone", PASSWORD))).status_code == 200
        assert (await monitor.get("/metrics", auth=("anyone", f"x:{PASSWORD}"))).status_code == 401


async def test_an_invented_browser_id_does_not_evade_the_limit_of_guesses(public: World) -> None:
    async with public.browser() as browser:
        for number in range(10):
            browser.cookies.set("__Host-feedzone_browser", f"invented{number}.0000")
            assert (await sign_in(browser, "guess")).status_code == 401
        assert (await sign_in(browser, "guess")).status_code == 429


async def test_another_site_cannot_put_a_notice_into_a_page(public: World) -> None:
    text = base64.urlsafe_b64encode(msgspec.json.encode({"text": "Send us your password"})).decode()
    async with public.browser() as browser:
        await sign_in(browser)
        browser.cookies.set("__Host-feedzone_notice", f"{text}.{'0' * 64}")
        assert "Send us your password" not in (await browser.get("/health")).text


async def test_an_athlete_can_take_the_operators_view_back(public: World) -> None:
    async with public.browser() as browser:
        for share, allowed in (("yes", True), ("no", False)):
            leaving = await browser.get("/connect", params={"share": share})
            state = re.search(r"state=([^&]+)", leaving.headers["location"]).group(1)
            returning = {"state": state, "code": "c", "scope": "read,activity:read_all"}
            await browser.get("/connect/callback", params=returning)
            row = await public.database.read(lambda c: athletes.get(c, 42))
            assert bool(row.operator_may_see) is allowed


@pytest.mark.parametrize(
    ("cookie", "zone"),
    [("Europe%2FBerlin", "Europe/Berlin"), ("UTC", "UTC"), ("../etc", "UTC"), ("Europe/Nowhere", "UTC")],
)
def test_the_browsers_time_zone_is_used_if_it_exists(cookie: str, zone: str) -> None:
    shown = viewer({"feedzone_zone": cookie}, is_operator=False, athlete_id=None, signed_in=False)
    assert (shown.zone, shown.units, shown.theme) == (zone, "metric", "auto")


async def test_an_athlete_who_signs_in_as_operator_stays_signed_in_as_athlete(public: World) -> None:
    async with public.browser() as browser:
        await connect(public, browser)
        await sign_in(browser)
        assert (await browser.get("/me")).status_code == 200
        assert (await browser.get("/health")).status_code == 200


async def test_a_wrong_password_is_logged_with_its_address_and_without_the_password(
    public: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs such as fail2ban read it."""
    logged: list[tuple[str, dict[str, Any]]] = []

    class Recorder:
        def warning(self, name: str, **values: Any) -> None:
            logged.append((name, values))

    monkeypatch.setattr("feedzone.web.auth.access.log", Recorder())
    async with public.browser() as browser:
        await sign_in(browser, "guess")
    assert logged == [("wrong_admin_password", {"address": "127.0.0.1"})]


@pytest.mark.parametrize(
    ("site", "share", "allowed"),
    [
        ("same-origin", "yes", True),
        ("none", "yes", True),
        ("same-origin", "no", False),
    ],
)
async def test_only_this_sites_own_link_lets_the_operator_see_activities(
    public: World, site: str, share: str, allowed: bool
) -> None:
    async with public.browser() as browser:
        leaving = await browser.get("/connect", params={"share": share}, headers={"sec-fetch-site": site})
        state = re.search(r"state=([^&]+)", leaving.headers["location"]).group(1)
        returning = {"state": state, "code": "c", "scope": "read,activity:read_all"}
        assert (await browser.get("/connect/callback", params=returning)).status_code == 303
    row = await public.database.read(lambda c: athletes.get(c, 42))
    assert bool(row.operator_may_see) is allowed


@pytest.mark.parametrize(
    ("query", "prompt"), [("", "auto"), ("?force=", "auto"), ("?force=0", "auto"), ("?force=1", "force")]
)
async def test_strava_asks_again_only_on_request(public: World, query: str, prompt: str) -> None:
    async with public.browser() as browser:
        leaving = await browser.get(f"/connect{query}")
        assert f"approval_prompt={prompt}" in leaving.headers["location"]


def test_the_limits_that_strangers_meet() -> None:
    """A larger one lets few clients hold memory or connections that deliveries need."""
    assert connections.HEAD_LIMIT <= 64 * 1024
    assert connections.HEADERS_LIMIT <= 200
    assert connections.URL_LIMIT <= 8 * 1024
    assert connections.HEAD_WITHIN_S <= 10
    assert connections.WRITE_WITHIN_S <= 30
    assert server.SITE_BODY_LIMIT <= 64 * 1024
    assert server.SITE_BODY_WITHIN_S <= 10
    assert server.SITE_REQUESTS < connections.MAX_CONNECTIONS


async def test_an_open_page_whose_session_has_ended_goes_to_the_sign_in(public: World) -> None:
    """Its changing part is requested by a script, which follows no redirect."""
    async with public.browser() as browser:
        answer = await browser.get("/events", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


async def test_the_download_of_a_new_athlete_has_every_file(public: World) -> None:
    await public.connect()
    names = {name async for name, _ in public.parts.queries.export.pieces(42)}
    assert names >= {"about.txt", "athlete.json", "gear.json", "changes.jsonl"}


@pytest.mark.parametrize(("athlete_id", "allowed"), [(42, True), (43, False), (None, False)])
def test_only_the_athlete_views_an_activity_unless_they_share_it(
    public: World, athlete_id: int | None, allowed: bool
) -> None:
    theirs = SimpleNamespace(athlete_id=42, operator_may_see=False)
    assert can_view(public.parts.options, Viewer(athlete_id=athlete_id), theirs) is allowed
    assert can_view(public.parts.options, Viewer(is_operator=True, athlete_id=athlete_id), theirs) is allowed
    shared = SimpleNamespace(athlete_id=42, operator_may_see=True)
    assert can_view(public.parts.options, Viewer(is_operator=True, athlete_id=athlete_id), shared)


async def test_a_download_holds_every_activity_and_change_of_a_long_history(
    public: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedzone.queries.export.DOCUMENTS", 2)
    monkeypatch.setattr("feedzone.queries.export.CHANGES", 2)
    await public.connect()
    for number in range(1, 6):
        await public.store(number)
        await public.store(number, name="New title")
    pieces = [piece async for piece in public.parts.queries.export.pieces(42)]
    names = [name for name, _ in pieces if re.fullmatch(r"activities/\d+\.json", name)]
    assert sorted(names) == [f"activities/{number}.json" for number in range(1, 6)]
    changes = b"".join(content for name, content in pieces if name == "changes.jsonl")
    assert changes.count(b'"New title"') == 5
