"""An operator is who knows ADMIN_PASSWORD, or sits at a machine that needs none: nobody else."""

from __future__ import annotations

import httpx
import pytest
from browsing import csrf, sign_in
from web_world import KEY, PASSWORD, World, web_world

from feedzone.errors import StorageUnavailable
from feedzone.store.engine.database import Database
from feedzone.web.auth.session import Session, session_cookie

PAGES = ("/", "/events", "/athletes", "/failures")


def cookie_of(world: World, **session: object) -> dict[str, str]:
    """Return the header with a cookie that carries the right signature."""
    cookie = session_cookie(
        world.parts.options,
        Session(id="0" * 32, **session),
        world.clock.now(),  # type: ignore[arg-type]
    )
    return {"Cookie": f"{cookie.key}={cookie.value}"}


async def test_with_a_password_the_machine_itself_must_sign_in_too(sqlite_database: Database) -> None:
    """Other people may have accounts on it, and a proxy on it forwards strangers."""
    async with web_world(sqlite_database, admin_password=PASSWORD) as world, world.browser() as browser:
        for path in PAGES:
            assert (await browser.get(path)).headers["location"].startswith("/login"), path
        assert (await browser.get("/metrics")).status_code == 401
        await sign_in(browser)
        for path in PAGES:
            assert (await browser.get(path)).status_code == 200, path


async def test_without_a_password_no_cookie_makes_an_operator(world: World) -> None:
    """The key of the cookie is predictable then."""
    transport = httpx.ASGITransport(world.site, client=("192.0.2.7", 1234))
    headers = cookie_of(world, is_operator=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers) as b:
        for path in PAGES:
            assert (await b.get(path)).status_code == 403, path


async def test_without_a_client_secret_no_cookie_makes_an_athlete(sqlite_database: Database) -> None:
    async with (
        web_world(sqlite_database, admin_password=PASSWORD, strava_configured=False) as world,
        world.browser(headers=cookie_of(world, athlete_id=42)) as browser,
    ):
        assert (await browser.get("/me")).status_code == 303


async def test_while_the_database_fails_open_pages_answer_and_closed_ones_do_not_send_to_the_sign_in(
    public: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise StorageUnavailable("disk full")

    async with public.browser() as browser:
        await sign_in(browser)
        monkeypatch.setattr(public.database, "read", fail)
        assert (await browser.get("/healthz")).status_code == 200
        for path in PAGES:
            assert (await browser.get(path)).status_code == 503, path


async def test_a_program_with_the_right_key_is_not_locked_out_by_the_guesses_of_others(public: World) -> None:
    throttle = public.site.state.access.throttle
    async with public.browser() as program:
        assert (await program.get("/api/v1/status", headers=KEY)).status_code == 200
        for guesser in range(100):
            throttle.failed(f"198.51.100.{guesser}")
        assert (await program.get("/api/v1/status", headers=KEY)).status_code == 200


async def test_the_throttle_forgets_the_addresses_that_signed_in_longest_ago(
    public: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedzone.web.auth.throttle.MAX_KNOWN_ADDRESSES", 2)
    throttle = public.site.state.access.throttle
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        throttle.succeeded(address)
    for guesser in range(100):
        throttle.failed(f"198.51.100.{guesser}")
    assert throttle.wait_s("192.0.2.1") == throttle.wait_s("192.0.2.3") == 0
    assert throttle.wait_s("192.0.2.2") > 0


async def test_signing_out_needs_the_form_of_this_site(public: World) -> None:
    async with public.browser() as browser:
        await sign_in(browser)
        assert (await browser.post("/logout")).status_code == 403
        assert (await browser.post("/logout", headers=csrf(browser))).status_code == 303
