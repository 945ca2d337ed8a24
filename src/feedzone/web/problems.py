"""Errors as responses: RFC 9457 for programs, a page for browsers; never a traceback or a secret."""

from __future__ import annotations

import math
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi import ResponseSpec
from litestar.response import Redirect, Template
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from ..errors import AllowanceSpent, FeedzoneError, InvalidInput, NotFound, StorageUnavailable, StravaError
from .auth.access import SignInFirst
from .auth.csrf import FAILED
from .rendering.flash import Notice, is_fragment

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
    """Return the OpenAPI description of these problems."""
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
    """Return the problem in the form that suits the client."""
    title = HTTPStatus(status).phrase
    if f"{request.url.path}/".startswith(FOR_PROGRAMS):
        body = Problem("about:blank", title, status, detail)
        return Response(body, status_code=status, media_type=PROBLEM_JSON, headers=headers)
    if is_fragment(request) and request.method != "GET":
        headers = (headers or {}) | {"HX-Retarget": "#notices", "HX-Reswap": "innerHTML"}
        notice = Notice(f"{_sentence(detail)} Nothing was changed.", "bad")
        return Template("notice.html", context={"notice": notice}, status_code=status, headers=headers)
    context = {"title": title, "detail": detail, "status": status}
    return Template(
        "problem.html", context=context, status_code=status, headers=headers, media_type=MediaType.HTML
    )


def _sentence(detail: str) -> str:
    return f"{detail[:1].upper()}{detail[1:].rstrip('.')}."


def _sign_in(request: Request[Any, Any, Any], problem: SignInFirst) -> Response[Any]:
    """Redirect pages to the sign-in; send programs and open pages a 401."""
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if is_fragment(request):
        return Response(None, status_code=401, headers={"HX-Redirect": "/login"})
    if request.method != "GET" or "text/event-stream" in request.headers.get("accept", ""):
        return answer(request, 401, problem.detail)
    return Redirect(f"/login?next={quote(target, safe='')}" if target != "/" else "/login", status_code=303)


def _http(request: Request[Any, Any, Any], problem: HTTPException) -> Response[Any]:
    if problem.status_code >= 500:
        return _surprise(request, problem)
    return answer(request, problem.status_code, _detail(problem), problem.headers)


def _detail(problem: HTTPException) -> str:
    """Return Litestar's findings by parameter or field (`state_` stands for `state`)."""
    entries = [entry for entry in problem.extra or () if isinstance(entry, dict) and "message" in entry]
    if problem.detail == FAILED:
        return "this form is too old, or from another site: reload the page and try again"
    text = "; ".join(f"{entry.get('key', 'input').rstrip('_')}: {entry['message']}" for entry in entries)
    return text or problem.detail


def _feedzone(request: Request[Any, Any, Any], problem: FeedzoneError) -> Response[Any]:
    if isinstance(problem, AllowanceSpent):
        return _spent(request, problem)
    status = next((status for kind, status in STATUS_OF if isinstance(problem, kind)), None)
    if status is None:
        return _surprise(request, problem)
    if status < 500:
        return answer(request, status, str(problem))
    log.warning("request_failed", path=request.url.path, error=str(problem))
    if status == 503:
        # The driver's message may name hosts and files: it belongs into the log.
        detail = "the database does not answer in time; try again"
        return answer(request, status, detail, {"Retry-After": RETRY_AFTER_S})
    return answer(request, status, "Strava did not fulfil this request; try again later")


def _spent(request: Request[Any, Any, Any], problem: AllowanceSpent) -> Response[Any]:
    state = request.app.state
    again = problem.until + timedelta(seconds=59)  # pages show whole minutes
    detail = (
        f"You have used {problem.spent} of your {problem.limit} requests to Strava of this hour: "
        f"try again at {again.astimezone(state.access.viewer(request).tz):%H:%M}"
    )
    wait_s = math.ceil((problem.until - state.access.now()).total_seconds())
    return answer(request, 429, detail, {"Retry-After": str(max(1, wait_s))})


def _surprise(request: Request[Any, Any, Any], problem: Exception) -> Response[Any]:
    log.error("request_crashed", path=request.url.path, exc_info=problem)
    return answer(request, 500, "feedzone has failed; its log has the details")


HANDLERS: ExceptionHandlersMap = {
    SignInFirst: _sign_in,
    HTTPException: _http,
    FeedzoneError: _feedzone,
    Exception: _surprise,
}
