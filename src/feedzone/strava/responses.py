"""Decides who answered a call, before anything else looks at the response.

Three outcomes are possible: Strava's success, Strava's error about the requested object, or no answer of
Strava's. The last one covers redirects, HTML, empty bodies, foreign JSON and wrong objects, whatever the
status: a proxy, a firewall or a wrong address can send any of them. It is always a TransientError, so that
nothing is deleted, refused or revoked on the word of somebody else. See docs/strava-api.md#errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from .. import offload
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

T = TypeVar("T")

CREDENTIALS = ("client_id", "client_secret")
BEARERS = ("Athlete", "Application", "AccessToken")
"""The resources that Strava names when it does not accept an access token."""

ABSENT = ("not found", "invalid")
REFUSALS = (400, 402, 403, 409, 422)
CODE = "AuthorizationCode"
"""The resource of a new consent: only that needs a seat."""

SEATS_TEXT = b"limit of connected athletes exceeded"
SEARCHED = 2000
"""The number of bytes of a body in which SEATS_TEXT is looked for."""

MESSAGES = frozenset(
    {
        "bad request",
        "unauthorized",
        "authorization error",
        "payment required",
        "forbidden",
        "not found",
        "record not found",
        "resource not found",
        "too many requests",
        "rate limit exceeded",
        "error",
        "internal server error",
        "bad gateway",
        "service unavailable",
        "gateway timeout",
    }
)
"""The messages of Strava's errors, in lower case (docs/strava-api.md#errors)."""

RESOURCES = frozenset(
    {
        "",
        "AccessToken",
        "Activity",
        "Application",
        "Athlete",
        "AuthorizationCode",
        "Gear",
        "Photo",
        "PushSubscription",
        "RefreshToken",
        "RequestToken",
        "Stream",
        "StreamSet",
        "Streams",
        "Token",
    }
)
"""The resources that Strava's errors name."""

_WORDS = re.compile(r"(?:[A-Za-z_:.]{1,32}(?: [A-Za-z_:.]{1,32}){0,7}(?: \d{3})?)?")
UNKNOWN = "?"
MOST_FAULTS = 5
"""The faults that an error's text shows at most."""

PAUSES_S = (0.5, 1.5)
"""Pauses between the tries of one call: most 5xx and broken connections do not last."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """A call, and how to recognise Strava's answers to it (calls.py lists all calls)."""

    name: str
    parse: Callable[[bytes], T]
    """Reads the body of a success; raises an error if it has another shape or shows another object."""
    resources: frozenset[str]
    """The resources that Strava's errors about the requested object name."""
    statuses: tuple[int, ...] = (200,)
    """The statuses of a success."""
    token_endpoint: bool = False
    may_be_absent: bool = True
    """Whether a 404 can be Strava's word: every athlete has a profile and a list."""
    passes_long: bool = False
    """Whether a long body of a success is only passed on, to somebody who decodes it off the event loop."""
    object_id: int | None = None
    """The id that a success shows, if it shows that of the requested object."""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a response means: the value of a success, or an error."""

    status: int
    value: T | None = None
    error: ApiError | None = None

    def result(self) -> T:
        """Return the value of a success; raise the error of anything else."""
        if self.error is not None:
            raise self.error
        return cast(T, self.value)


async def read_off_loop(response: Response, call: Call[T]) -> Answer[T]:
    """Do what `read` does. A long body is decoded in a thread, so that the event loop goes on."""
    passed_on = call.passes_long and response.status in call.statuses
    return await offload.run(read, response, call, size=0 if passed_on else len(response.body))


def read(response: Response, call: Call[T]) -> Answer[T]:
    """Decide what a response means. No other code looks at status and body of a response."""
    if response.status not in call.statuses:
        return Answer(response.status, error=_error(response, call))
    try:
        return Answer(response.status, call.parse(response.body))
    except ApiError as e:
        reason = e.message
    except InvalidInput as e:
        reason = f"not Strava's answer to this call: {e}"
    except (LookupError, TypeError, ValueError, ArithmeticError, OSError) as e:
        reason = f"not Strava's answer to this call: {json_text.failure(e)}"
    except RecursionError:
        reason = "not Strava's answer to this call: it is nested too deep"
    shape = json_text.shape(response.body)
    error = TransientError(response.status, reason, shape=shape, call=call.name)
    error.shows_object = call.object_id is not None and _shows(response.body, call.object_id)
    return Answer(response.status, error=error)


def _shows(body: bytes, object_id: int) -> bool:
    """Return whether an unreadable body is complete and has the member `id` of the requested object."""
    text = body.strip()
    complete = text.startswith(b"{") and text.endswith(b"}")
    return complete and re.search(rb'"id"\s*:\s*%d\b' % object_id, text) is not None


def _error(response: Response, call: Call[Any]) -> ApiError:
    message, faults = read_error(response.body)
    kind = _kind(response, message, faults, call)
    # Only Strava's known words: anything else in the body may be an athlete's.
    message = message if message.lower() in MESSAGES else ""
    faults = tuple(_known_words(fault) for fault in faults[:MOST_FAULTS])
    return kind(response.status, message, faults, shape=json_text.shape(response.body), call=call.name)


def _known_words(fault: Fault) -> Fault:
    """Return the fault without words that Strava's errors do not use: foreign JSON may quote an athlete."""
    if fault.resource not in RESOURCES:
        return Fault(UNKNOWN, UNKNOWN, UNKNOWN)
    field, code = (word if _WORDS.fullmatch(word) else UNKNOWN for word in (fault.field, fault.code))
    return Fault(fault.resource, field, code)


