"""Requests that schemathesis generates from the OpenAPI document, and random ones to pages and forms."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
import schemathesis
from browsing import connect, csrf_token, sign_in
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.generation import GenerationMode
from web_world import KEY, PASSWORD, RIDE, World, web_world

from feedzone.store.engine.database import Database

EXAMPLES = 12
"""Requests for each operation, half of them valid. `make test` has 25 operations and two databases."""

ODD = [
    "", " ", "0", "-1", "1e999", "9" * 30, "\x00", "\ud83d", "é" * 300, "'; drop table jobs; --", "<script>",
    "../../etc/passwd", "//evil.test", "9999-12-31", "0001-01-01T00:00:00+14:00", "[]", "{}", "null",
    "%", "\r\nX: y",
]  # fmt: skip

PAGES = [
    "/", "/athletes", "/athletes/42", "/events", "/failures", "/health", "/join", "/login", "/connect",
    "/left",
    "/connect/callback", "/connect/done", "/me", f"/activities/{RIDE}", f"/activities/{RIDE}/curves", "/docs",
    "/metrics", "/readyz", "/healthz",
]  # fmt: skip
PARAMETERS = [
    "q", "sport", "cursor", "limit", "status", "quiet", "idle", "year", "month", "day", "page", "of", "next",
    "state",
    "code", "scope", "error", "share", "force", "sort", "from", "to", "back", "since", "until", "id",
    "athlete",
]  # fmt: skip
FORMS = [
    "/login", "/logout", "/preferences", "/me/sync", "/me/verify", "/me/sharing",
    "/actions/athletes/42/sync", "/actions/athletes/42/verify", "/actions/failures/retry",
    "/actions/jobs/00000000-0000-0000-0000-000000000000/retry",
    "/actions/jobs/00000000-0000-0000-0000-000000000000/discard",
    "/actions/jobs/00000000-0000-0000-0000-000000000000/restore",
    "/actions/conflicts/00000000-0000-0000-0000-000000000000/accept", f"/activities/{RIDE}/refresh",
]  # fmt: skip
OWN = ("authorization", "host", "content-length", "cookie")
FIELDS = [
    "password",
    "next",
    "theme",
    "units",
    "back",
    "history",
    "share",
    "reason",
    "error_class",
    "replace",
]


@pytest.fixture
async def filled(database: Database) -> AsyncIterator[World]:
    options = {"app_url": "https://feedzone.test", "is_local": False, "admin_password": PASSWORD}
    async with web_world(database, **options) as world:
        await world.connect()
        for number in range(1, 4):
            await world.store(number)
        await world.store(RIDE, summary_polyline="_p~iF~ps|U_ulLnnqC")
        await world.store_streams(RIDE)
        await world.deliver(1, "update", title="Other")
        await world.dead_letter(2)
        yield world


def _send(world: World, case: Any) -> Callable[[], Any]:
    async def send() -> httpx.Response:
        async with world.browser(headers=KEY) as program:
            body = None if case.body is schemathesis.core.NOT_SET else case.body
            content: Any = {"content": body} if isinstance(body, bytes) else {"json": body}
            # The key is right: another test guesses keys, and too many wrong ones would hide everything else.
            headers = {n: v for n, v in (case.headers or {}).items() if v.isascii() and n.lower() not in OWN}
            return await program.request(
                case.method,
                quote(case.formatted_path, safe="/%"),
                params=case.query or {},
                headers=headers,
                **content,
            )

    return send


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_the_api_answers_no_generated_request_with_5xx(filled: World, mode: GenerationMode) -> None:
    async with filled.browser() as program:
        document = (await program.get("/docs/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document)
    loop = asyncio.get_running_loop()
    answers: list[tuple[str, int]] = []

    def attack(operation: Any) -> None:
        @seed(1)
        @settings(
            max_examples=EXAMPLES // 2, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def one(case: Any) -> None:
            answer = asyncio.run_coroutine_threadsafe(_send(filled, case)(), loop).result(60)
            answers.append((operation.label, answer.status_code))
            assert answer.status_code < 500, (case.method, answer.request.url, answer.text)
            documented = document["paths"][operation.path][operation.method]["responses"]
            assert str(answer.status_code) in documented, (case.method, answer.request.url, answer.text)

        one()

    for result in schema.get_all_operations():
        operation = result.ok()
        try:
            await asyncio.to_thread(attack, operation)
        except schemathesis.errors.SchemathesisError:
            continue
    assert len({label for label, _ in answers}) > 10


@pytest.mark.timeout(300)
async def test_pages_and_forms_answer_no_random_request_with_5xx(filled: World) -> None:
    rng = random.Random(1)
    async with filled.browser() as browser:
        await connect(filled, browser)
        await sign_in(browser)
        for _ in range(100):
            names = rng.sample(PARAMETERS, 4)
            query = urlencode({name: rng.choice(ODD) for name in names}, errors="replace")
            cursor = rng.choice(["", "&cursor=e30", "&cursor=WzFd", "&cursor=W251bGxd"])
            answer = await browser.get(f"{rng.choice(PAGES)}?{query}{cursor}")
            assert answer.status_code < 500, (answer.request.url, answer.text)
        for _ in range(40):
            path = rng.choice([form for form in FORMS if form != "/logout"])
            form = {name: rng.choice(ODD) for name in rng.sample(FIELDS, 3)}
            body = urlencode({"_csrf_token": csrf_token(browser)} | form, errors="replace")
            headers = {"content-type": "application/x-www-form-urlencoded"}
            answer = await browser.post(path, content=body, headers=headers)
            assert answer.status_code < 500, (path, form, answer.text)
