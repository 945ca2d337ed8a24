"""Connecting an athlete through Strava's consent page."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from web_world import ACCESS_TOKEN, ALL, REFRESH_TOKEN, World, web_world

from feedzone.domain.athlete import AthleteProfile
from feedzone.errors import (
    AppInactive,
    Fault,
    FeedzoneError,
    PermanentError,
    SeatsFull,
    TransientError,
    TransportFailure,
)
from feedzone.store.engine.database import Database

CODE = "canary-code"


async def leave(browser: httpx.AsyncClient, path: str = "/connect") -> dict[str, str]:
    """Follow our link to Strava; return the parameters of the consent address."""
    answer = await browser.get(path)
    assert answer.status_code == 303
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


async def come_back(browser: httpx.AsyncClient, **params: str) -> httpx.Response:
    return await browser.get("/connect/callback", params=params)


async def consent(world: World, **params: str) -> tuple[httpx.Response, str]:
    """Connect with `params` in Strava's response; return our last page and the state."""
    async with world.browser() as browser:
        state = (await leave(browser))["state"]
        answer = await come_back(browser, state=state, **params)
        assert not any("feedzone_connect" in name for name in browser.cookies)
        if answer.status_code == 303:
            answer = await browser.get(answer.headers["location"])
        return answer, state


async def test_an_athlete_who_connects_is_stored_and_sees_the_initial_sync(world: World) -> None:
    page, state = await consent(world, code=CODE, scope=ALL)
    assert page.status_code == 200
    assert "Ada is connected" in page.text
    assert "Reading your activity list at Strava" in page.text
    assert "<strong>0</strong> of 0 activities synced" in page.text
    athlete = await world.parts.queries.athletes.get(42)
    assert (athlete.status, athlete.name) == ("active", "Ada Lovelace")
    for secret in (CODE, state, ACCESS_TOKEN, REFRESH_TOKEN):
        assert secret not in page.text
        assert secret not in str(page.url)


async def test_the_page_can_be_reloaded_and_its_progress_moves(world: World) -> None:
    async with world.browser() as browser:
        state = (await leave(browser))["state"]
        page = (await come_back(browser, state=state, code=CODE, scope=ALL)).headers["location"]
        await world.store(1)
        await world.store(2, status="failed")
        for headers in ({}, {}, {"HX-Request": "true"}):
            answer = await browser.get(page, headers=headers)
            assert answer.status_code == 200
            assert "<strong>1</strong> of 2 activities synced, 1 failed" in answer.text
        assert "<html" not in answer.text


async def test_the_progress_address_works_for_an_hour(world: World) -> None:
    page, _ = await consent(world, code=CODE, scope=ALL)
    address = parse_qs(page.url.query.decode())["of"][0]
    async with world.browser() as browser:
        for forged in ("", "42", "42.9999999999.", f"43{address[2:]}", address[:-1] + "é", "a.b.c"):
            answer = await browser.get("/connect/done", params={"of": forged})
            assert answer.status_code == 404
            assert "Ada" not in answer.text
        world.clock.pass_by(hours=1, seconds=1)
        assert (await browser.get("/connect/done", params={"of": address})).status_code == 404


async def test_without_a_client_secret_no_progress_address_is_valid(sqlite_database: Database) -> None:
    async with web_world(sqlite_database) as world:
        page, _ = await consent(world, code=CODE, scope=ALL)
        address = page.url.query.decode()
        object.__setattr__(world.parts.options, "strava_configured", False)
        async with world.browser() as browser:
            assert (await browser.get(f"/connect/done?{address}")).status_code == 404


async def test_the_redirect_to_strava_is_bound_to_this_browser(world: World) -> None:
    async with world.browser() as browser:
        answer = await browser.get("/connect")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    location = answer.headers["location"]
    assert location.startswith("https://strava.test/oauth/authorize?")
    assert "approval_prompt=auto" in location
    state = parse_qs(urlsplit(location).query)["state"][0]
    assert state not in cookie


