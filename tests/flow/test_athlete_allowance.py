"""One athlete cannot spend the calls of all others by pressing buttons."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from browsing import connect, csrf_token, sign_in
from sqlalchemy import select
from web_world import BEGIN, RIDE, World

from feedzone.store.schema.tables import jobs

BUTTONS = ["/me/sync", "/me/verify", f"/activities/{RIDE}/refresh"]


async def press(browser: httpx.AsyncClient, button: str, **headers: str) -> httpx.Response:
    await browser.get("/join")
    return await browser.post(button, headers={"x-csrftoken": csrf_token(browser)} | headers)


async def spend_all(browser: httpx.AsyncClient, button: str) -> int:
    """Press a button until it is refused; return how often it worked."""
    for count in range(100):
        if (await press(browser, button)).status_code == 429:
            return count
    raise AssertionError("the button works without a limit")


@pytest.mark.parametrize("button", BUTTONS)
async def test_each_button_is_refused_when_the_allowance_is_spent(public: World, button: str) -> None:
    async with public.browser() as browser:
        await connect(public, browser)
        await public.store(RIDE)
        assert 10 <= await spend_all(browser, button) <= 15
        for other in BUTTONS:
            answer = await press(browser, other)
            assert answer.status_code == 429
            assert 3500 < int(answer.headers["retry-after"]) <= 3600
            assert "You have used 30 of your 30 requests to Strava of this hour" in answer.text
            assert "try again at 09:00" in answer.text
        public.clock.pass_by(hours=1)
        assert (await press(browser, button)).status_code == 303


async def test_the_time_is_the_athletes_own(public: World) -> None:
    async with public.browser() as browser:
        await connect(public, browser)
        browser.cookies.set("feedzone_zone", "Asia%2FTokyo")
        await spend_all(browser, "/me/sync")
        notice = await press(browser, "/me/sync", **{"HX-Request": "true"})
        assert "try again at 18:00. Nothing was changed." in notice.text


async def test_other_athletes_and_operators_are_not_concerned(public: World) -> None:
    async with public.browser() as browser, public.browser() as other, public.browser() as operator:
        await connect(public, browser)
        await spend_all(browser, "/me/sync")
        public.desk.profile = type(public.desk.profile)(43, "bea", "Bea", "Other")
        await connect(public, other)
        assert (await press(other, "/me/sync")).status_code == 303
        await sign_in(operator)
        for _ in range(20):
            assert (await press(operator, "/actions/athletes/42/sync")).status_code == 303
            assert (await press(operator, "/actions/athletes/42/verify")).status_code == 303


async def test_a_reconnect_counts_and_its_backfill_waits_when_nothing_is_left(public: World) -> None:
    async with public.browser() as browser:
        await connect(public, browser)
        await spend_all(browser, "/me/sync")
        assert (await press(browser, "/me/disconnect")).status_code == 303
        await connect(public, browser)
        assert (await public.parts.queries.athletes.get(42)).status == "active"
        query = select(jobs.c.due_at).where(jobs.c.kind == "backfill_athlete", jobs.c.athlete_id == 42)
        assert await public.database.read(lambda c: c.execute(query).scalar_one()) == BEGIN + timedelta(
            hours=1
        )


async def test_reconnects_alone_spend_it_too(public: World) -> None:
    async with public.browser() as browser:
        for _ in range(16):
            await connect(public, browser)
        assert (await press(browser, "/me/sync")).status_code == 429
