"""Access: every route declares a rule and refuses everybody else."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from browsing import connect, csrf, csrf_token, sign_in
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from web_world import API_KEY, KEY, PASSWORD, World, web_world

from feedzone.domain.athlete import AthleteProfile
from feedzone.store.engine.database import Database
from feedzone.web.app import create_litestar
from feedzone.web.rendering.flash import local_path

RULES = {"anyone", "operator", "athlete", "member", "api", "metrics"}
EXAMPLES = {
    "int": "42",
    "uuid": "00000000-0000-7000-8000-000000000001",
    "str": "accept",
}
OPEN = {
    "/connect",
    "/connect/callback",
    "/connect/done",
    "/left",
    "/join",
    "/docs",
    "/docs/openapi.json",
    "/docs/{path:str}",
    "/healthz",
    "/readyz",
    "/login",
    "/logout",
    "/preferences",
    "/static/{name:str}",
}
"""The open routes. A new open route must be added here, too."""


@pytest.fixture
def throttle_clock(public: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the throttle count by the clock of the world."""
    now = SimpleNamespace(time=lambda: public.clock.now().timestamp())
    monkeypatch.setattr("limits.storage.memory.time", now)


def handlers(site: Litestar) -> list[tuple[str, HTTPRouteHandler]]:
    """Return every route with its handlers, without Litestar's own for OPTIONS."""
    return [
        (route.path, handler)
        for route in site.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.http_methods != {"OPTIONS"}
    ]


def address(path: str) -> str:
    return re.sub(r"{\w+:(\w+)}", lambda part: EXAMPLES[part.group(1)], path)


async def test_every_route_declares_who_may_use_it(world: World) -> None:
    found = handlers(world.site)
    assert len(found) > 40
    for path, handler in found:
        assert handler.opt.get("access") in RULES, f"{path} declares no rule of access"
    assert {path for path, handler in found if handler.opt["access"] == "anyone"} == OPEN


async def test_routes_that_are_not_open_refuse_strangers(public: World) -> None:
    async with public.browser() as browser:
        await browser.get("/login")
        for path, handler in handlers(public.site):
            if path in OPEN:
                continue
            for method in handler.http_methods - {"HEAD"}:
                answer = await browser.request(method, address(path), headers=csrf(browser))
                sent_away = answer.status_code == 303 and answer.headers["location"].startswith("/login")
                assert answer.status_code in (401, 403) or sent_away, f"{method} {path}: {answer.status_code}"


async def test_programs_get_the_api_and_nothing_else(public: World) -> None:
    async with public.browser(headers=KEY) as browser:
        await browser.get("/login")
        for path, handler in handlers(public.site):
            if handler.opt["access"] not in ("operator", "athlete", "member"):
                continue
            for method in handler.http_methods - {"HEAD"}:
                answer = await browser.request(method, address(path), headers=csrf(browser))
                assert answer.status_code in (303, 401), f"{method} {path}"


async def test_the_password_opens_the_pages_and_not_the_api(public: World) -> None:
    async with public.browser() as browser:
        answer = await browser.get("/events?status=failed")
        assert answer.headers["location"] == "/login?next=%2Fevents%3Fstatus%3Dfailed"
        for wrong in ("", "Correct horse", f"{PASSWORD} ", "é"):
            answer = await sign_in(browser, wrong)
            assert answer.status_code == 401
            assert "Wrong password." in answer.text
        answer = await sign_in(browser, to="/events?status=failed")
        assert (answer.status_code, answer.headers["location"]) == (303, "/events?status=failed")
        for path in ("/", "/athletes", "/events", "/failures", "/health", "/metrics"):
            assert (await browser.get(path)).status_code == 200, path
        assert (await browser.get("/api/v1/status")).status_code == 401


async def test_signing_out_ends_the_session(public: World) -> None:
    async with public.browser() as browser:
        await sign_in(browser)
        assert (await browser.get("/")).status_code == 200
        await browser.post("/logout", headers=csrf(browser))
        assert (await browser.get("/")).status_code == 303