async def test_behind_https_the_cookie_stays_on_https(sqlite_database: Database) -> None:
    async with web_world(sqlite_database, app_url="https://feedzone.test", is_local=False) as world:
        async with world.browser() as browser:
            assert "secure" in (await browser.get("/connect")).headers["set-cookie"].lower()
        assert (await consent(world, code=CODE, scope=ALL))[0].status_code == 200


async def test_force_makes_strava_ask_again(world: World) -> None:
    async with world.browser() as browser:
        assert (await leave(browser, "/connect?force=1"))["approval_prompt"] == "force"


async def test_without_a_strava_application_the_page_says_what_to_set(sqlite_database: Database) -> None:
    async with web_world(sqlite_database, strava_configured=False) as world, world.browser() as browser:
        answer = await browser.get("/connect")
    assert answer.status_code == 503
    assert "STRAVA_CLIENT_ID" in answer.text
    assert "STRAVA_CLIENT_SECRET" in answer.text


async def test_declining_stores_nothing_and_offers_another_try(world: World) -> None:
    page, _ = await consent(world, error="access_denied")
    assert page.status_code == 200
    assert "You declined" in page.text
    assert 'href="/connect"' in page.text
    assert world.desk.codes == []


async def test_an_unknown_error_from_strava_is_not_echoed(world: World) -> None:
    page, _ = await consent(world, error="<script>alert(1)</script>")
    assert page.status_code == 400
    assert "alert" not in page.text


async def test_a_callback_without_a_code_is_rejected(world: World) -> None:
    assert (await consent(world, scope=ALL))[0].status_code == 400


async def test_a_state_works_once(world: World) -> None:
    async with world.browser() as browser:
        state = (await leave(browser))["state"]
        cookies = dict(browser.cookies)
        first = await come_back(browser, state=state, code=CODE, scope=ALL)
        browser.cookies.update(cookies)
        second = await come_back(browser, state=state, code=CODE, scope=ALL)
    assert (first.status_code, second.status_code) == (303, 400)
    assert world.desk.codes == [CODE]


async def test_a_state_of_another_browser_connects_nothing(world: World) -> None:
    async with world.browser() as attacker, world.browser() as victim:
        theirs = (await leave(attacker))["state"]
        assert (await come_back(victim, state=theirs, code=CODE, scope=ALL)).status_code == 400
        await leave(victim)
        assert (await come_back(victim, state=theirs, code=CODE, scope=ALL)).status_code == 400
        assert (await come_back(victim, code=CODE, scope=ALL)).status_code == 400
    assert world.desk.codes == []


async def test_an_expired_consent_is_rejected(world: World) -> None:
    async with world.browser() as browser:
        state = (await leave(browser))["state"]
        world.clock.pass_by(hours=1, seconds=1)
        assert (await come_back(browser, state=state, code=CODE, scope=ALL)).status_code == 400


@pytest.mark.parametrize(
    ("scope", "status", "says"),
    [
        ("read,activity:read", "active", "private activities"),
        ("read", "needs_scope", "nothing can be synced"),
        ("", "needs_scope", "nothing can be synced"),
    ],
)
async def test_an_unchecked_box_is_explained_with_a_link_to_allow_it(
    world: World, scope: str, status: str, says: str
) -> None:
    page, _ = await consent(world, code=CODE, scope=scope)
    assert page.status_code == 200
    assert says in page.text
    assert 'href="/connect?force=1"' in page.text
    athlete = await world.parts.queries.athletes.get(42)
    assert (athlete.status, athlete.no_events_expected) == (status, status == "needs_scope")


async def test_full_consent_shows_no_reconnect_link(world: World) -> None:
    page, _ = await consent(world, code=CODE, scope=f"{ALL},profile:read_all")
    assert "force=1" not in page.text


async def test_a_name_cannot_carry_markup(world: World) -> None:
    world.desk.profile = AthleteProfile(42, None, "<img src=x onerror=alert(1)>", None)
    page, _ = await consent(world, code=CODE, scope=ALL)
    assert "<img src=x" not in page.text


