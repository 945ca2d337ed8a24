"""Errors as answers: RFC 9457 for programs, a page for people; never a traceback, never a secret."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi import ResponseSpec
from litestar.response import Template
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from ..errors import FeedzoneError, InvalidInput, NotFound, StorageUnavailable, StravaError

log = structlog.get_logger("feedzone.web")

PROBLEM_JSON = "application/problem+json"
FOR_PROGRAMS = ("/api/", "/docs/openapi.json", "/healthz", "/readyz", "/metrics")
RETRY_AFTER_S = "5"

STATUS_OF: tuple[tuple[type[FeedzoneError], int], ...] = (
    (NotFound, 404),
    (InvalidInput, 400),
    (StorageUnavailable, 503),
    (StravaError, 502),
)


class Problem(Struct, frozen=True):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str


def problem_specs(*statuses: int) -> dict[int, ResponseSpec]:
    """How OpenAPI describes these problems."""
    return {
        status: ResponseSpec(
            Problem,
            description=HTTPStatus(status).phrase,
            media_type=PROBLEM_JSON,
            generate_examples=False,
        )
        for status in statuses
    }


def answer(
    request: Request[Any, Any, Any], status: int, detail: str, headers: dict[str, str] | None = None
) -> Response[Any]:
    """The problem in the form that suits who asks."""
    title = HTTPStatus(status).phrase
    if f"{request.url.path}/".startswith(FOR_PROGRAMS):
        body = Problem("about:blank", title, status, detail)
        return Response(body, status_code=status, media_type=PROBLEM_JSON, headers=headers)
    context = {"title": title, "detail": detail, "status": status}
    return Template(
        "problem.html", context=context, status_code=status, headers=headers, media_type=MediaType.HTML
    )


def _http(request: Request[Any, Any, Any], problem: HTTPException) -> Response[Any]:
    if problem.status_code >= 500:
        return _surprise(request, problem)
    return answer(request, problem.status_code, _detail(problem), problem.headers)


def _detail(problem: HTTPException) -> str:
    """What Litestar found wrong, named by parameter or member (`state_` stands for `state`)."""
    found = [entry for entry in problem.extra or () if isinstance(entry, dict) and "message" in entry]
    said = "; ".join(f"{entry.get('key', 'input').rstrip('_')}: {entry['message']}" for entry in found)
    return said or problem.detail


def _feedzone(request: Request[Any, Any, Any], problem: FeedzoneError) -> Response[Any]:
    status = next((status for kind, status in STATUS_OF if isinstance(problem, kind)), None)
    if status is None:
        return _surprise(request, problem)
    if status < 500:
        return answer(request, status, str(problem))
    log.warning("request_failed", path=request.url.path, error=str(problem))
    if status == 503:
        # What the driver says may name hosts and files: that is for the log.
        detail = "the database does not answer in time; try again"
        return answer(request, status, detail, {"Retry-After": RETRY_AFTER_S})
    return answer(request, status, "Strava did not give what was asked for; try again later")


def _surprise(request: Request[Any, Any, Any], problem: Exception) -> Response[Any]:
    log.error("request_crashed", path=request.url.path, exc_info=problem)
    return answer(request, 500, "this is a fault of feedzone's; its log says more")


HANDLERS: ExceptionHandlersMap = {
    HTTPException: _http,
    FeedzoneError: _feedzone,
    Exception: _surprise,
}
