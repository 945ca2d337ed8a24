"""The secret in the webhook's path appears nowhere but in the path itself and at Strava."""

from __future__ import annotations

import sqlite3

import pytest
from browsing import sign_in
from web_world import KEY, World

from feedzone.services.subscription import ForeignSubscription, shown_url
from feedzone.strava.payloads import Subscription

CANARY = "canary-of-the-webhook-path"
URL = f"https://feedzone.test/api/webhooks/strava/{CANARY}"


async def test_no_page_answer_log_line_or_table_shows_the_secret(
    public: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def listed() -> list[Subscription]:
        return [Subscription(7, URL, "2026-11-03T08:00:00Z")]

    service = public.parts.subscription
    object.__setattr__(service, "callback_url", URL)
    monkeypatch.setattr(public.desk, "subscriptions", listed, raising=False)
    await public.connect()
    assert await service.ensure() == (Subscription(7, URL, "2026-11-03T08:00:00Z"), False)
    async with public.browser() as browser:
        await sign_in(browser)
        for path in ("/", "/athletes", "/events", "/failures", "/health", "/metrics", "/docs/openapi.json"):
            answer = await browser.get(path)
            assert answer.status_code == 200
            assert CANARY not in answer.text, path
        assert "api/webhooks/strava/[hidden]" in (await browser.get("/health")).text
        for path in ("status", "athletes", "activities", "changes", "budget"):
            answer = await browser.get(f"/api/v1/{path}", headers=KEY)
            assert CANARY not in answer.text, path
    with sqlite3.connect(public.database.path) as plain:
        assert CANARY not in "\n".join(plain.iterdump())
    assert CANARY not in "".join(capfd.readouterr())


def test_messages_about_a_foreign_subscription_hide_its_secret() -> None:
    problem = ForeignSubscription(Subscription(7, URL, ""), f"{URL}-2")
    assert CANARY not in str(problem)
    assert "https://feedzone.test/api/webhooks/strava/[hidden]" in str(problem)
    assert (
        shown_url("https://feedzone.test/api/webhooks/strava") == "https://feedzone.test/api/webhooks/strava"
    )