def _kind(response: Response, message: str, faults: tuple[Fault, ...], call: Call[Any]) -> type[ApiError]:
    status = response.status
    if status == 429:
        # Whoever sends it: to wait for the next window is always safe, and to go on could exceed the limit.
        return RateLimited
    if not 400 <= status < 500:
        return TransientError
    if CODE in call.resources and status in (400, 403) and SEATS_TEXT in response.body[:SEARCHED].lower():
        return SeatsFull
    if not message or not faults:
        return TransientError
    return (
        _of_application(status, faults)
        or _of_token(status, faults, call)
        or _of_object(status, faults, call)
        or TransientError
    )


def _of_application(status: int, faults: tuple[Fault, ...]) -> type[ApiError] | None:
    """Return what Strava says about the whole application, if anything."""
    for fault in faults:
        if fault.resource != "Application":
            continue
        if status == 403 and (fault.field, fault.code) == ("Status", "Inactive"):
            return AppInactive
        if status == 403 and "rate limit" in fault.field.lower() and fault.code == "exceeded":
            return RateLimited
        if status in (400, 401) and fault.field in CREDENTIALS and fault.code == "invalid":
            return ApplicationRefused
    return None


def _of_token(status: int, faults: tuple[Fault, ...], call: Call[Any]) -> type[ApiError] | None:
    """Return what Strava says about the token that the call used, if anything."""
    for fault in faults:
        if call.token_endpoint:
            if status in (400, 401) and (fault.resource, fault.code) == ("RefreshToken", "invalid"):
                return TokenRevoked
        elif status in (401, 403) and _is_scope(fault):
            return NeedsScope
        elif status == 401 and fault.resource in BEARERS and fault.code == "invalid":
            return NeedsRefresh
    return None


def _is_scope(fault: Fault) -> bool:
    named = fault.resource in ("AccessToken", "Athlete")
    return named and fault.field.endswith("permission") and fault.code == "missing"


def _of_object(status: int, faults: tuple[Fault, ...], call: Call[Any]) -> type[ApiError] | None:
    """Return what Strava says about the requested object, or about the request itself, if anything."""
    about = [fault for fault in faults if fault.resource in call.resources]
    if status == 404:
        return NotVisible if call.may_be_absent and any(fault.code in ABSENT for fault in about) else None
    if about and (status in REFUSALS or (status == 401 and call.token_endpoint)):
        return PermanentError
    # A parameter that Strava does not accept, such as `Application/per page/limit exceeded`.
    parameter = any(fault.resource == "Application" and fault.field and fault.code for fault in faults)
    return PermanentError if parameter and status in (400, 422) else None


def read_error(body: bytes) -> tuple[str, tuple[Fault, ...]]:
    """Return `message` and `errors` of an error body, without the parts that are missing or malformed."""
    try:
        parsed = json_text.value(body)
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