async def test_a_copied_cookie_opens_nothing_after_sign_out(public: World) -> None:
    async with public.browser() as browser, public.browser() as other:
        await sign_in(other)
        await connect(public, browser)
        await sign_in(browser)
        copies = [dict(browser.cookies)]
        await browser.post("/logout", headers=csrf(browser))
        for cookies in copies:
            async with public.browser(cookies=cookies) as thief:
                for path in ("/", "/me", "/metrics"):
                    assert (await thief.get(path)).status_code in (303, 401), path
        assert (await other.get("/")).status_code == 200  # another session goes on


async def test_the_cookie_of_an_athlete_who_left_opens_nothing_even_after_they_return(public: World) -> None:
    async with public.browser() as browser, public.browser() as returned:
        await connect(public, browser)
        assert (await browser.get("/me")).status_code == 200
        await public.parts.athletes.disconnect(42)
        assert (await browser.get("/me")).status_code == 303
        await connect(public, returned)
        assert (await returned.get("/me")).status_code == 200
        assert (await browser.get("/me")).status_code == 303


async def test_an_operator_stays_signed_in_when_their_athlete_leaves(public: World) -> None:
    async with public.browser() as browser:
        await sign_in(browser)
        await connect(public, browser)
        await public.parts.athletes.disconnect(42)
        assert (await browser.get("/")).status_code == 200
        assert (await browser.get("/me")).status_code == 303


async def test_a_session_expires_and_cannot_be_forged(public: World) -> None:
    async with public.browser() as browser:
        await sign_in(browser)
        real = browser.cookies["__Host-feedzone_session"]
        for forged in ("1..9999999999.x", real[:-1] + ("0" if real[-1] != "0" else "1"), "x", "", "1" + real):
            headers = {"Cookie": f"__Host-feedzone_session={forged}"}
            async with public.browser(headers=headers) as stranger:
                assert (await stranger.get("/")).status_code == 303, forged
        public.clock.pass_by(days=31)
        assert (await browser.get("/")).status_code == 303


@pytest.mark.usefixtures("throttle_clock")
async def test_guessing_the_password_is_stopped_for_a_while(public: World) -> None:
    async with public.browser() as browser:
        for _ in range(10):
            assert (await sign_in(browser, "guess")).status_code == 401
        answer = await sign_in(browser)
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "61"
        assert (await browser.get("/metrics", auth=("a", PASSWORD))).status_code == 429
        public.clock.pass_by(minutes=1, seconds=1)
        assert (await sign_in(browser)).status_code == 303


@pytest.mark.usefixtures("throttle_clock")
async def test_guesses_from_many_addresses_are_stopped_without_locking_the_operator_out(
    public: World,
) -> None:
    throttle = public.site.state.access.throttle
    throttle.succeeded("192.0.2.1")
    for guesser in range(100):
        throttle.failed(f"198.51.100.{guesser}")
    assert throttle.wait_s("203.0.113.5") > 0
    assert throttle.wait_s("192.0.2.1") == 0
    public.clock.pass_by(minutes=1, seconds=1)
    assert throttle.wait_s("203.0.113.5") == 0


@pytest.mark.usefixtures("throttle_clock")
async def test_guessing_the_api_key_is_stopped_like_guessing_the_password(public: World) -> None:
    async with public.browser() as program:
        for number in range(10):
            guess = {"Authorization": f"Bearer guess-{number}"}
            assert (await program.get("/api/v1/status", headers=guess)).status_code == 401
        assert (await program.get("/api/v1/status", headers=KEY)).status_code == 429
        assert (await program.get("/api/v1/status")).status_code == 401  # no guess
        public.clock.pass_by(minutes=1, seconds=1)
        assert (await program.get("/api/v1/status", headers=KEY)).status_code == 200