@pytest.mark.parametrize(
    ("refusal", "status", "says"),
    [
        (SeatsFull(403, "Forbidden", shape="120 bytes, JSON object"), 403, "seat"),
        (
            PermanentError(400, "Bad Request", (Fault("AuthorizationCode", "code", "invalid"),)),
            400,
            "used before",
        ),
        (
            PermanentError(400, "Bad Request", (Fault("Application", "client_secret", "invalid"),)),
            502,
            "STRAVA_CLIENT_SECRET",
        ),
        (AppInactive(403, "Forbidden"), 502, "disabled this application"),
        (TransientError(502, "<html>"), 502, "try again"),
        (TransportFailure("no answer"), 502, "try again"),
    ],
)
async def test_a_refusal_by_strava_is_explained_and_stores_nothing(
    world: World, refusal: FeedzoneError, status: int, says: str
) -> None:
    world.desk.refuses = refusal
    page, state = await consent(world, code=CODE, scope=ALL)
    assert page.status_code == status
    assert says in page.text
    assert CODE not in page.text
    assert state not in page.text
    assert (await world.parts.queries.athletes.page(10)).items == []


async def test_every_page_is_private_to_this_browser_and_loads_only_from_here(world: World) -> None:
    async with world.browser() as browser:
        for path in ("/join", "/connect", "/connect/callback", "/connect/done", "/connect/done?of=x"):
            headers = (await browser.get(path)).headers
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert headers["content-security-policy"].startswith("default-src 'self'")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("path", "to"), [("/connect?share=yes", "/join"), ("/connect?force=1", "/join?force=1")]
)
async def test_a_link_of_another_site_leads_to_our_button_first(
    world: World, site: str, path: str, to: str
) -> None:
    """Strava skips its page for athletes who agreed before: such a link would connect them unasked."""
    async with world.browser() as browser:
        answer = await browser.get(path, headers={"Sec-Fetch-Site": site})
        assert (answer.status_code, answer.headers["location"]) == (303, to)
        assert not any("feedzone_connect" in name for name in browser.cookies)
        page = (await browser.get(to)).text
        button = page.replace("&amp;", "&").split('class="strava unless-shared" href="')[1].split('"')[0]
        leaving = await browser.get(button, headers={"Sec-Fetch-Site": "same-origin"})
        assert leaving.headers["location"].startswith("https://strava.test/")
        assert ("approval_prompt=force" in leaving.headers["location"]) == (to != "/join")


async def test_a_visit_of_connect_writes_nothing(world: World) -> None:
    before = await world.parts.queries.status.stamp()
    async with world.browser() as browser:
        for _ in range(20):
            await leave(browser)
            await come_back(browser, state="forged", code=CODE)
            await come_back(browser, code=CODE)
    assert await world.parts.queries.status.stamp() == before
    assert world.desk.codes == []


async def test_a_state_cannot_be_altered(world: World) -> None:
    async with world.browser() as browser:
        state = (await leave(browser, "/connect?share=no"))["state"]
        parts = state.split(".")
        for altered in (
            ".".join([parts[0], "yes", *parts[2:]]),
            ".".join([*parts[:2], str(int(parts[2]) + 60), parts[3]]),
            f"{state}0",
            "a.b.c",
            "..",
            ".",
        ):
            assert (await come_back(browser, state=altered, code=CODE, scope=ALL)).status_code == 400
            await leave(browser)
    assert world.desk.codes == []


async def test_invented_codes_are_refused_after_a_while_without_asking_strava(world: World) -> None:
    world.desk.refuses = PermanentError(400, "Bad Request", (Fault("AuthorizationCode", "code", "invalid"),))
    for _ in range(10):
        assert (await consent(world, code="invented", scope=ALL))[0].status_code == 400
    page, _ = await consent(world, code="invented", scope=ALL)
    assert page.status_code == 429
    assert len(world.desk.codes) == 10
