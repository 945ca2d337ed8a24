"""What Strava's error answers mean, judged by body before status (contract section 10)."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import (
    ApiError,
    AppInactive,
    ApplicationRefused,
    Fault,
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

BODY_KEPT = 2000
"""Characters of an error's body that are kept with it."""

CREDENTIALS = ("client_id", "client_secret")

PAUSES_S = (0.5, 1.5)
"""Between the tries of one call: 5xx and broken connections usually pass at once."""


def check(response: Response, call: str, *, token_endpoint: bool = False) -> bytes:
    """The body of a good answer; raises the ApiError that a bad one means."""
    if 200 <= response.status < 300:
        return response.body
    raise error_of(response, call, token_endpoint=token_endpoint)


def decode(response_body: bytes, status: int, call: str) -> Any:
    """The JSON of a good answer. HTML with status 200 has been seen in outages: transient."""
    try:
        return msgspec.json.decode(response_body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TransientError(
            status, "the answer is not JSON", body=_excerpt(response_body), call=call
        ) from None


def error_of(response: Response, call: str, *, token_endpoint: bool = False) -> ApiError:
    message, faults = read_error(response.body)
    kind = _kind(response.status, faults, response.body, token_endpoint=token_endpoint)
    return kind(response.status, message, faults, body=_excerpt(response.body), call=call)


def _kind(status: int, faults: tuple[Fault, ...], body: bytes, *, token_endpoint: bool) -> type[ApiError]:
    text = body[:BODY_KEPT].decode("utf-8", "replace").lower()
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
        return TransientError  # a bare 400 of the token URL is an outage, not a verdict (pain 33)
    return PermanentError


def read_error(body: bytes) -> tuple[str, tuple[Fault, ...]]:
    """`message` and `errors` of an error body; whatever is missing or odd is left out."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", ()
    if not isinstance(parsed, dict):
        return "", ()
    message, errors = parsed.get("message"), parsed.get("errors")
    if isinstance(errors, str):  # an apparently hand-made 429 was recorded so
        return errors, ()
    entries = errors if isinstance(errors, list) else []
    faults = tuple(
        Fault(*(str(entry.get(part) or "") for part in ("resource", "field", "code")))
        for entry in entries
        if isinstance(entry, dict)
    )
    return message if isinstance(message, str) else "", faults


def _excerpt(body: bytes) -> str:
    return body[:BODY_KEPT].decode("utf-8", "replace")
