"""Liveness, readiness and metrics, for load balancers and monitoring."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

from litestar import Response, Router, route
from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..errors import StorageUnavailable
from ..queries.status import Status
from ..services.conditions import is_behind
from .auth.access import anyone
from .auth.access import metrics as metrics_rule
from .context import Parts, WebParts

ANSWERS_WITHIN_S = 1.0
METRICS_WITHIN_S = 10.0
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Alive(Struct, frozen=True):
    """The process is up."""

    status: Literal["ok"] = "ok"


class Ready(Struct, frozen=True):
    """Whether events can be stored, and whether the worker keeps up with them."""

    status: Literal["ready", "not ready"]
    database: str
    oldest_due_s: float | None = None
    worker: Literal["keeping up", "behind", "unknown"] = "unknown"


@route("/healthz", http_method=["GET", "HEAD"])
async def healthz() -> Alive:
    return Alive()


@route("/readyz", http_method=["GET", "HEAD"])
async def readyz(parts: Parts) -> Response[Ready]:
    """Return 503 only when events cannot be stored, which a write proves; a slow worker is no reason."""
    try:
        await parts.readiness.require_storage()
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            pulse = await parts.queries.status.pulse()
    except TimeoutError:
        return Response(Ready("not ready", f"no answer within {ANSWERS_WITHIN_S:g} s"), status_code=503)
    except StorageUnavailable:
        return Response(Ready("not ready", "unavailable"), status_code=503)
    worker: Literal["behind", "keeping up"] = "behind" if is_behind(pulse) else "keeping up"
    return Response(Ready("ready", "ok", pulse.oldest_due_s, worker))


@route("/metrics", http_method=["GET"])
async def metrics(parts: Parts) -> Response[bytes]:
    """Return this process's counters, then the gauges from the database if it answers."""
    counted = generate_latest(parts.metrics.registry)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gauges(await _status(parts)))
    return Response(counted + generate_latest(registry), media_type=EXPOSITION)


async def _status(parts: WebParts) -> Status | None:
    try:
        async with asyncio.timeout(METRICS_WITHIN_S):
            return await parts.queries.status.get()
    except (TimeoutError, StorageUnavailable):
        return None


class _Gauges(Collector):
    """One reading of the database as gauges."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        yield _gauge("database_up", "Whether the database answered", float(self._status is not None))
        if self._status is None:
            return
        status = self._status
        yield _labelled("athletes", "Athletes by status", "status", status.athletes)
        yield _labelled("webhook_events", "Webhook events by status", "status", status.events)
        yield _labelled("jobs", "Jobs by state", "state", status.jobs)
        yield _gauge(
            "oldest_due_job_seconds",
            "Seconds since the longest overdue job was due",
            status.oldest_due_s or 0.0,
        )
        yield _gauge("queue_lag_seconds", "Age of the oldest open event", status.queue_lag_s or 0.0)
        yield _gauge("forged_suspects", "Claims of events that Strava denied", status.forged_suspects)
        leads = float(status.leader is not None)
        yield _gauge("leader", "Whether a process runs schedules and pruning for all", leads)
        waiting = status.refusals.events if status.refusals is not None else 0
        yield _gauge("refused_deliveries", "Events answered 503 that are not stored yet", waiting)
        lost = status.lost_deliveries
        yield _gauge("lost_deliveries_athletes", "Athletes to compare because events were lost", lost)
        active = status.subscription is not None and status.subscription.active
        yield _gauge("subscription_active", "Whether there is an active push subscription", float(active))
        if status.last_event_at is not None:
            received = status.last_event_at.timestamp()
            yield _gauge("last_event_timestamp_seconds", "When the newest event was received", received)
        used = {window.window: window.used for window in status.quota}
        limits = {window.window: window.quota for window in status.quota}
        yield _labelled("quota_used", "Calls counted in the rate limit window", "window", used)
        yield _labelled("quota_limit", "Calls allowed in the rate limit window", "window", limits)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"feedzone_{name}", what, value=value)


def _labelled(name: str, what: str, label: str, values: dict[Any, int]) -> Metric:
    family = GaugeMetricFamily(f"feedzone_{name}", what, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def health_router() -> Router:
    guarded = Router("/", route_handlers=[metrics], opt=metrics_rule())
    return Router("/", route_handlers=[healthz, readyz, guarded], opt=anyone(), include_in_schema=False)
