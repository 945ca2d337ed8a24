"""Logs and metrics, without secrets."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from .errors import FeedzoneError, reason_of

_BEARER = re.compile(r"\b((?i:Bearer)|Basic) [A-Za-z0-9._~+/=-]+")
_NAMES = "access_token|refresh_token|client_secret|verify_token"
_MEMBER = re.compile(rf"""((?:{_NAMES})["']\s*:\s*["'])[^"']*""")
_PARAMETER = re.compile(r"((?:access_token|refresh_token|client_secret|code|verify_token|token)=)[^&\s'\"]+")
HIDDEN = "[hidden]"


class Redactor:
    """Hide known secrets, and everything that looks like a token, in every string of a log entry."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret for secret in secrets if secret]

    def text(self, value: str) -> str:
        for secret in self._secrets:
            value = value.replace(secret, HIDDEN)
        value = _MEMBER.sub(rf"\1{HIDDEN}", _BEARER.sub(rf"\1 {HIDDEN}", value))
        return _PARAMETER.sub(rf"\1{HIDDEN}", value)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._value(key): self._member(key, item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return self.text(reason_of(value) if isinstance(value, BaseException) else repr(value))

    def _member(self, key: Any, value: Any) -> Any:
        return HIDDEN if value and re.fullmatch(_NAMES, str(key)) else self._value(value)

    def __call__(self, _logger: Any, _method: str, entry: MutableMapping[str, Any]) -> Mapping[str, Any]:
        # Keys with a leading _ are structlog's own and are not rendered.
        return {
            key: value if key.startswith("_") else self._member(key, value) for key, value in entry.items()
        }


def describe_crash(exc_info: structlog.typing.ExcInfo) -> str:
    """Return the traceback of an exception and its causes, without texts that may quote an athlete's data.

    Only errors of ours show their text (errors.reason_of).
    """
    parts: list[str] = []
    seen: set[int] = set()
    problem: BaseException | None = exc_info[1]
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        frames = "".join(traceback.format_tb(problem.__traceback__))
        text = str(problem) if isinstance(problem, FeedzoneError) else "its text is not logged"
        parts.append(f"Traceback (most recent call last):\n{frames}{type(problem).__name__}: {text}")
        problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
    return "\nwhile or because of:\n".join(reversed(parts))


def _first_line_of_asyncio(
    _logger: Any, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Cut the lines in which asyncio shows a failed task, because they quote its exception."""
    if entry["_record"].name == "asyncio":
        entry["event"] = str(entry["event"]).partition("\n")[0]
    return entry


def configure_logging(level: str, form: str, secrets: Sequence[str]) -> None:
    """Send structured events to standard error, as plain lines or as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Tracebacks become text before redaction, so that they are redacted too.
        structlog.processors.ExceptionRenderer(describe_crash),
        Redactor(secrets),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_first_line_of_asyncio, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Their request lines contain query strings; our own entries log requests without them.
    for noisy in ("uvicorn.access", "aiohttp.access", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class Metrics:
    """The counters of this process. Gauges from the database are read on request (web/probes.py)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.deliveries = Counter(
            "feedzone_webhook_deliveries_total",
            "Webhook deliveries by response",
            ["answer"],
            registry=self.registry,
        )
        self.signatures = Counter(
            "feedzone_webhook_signatures_total",
            "Webhook deliveries by signature check, and by the candidate key that matched",
            ["status", "key"],
            registry=self.registry,
        )
        self.unknown_owners = Counter(
            "feedzone_webhook_unknown_owner_events_total",
            "Events of athletes who are not connected",
            registry=self.registry,
        )
        self.acceptance = Histogram(
            "feedzone_webhook_acceptance_seconds",
            "Time from a delivery's last byte to its durable commit",
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0),
            registry=self.registry,
        )
