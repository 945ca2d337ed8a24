"""The meaning of Strava's error responses: the body decides before the status.

See docs/strava-api.md#errors.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..domain import json_text
from ..errors import (
    ApiError,
    AppInactive,
    ApplicationRefused,
    Fault,
    InvalidInput,
    NeedsRefresh,
    NeedsScope,
    NotVisible,
    PermanentError,
    RateLimited,
    SeatsFull,
    TokenRevoked,
    TransientError,
)
from ..ports import Response

EXCERPT = 2000
"""The number of bytes of an error's body that are stored with it."""

CREDENTIALS = ("client_id", "client_secret")

PAUSES_S = (0.5, 1.5)
"""Pauses between the tries of one call: most 5xx and broken connections do not last."""


def check(response: Response, call: str, *, token_endpoint: bool = False) -> bytes:
    """Return the body of a successful response; raise the ApiError that an error response means."""
    if 200 <= response.status < 300:
        return response.body
    raise error_of(response, call, token_endpoint=token_endpoint)


def decode(response_body: bytes, status: int, call: str) -> Any:
    """Return the JSON of a successful response.

    Raises TransientError for anything else: in outages Strava has sent HTML with status 200.
    """
    try:
        return _value(response_body)
    except InvalidInput:
        raise TransientError(
            status, "the response is not JSON", body=_excerpt(response_body), call=call
        ) from None


def _value(body: bytes) -> Any:
    """Return the value of a JSON text, repaired if necessary. Raises InvalidInput when it is not JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json_text.repair(body)


def error_of(response: Response, call: str, *, token_endpoint: bool = False) -> ApiError:
    """Return the error that a response with an error status means."""
    message, faults = read_error(response.body)
    kind = _kind(response.status, faults, response.body, token_endpoint=token_endpoint)
    return kind(response.status, message, faults, body=_excerpt(response.body), call=call)


def _kind(status: int, faults: tuple[Fault, ...], body: bytes, *, token_endpoint: bool) -> type[ApiError]:
    text = body[:EXCERPT].decode("utf-8", "replace").lower()
    if any(f.resource == "Application" and f.field == "Status" and f.code == "Inactive" for f in faults):
        return AppInactive
    if "limit of connected athletes exceeded" in text:
        return SeatsFull
    if any(f.resource == "Application" and f.field in CREDENTIALS and f.code == "invalid" for f in faults):
        return ApplicationRefused
    if status == 429 or (status == 403 and "rate limit" in text):
        return RateLimited
    if status in (401, 403) and any(f.field.endswith("permission") and f.code == "missing" for f in faults):
        return NeedsScope
    if status in (400, 401) and any(f.resource == "RefreshToken" and f.code == "invalid" for f in faults):
        return TokenRevoked
    if status == 401:
        return NeedsRefresh
    if status == 404:
        return NotVisible
    if status >= 500 or status == 408:
        return TransientError
    if token_endpoint and status == 400 and not faults:
        # In an outage the token URL answers with a bare 400: it says nothing about the athlete.
        return TransientError
    return PermanentError


def read_error(body: bytes) -> tuple[str, tuple[Fault, ...]]:
    """Return `message` and `errors` of an error body, without the parts that are missing or malformed."""
    try:
        parsed = _value(body)
    except InvalidInput:
        return "", ()
    if not isinstance(parsed, dict):
        return "", ()
    message, errors = parsed.get("message"), parsed.get("errors")
    if isinstance(errors, str):  # one recorded 429, apparently written by hand, has this form
        return errors, ()
    entries = errors if isinstance(errors, list) else []
    faults = tuple(
        Fault(*(str(entry.get(part) or "") for part in ("resource", "field", "code")))
        for entry in entries
        if isinstance(entry, dict)
    )
    return message if isinstance(message, str) else "", faults


def _excerpt(body: bytes) -> str:
    return body[:EXCERPT].decode("utf-8", "replace")