@pytest.mark.usefixtures("throttle_clock")
async def test_a_browser_that_signed_in_before_is_slowed_but_not_locked_out(public: World) -> None:
    throttle = public.site.state.access.throttle
    async with public.browser() as browser:
        await sign_in(browser)
        await browser.post("/logout", headers=csrf(browser))
        for _ in range(100):
            throttle.failed("127.0.0.1")
        async with public.browser() as stranger:
            assert (await sign_in(stranger)).status_code == 429
        assert (await sign_in(browser)).status_code == 303
        await browser.post("/logout", headers=csrf(browser))
        for _ in range(5):
            assert (await sign_in(browser, "typing error")).status_code == 401
        assert (await sign_in(browser)).status_code == 429


async def test_forms_work_again_after_the_password_has_changed(public: World) -> None:
    async with public.browser() as browser:
        await browser.get("/login")
        stale = csrf_token(browser)
        new_key = replace(public.parts.options, session_key=b"derived from another password")
        transport = httpx.ASGITransport(create_litestar(replace(public.parts, options=new_key)))
        async with httpx.AsyncClient(
            transport=transport, base_url=public.parts.options.app_url, cookies=browser.cookies
        ) as later:
            answer = await later.post("/login", data={"password": PASSWORD, "_csrf_token": stale})
            assert answer.status_code == 403
            assert (await sign_in(later)).status_code == 303
            assert csrf_token(later) != stale


async def test_the_token_of_a_form_belongs_to_one_session(public: World) -> None:
    async with public.browser() as browser:
        await browser.get("/login")
        before = csrf(browser)
        await sign_in(browser)
        assert (await browser.post("/preferences", data={"theme": "dark"}, headers=before)).status_code == 403
        answer = await browser.post("/preferences", data={"theme": "dark"}, headers=csrf(browser))
        assert answer.status_code == 303


async def test_a_hostile_cookie_is_replaced_and_never_shown(public: World) -> None:
    hostile = '"><script>alert(1)</script>'
    async with public.browser(headers={"Cookie": f"__Host-feedzone_csrf={hostile}"}) as browser:
        page = await browser.get("/login")
    assert "alert(1)" not in page.text
    assert "__Host-feedzone_csrf=" in page.headers["set-cookie"]


async def test_cookies_over_https_belong_to_this_host_alone(public: World, world: World) -> None:
    async with public.browser() as browser:
        await sign_in(browser)
        await browser.get("/connect")
        for cookie in browser.cookies.jar:
            assert cookie.name.startswith("__Host-feedzone_")
            assert cookie.secure
            assert cookie.path == "/"
    async with world.browser() as browser:
        await browser.get("/")
        assert "feedzone_csrf" in browser.cookies


@pytest.mark.parametrize("path", ["/actions/subscription", "/actions/failures/retry", "/logout", "/login"])
async def test_a_form_of_another_site_is_rejected(world: World, path: str) -> None:
    async with world.browser() as browser:
        answer = await browser.post(path, data={"error_class": ""})
        assert answer.status_code == 403
        assert "reload the page" in answer.text
        await browser.get("/")
        assert (await browser.post(path, headers={"x-csrftoken": "0" * 128})).status_code == 403


async def test_without_a_password_only_this_machine_may_look(sqlite_database: Database) -> None:
    async with (
        web_world(sqlite_database, app_url="https://feedzone.test", is_local=False) as world,
        world.browser() as browser,
    ):
        for path in ("/", "/live", "/metrics"):
            answer = await browser.get(path)
            assert answer.status_code == 403
            assert "ADMIN_PASSWORD" in answer.text
        assert "ADMIN_PASSWORD=" in (await browser.get("/login")).text
        assert (await sign_in(browser, "")).status_code in (401, 403)


