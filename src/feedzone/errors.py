"""One tree of errors: the docstring is the message, the fields carry the facts."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

_OURS = Path(__file__).parent


class FeedzoneError(Exception):
    """feedzone could not complete the request."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").strip().splitlines()[0]


def reason_of(problem: BaseException) -> str:
    """Return the text of an error of ours; of any other its type and place, because it may quote a value."""
    if isinstance(problem, FeedzoneError):
        return str(problem)
    frames = traceback.extract_tb(problem.__traceback__)
    ours = [frame for frame in frames if _OURS in Path(frame.filename).parents] or frames
    place = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(problem).__name__}{place}"


class SettingsError(FeedzoneError):
    """A setting is missing or invalid."""


class SchemaMismatch(FeedzoneError):
    """The database does not have the schema this version of feedzone needs."""


class NotFound(FeedzoneError):
    """There is no such thing here."""


class InvalidInput(FeedzoneError):
    """The input is not valid here."""


class StorageUnavailable(FeedzoneError):
    """The database could not commit in time."""


class StravaError(FeedzoneError):
    """A call to Strava did not succeed."""

    error_class: ClassVar[str] = "other"
    """The name by which people find dead letters of one class (domain/outcome.py lists all)."""

    again_after_s: float | None = None
    """Set if the failure says nothing about the requested object: then waiting so long costs no attempt."""

    waits_alone: bool = False
    """Whether Strava answers other calls of the endpoint meanwhile, so that their answers end no wait."""


class TransportFailure(StravaError):
    """No answer came from Strava.

    `acted` is False when the request certainly did not reach Strava, so that it may be repeated. It is None
    when that is unknown: after a timeout, Strava may have acted.
    """

    error_class = "no_answer"

    def __init__(self, message: str, *, acted: bool | None = None) -> None:
        super().__init__(message)
        self.acted = acted


class CallOverdue(TransportFailure):
    """Strava did not answer within SYNC_TIMEOUT_MS."""


class AnswerTooLarge(TransportFailure):
    """An answer was larger than any that Strava sends, and was not read to its end."""


@dataclass(frozen=True)
class Fault:
    """One entry of the `errors` list in Strava's error body (docs/strava-api.md#errors)."""

    resource: str = ""
    field: str = ""
    code: str = ""

    def __str__(self) -> str:
        return "/".join((self.resource, self.field, self.code))


class ApiError(StravaError):
    """Strava answered with an error; status, message and faults are from the answer.

    Its text goes into tables, logs and pages, so it never quotes the body, which may hold an athlete's data.
    `shape` describes the body instead: its length, its type, and where it stops being JSON.
    """

    def __init__(
        self,
        status: int,
        message: str = "",
        faults: tuple[Fault, ...] = (),
        *,
        shape: str = "",
        call: str = "",
    ) -> None:
        self.status = status
        self.message = message
        self.faults = faults
        self.call = call
        details = "; ".join(str(fault) for fault in faults) or shape
        super().__init__(
            " ".join(part for part in (call, str(status), message, f"({details})" if details else "") if part)
        )


class TransientError(ApiError):
    """No answer of Strava's about the requested object: 5xx, HTML, a redirect, foreign JSON.

    `faults` may come from anybody: only the other classes are Strava's own word. `shows_object` says that a
    success shows the requested object in a form that cannot be read.
    """

    error_class = "strava_error"
    shows_object: bool = False

    @property
    def is_foreign(self) -> bool:
        """Return whether Strava has neither failed nor shown the object: somebody else has answered."""
        return self.status < 500 and not self.shows_object


class RateLimited(ApiError):
    """Strava says that a rate limit window is spent."""

    error_class = "rate_limited"


class NotVisible(ApiError):
    """Strava has no such object for this athlete: deleted, private, or not ready yet."""

    error_class = "not_visible"


class NeedsRefresh(ApiError):
    """Strava does not accept the access token (any more)."""

    error_class = "token_rejected"


class NeedsScope(ApiError):
    """The athlete has not granted the scope that this call needs."""

    error_class = "needs_scope"


class TokenRevoked(ApiError):
    """Strava does not accept the refresh token: access was revoked, or the token was rotated elsewhere."""

    error_class = "revoked"


class AppInactive(ApiError):
    """Strava has switched the application off (Application/Status/Inactive)."""


class SeatsFull(ApiError):
    """The application has reached Strava's limit of connected athletes."""


class PermanentError(ApiError):
    """Strava refuses this request, and would refuse it again."""

    error_class = "refused"


class ApplicationRefused(PermanentError):
    """Strava does not accept STRAVA_CLIENT_ID or STRAVA_CLIENT_SECRET.

    That tells nothing about an athlete, and ends when the operator has corrected the settings.
    """

    error_class = "application_refused"


class QuotaSpent(StravaError):
    """The rate limit allows no call of this lane now.

    A window is spent, or its remaining calls are reserved for higher lanes.

    `until` is the instant (UTC) at which the lane may call again.
    """

    def __init__(self, window: str, until: object) -> None:
        self.window = window
        self.until = until
        super().__init__(f"no quota left in window {window} before {until}")


class AllowanceSpent(FeedzoneError):
    """An athlete has caused as many calls to Strava as ATHLETE_CALLS_PER_HOUR allows.

    `until` is the instant (UTC) at which they may cause calls again.
    """

    def __init__(self, spent: int, limit: int, until: datetime) -> None:
        self.spent = spent
        self.limit = limit
        self.until = until
        super().__init__(f"{spent} of {limit} requests to Strava of this hour are used")


class ApplicationPaused(StravaError):
    """Strava has switched the application off; all calls wait.

    `until` is the instant (UTC) of the next probe. Another caller makes it if this one is `spare`.
    """

    def __init__(self, until: object, reason: str = "", *, spare: bool = False) -> None:
        self.until = until
        self.spare = spare
        super().__init__(
            "Strava has switched this application off (its owner needs a paid Strava subscription); "
            f"next probe {until}" + (f"; Strava said: {reason}" if reason else "")
        )


class StravaFails(ApplicationPaused):
    """Strava fails at one call after the other; all calls wait until a probe succeeds."""

    def __init__(self, until: object, reason: str = "", *, spare: bool = False) -> None:
        StravaError.__init__(
            self, f"Strava fails; next try {until}" + (f"; last: {reason}" if reason else "")
        )
        self.until = until
        self.spare = spare


class RefreshPending(StravaError):
    """No usable token now: a refresh is under way, or the token address does not answer.

    `until` is the instant (UTC) at which the caller may try again.
    """

    error_class = "no_answer"

    def __init__(self, until: object) -> None:
        self.until = until
        super().__init__(f"Strava's token address has not answered yet; next try {until}")


class NotConnected(StravaError):
    """The athlete has no usable connection to Strava."""

    error_class = "not_connected"
