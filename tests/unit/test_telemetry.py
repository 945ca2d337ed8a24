"""No secret reaches the log: not in messages, nested values, tracebacks, nor from other libraries."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable

import pytest
import structlog
from prometheus_client import generate_latest

from feedzone.errors import TransientError
from feedzone.ports import Request
from feedzone.telemetry import HIDDEN, Metrics, Redactor, configure_logging

CANARY = "canary-secret-value"
LOOKS_SECRET = [
    "Authorization: Bearer canary.a-b_c/d+e=",
    "authorization: bearer canary",
    "Basic Y2FuYXJ5OmNhbmFyeQ==canary",
    "POST token?client_id=1&client_secret=canary&x=1",
    "GET /cb?code=canary&scope=read",
    "grant_type=refresh_token&refresh_token=canary",
    "access_token=canary'",
    'said "verify_token=canary"',
    "token=canary",
    '{"token_type":"Bearer","access_token":"canary","refresh_token": "canary"}',
    "{'access_token': 'canary'}",
]


@pytest.fixture
def configured(monkeypatch):
    """Configure logging; return a function that reads the output since."""

    def configure(form: str, level: str = "DEBUG") -> Callable[[], str]:
        written = io.StringIO()
        monkeypatch.setattr(sys, "stderr", written)
        configure_logging(level, form, [CANARY, "", "other-secret"])
        return written.getvalue

    return configure


@pytest.fixture(params=["console", "json"])
def logged(request, configured):
    return configured(request.param)


def logger():
    return structlog.get_logger("feedzone.test")


@pytest.mark.parametrize("text", LOOKS_SECRET)
def test_text_that_looks_like_a_token_is_hidden(text):
    shown = Redactor([]).text(text)
    assert "canary" not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize("text", ["", "a plain message", "Bearer", "barcode=", "the code is 7", "activity:7"])
def test_text_without_secrets_stays_unchanged(text):
    assert Redactor(["secret"]).text(text) == text


def test_the_rest_of_a_line_stays_readable():
    text = Redactor([CANARY]).text(f"GET /cb?state=1&code={CANARY}&scope=read 502 ({CANARY})")
    assert text == f"GET /cb?state=1&code={HIDDEN}&scope=read 502 ({HIDDEN})"


def test_a_known_secret_is_hidden_in_messages_and_values(logged):
    logger().info(f"said {CANARY}", value=CANARY, inside=f"<{CANARY}>", other="other-secret", count=3)
    shown = logged()
    assert "said" in shown
    assert CANARY not in shown
    assert "other-secret" not in shown


@pytest.mark.parametrize(
    "value",
    [
        [CANARY],
        (CANARY, [CANARY]),
        {"a": {"b": [f"x {CANARY}"]}},
        {CANARY: 1},
        {CANARY},
        CANARY.encode(),
        ValueError(CANARY),
        TransientError(502, CANARY),
        Request("GET", "https://api.test", {"Authorization": f"Bearer {CANARY}"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_secret_in_a_nested_value_or_an_object_is_hidden(logged, value):
    logger().info("nested", value=value)
    shown = logged()
    assert "nested" in shown
    assert CANARY not in shown


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "client_secret"])
def test_a_token_is_hidden_by_the_name_of_its_value(logged, name):
    logger().info("form", form={name: "canary"}, **{name: "canary"})
    assert "canary" not in logged()


@pytest.mark.parametrize("text", LOOKS_SECRET[:1] + LOOKS_SECRET[3:9])
def test_unknown_tokens_are_hidden(logged, text):
    logger().warning("call_failed", error=text, nested={"errors": [text]})
    logger().warning(text)
    assert "canary" not in logged()


def chained() -> None:
    try:
        raise ValueError(f"cause {CANARY}")
    except ValueError as cause:
        raise RuntimeError("POST token?refresh_token=canary-refresh") from cause


def test_tracebacks_are_shown_without_secrets(logged):
    try:
        chained()
    except RuntimeError:
        logger().exception("job_crashed", key="activity:7")
    shown = logged()
    assert "Traceback" in shown
    assert "RuntimeError" in shown
    assert "canary" not in shown


def test_other_libraries_messages_and_tracebacks_are_redacted_too(logged):
    library = logging.getLogger("some.library")
    library.warning("connecting with %s to %s", CANARY, {"headers": "Bearer canary"})
    try:
        chained()
    except RuntimeError:
        library.exception("lost %s", CANARY)
    shown = logged()
    assert "connecting with" in shown
    assert "Traceback" in shown
    assert "canary" not in shown


def test_bound_values_are_redacted(logged):
    structlog.contextvars.bind_contextvars(bound=CANARY)
    try:
        logger().bind(mine=CANARY).info("bound")
    finally:
        structlog.contextvars.clear_contextvars()
    shown = logged()
    assert "bound" in shown
    assert CANARY not in shown


@pytest.mark.parametrize("name", ["uvicorn.access", "aiohttp.access"])
def test_request_lines_of_servers_are_not_logged(logged, name):
    logging.getLogger(name).info("GET /connect/callback?code=canary")
    assert logged() == ""


def test_json_lines_are_json(configured):
    logged = configured("json", "INFO")
    logger().info("job_finished", key="activity:7", nested={"a": [1, CANARY]})
    logger().debug("too quiet")
    logging.getLogger("some.library").warning("said %s", 1)
    own, foreign = [json.loads(line) for line in logged().splitlines()]
    assert (own["event"], own["level"], own["logger"]) == ("job_finished", "info", "feedzone.test")
    assert own["nested"] == {"a": [1, HIDDEN]}
    assert (foreign["event"], foreign["level"]) == ("said 1", "warning")


def test_metrics_are_counted_per_process_part():
    first, other = Metrics(), Metrics()
    first.deliveries.labels("200").inc()
    first.signatures.labels("verified", "WEBHOOK_SECRET").inc()
    first.acceptance.observe(0.003)
    shown = generate_latest(first.registry).decode()
    assert 'feedzone_webhook_deliveries_total{answer="200"} 1.0' in shown
    assert 'feedzone_webhook_acceptance_seconds_bucket{le="0.005"} 1.0' in shown
    assert 'deliveries_total{answer="200"}' not in generate_latest(other.registry).decode()


def test_log_level_hides_what_is_less_important(configured):
    output = configured("json", "WARNING")
    logger().info("quiet")
    logging.getLogger("another.library").info("quiet")
    logger().warning("loud")
    assert "loud" in output()
    assert "quiet" not in output()