async def test_without_a_password_another_machine_sees_nothing_under_any_host_name(world: World) -> None:
    transport = httpx.ASGITransport(world.site, client=("192.0.2.7", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as browser:
        assert (await browser.get("/")).status_code == 403


async def test_a_foreign_host_name_that_resolves_here_shows_nothing(world: World) -> None:
    async with world.browser(headers={"Host": "rebound.test"}) as browser:
        assert (await browser.get("/")).status_code == 403
    async with world.browser(headers={"Host": "localhost:8000"}) as browser:
        assert (await browser.get("/")).status_code == 200


async def test_an_athlete_who_has_connected_is_no_operator(public: World) -> None:
    async with public.browser() as browser:
        await connect(public, browser)
        assert "__Host-feedzone_session" in browser.cookies
        for path in ("/", "/events", "/metrics", "/athletes/42/disconnect"):
            assert (await browser.get(path)).status_code in (303, 401), path


async def test_an_operator_sees_an_activitys_name_only_on_the_machine_itself_or_when_it_is_their_own(
    public: World,
) -> None:
    """Strava's rules: an athlete's data is for that athlete."""
    await public.connect()
    await public.store(1)
    await public.deliver(1, "update", title="Secret title")
    event = (await public.parts.queries.events.summaries(None, None, 1)).items[0].event.id
    async with public.browser() as browser:
        await sign_in(browser)
        for path in ("/", "/events", f"/events/{event}"):
            assert "Secret" not in (await browser.get(path)).text
        await connect(public, browser)
        assert "Secret title" in (await browser.get("/")).text
        assert "Secret title" in (await browser.get(f"/events/{event}")).text


async def test_an_athlete_sees_and_deletes_only_their_own_data(public: World) -> None:
    public.desk.profile = AthleteProfile(43, None, "Grace", "Hopper")
    await public.connect()
    public.desk.profile = AthleteProfile(42, None, "Ada", "Lovelace")
    async with public.browser() as browser:
        assert (await browser.get("/me")).status_code == 303
        await connect(public, browser)
        page = (await browser.get("/me")).text
        assert "Ada Lovelace" in page
        assert "Grace" not in page
        assert 'aria-label="Pages"' not in page
        assert (await browser.post("/me/sync", headers=csrf(browser))).status_code == 303
        for path in ("/actions/athletes/43/sync", "/actions/athletes/42/disconnect"):
            assert (await browser.post(path, headers=csrf(browser))).status_code == 401
        assert "Disconnect your account?" in (await browser.get("/me/disconnect")).text
        answer = await browser.post("/me/disconnect", headers=csrf(browser))
        assert answer.headers["location"].startswith("/left?of=42.")
        page = (await browser.get(answer.headers["location"])).text
        assert "You are not connected" in page
        assert "Receipt" in page
        for path in ("/me", "/me/disconnect", "/me/download"):
            assert (await browser.get(path)).status_code == 303  # to the sign-in
    assert (await public.parts.queries.athletes.get(42)).status == "deauthorized"
    assert (await public.parts.queries.athletes.get(43)).status == "active"


async def test_the_api_reference_and_the_connect_page_are_open_to_everyone(public: World) -> None:
    async with public.browser() as browser:
        assert (await browser.get("/docs")).status_code == 200
        assert (await browser.get("/docs/openapi.json")).status_code == 200
        assert (await browser.get("/connect")).status_code == 303


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ("/events?status=failed", "/events?status=failed"),
        ("https://elsewhere.test", "/"),
        ("//elsewhere.test", "/"),
        ("/\\elsewhere.test", "/"),
        ("/a\r\nSet-Cookie: x=1", "/"),
        (None, "/"),
    ],
)
def test_redirects_never_leave_the_site(asked: str | None, taken: str) -> None:
    assert local_path(asked) == taken


async def test_responses_carry_strict_security_headers(world: World) -> None:
    async with world.browser() as browser:
        headers = (await browser.get("/")).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    cookie: Any = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_the_api_key_of_the_tests_matches_the_world() -> None:
    assert KEY["Authorization"] == f"Bearer {API_KEY}"
