"""The boundaries that have two implementations or a fake, as Protocols.

`handlers`, `worker`, `strava` and `store` know each other only through these and the plain values of
`domain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from .domain.activity import ActivityRecord, StoredActivity
    from .domain.athlete import Access, AthleteProfile, TokenGrant, TokenRow
    from .domain.fruitless import FruitlessCalls
    from .domain.gear import GearListing
    from .domain.job import Job, Lane
    from .domain.outcome import Outcome
    from .domain.photos import Photo, StoredPhotos
    from .domain.quota.windows import ApiCall, Reservation, Usage
    from .errors import ApplicationPaused


class Clock(Protocol):
    """The only source of time. A simulated world brings its own."""

    def now(self) -> datetime:
        """The current instant, timezone-aware, UTC."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Wakeup(Protocol):
    """Signals to waiting workers that there may be work. A signal may be lost, so workers poll as well."""

    def notify(self) -> None: ...

    async def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; True when notified."""
        ...


@dataclass(frozen=True)
class Request:
    """An HTTP request to send. `form` is sent form-encoded."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Response:
    """An HTTP response with its body read. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends one HTTP request. Raises TransportFailure (or CallOverdue) when no response came."""

    async def send(self, request: Request, timeout: float) -> Response: ...

    async def close(self) -> None: ...


class TokenRows(Protocol):
    """The stored tokens: encrypted, with a generation number that only rises."""

    async def load(self, athlete_id: int) -> TokenRow | None: ...

    async def claim_refresh(self, athlete_id: int, generation: int, owner: str, seconds: float) -> bool:
        """Return True to the only caller, across all processes, that may refresh this generation now."""
        ...

    async def save_rotated(self, athlete_id: int, generation: int, grant: TokenGrant) -> bool:
        """Store the rotated pair. Return False when `generation` is no longer the current one."""
        ...

    async def release_refresh(self, athlete_id: int, owner: str, *, uncertain: bool) -> None: ...

    async def mark(self, athlete_id: int, generation: int, status: str, reason: str) -> bool:
        """Set the athlete's status, if `generation` is still the current one."""
        ...


class BudgetRows(Protocol):
    """The rate limit windows, shared by all processes."""

    async def reserve(self, lane: Lane) -> Reservation:
        """Count one call before it is sent.

        Raises, counting nothing: QuotaSpent when a window is full, or its remaining calls are reserved for
        lanes of higher priority; ApplicationPaused while Strava has the application switched off. May wait
        a moment for the response to another call.
        """
        ...

    async def release(self, reservation: Reservation) -> None:
        """Return a reservation whose call was never sent."""
        ...

    async def answered(self, reservation: Reservation, usage: Usage, at: datetime | None = None) -> int:
        """Record the end of a call, and correct limits and usage by its headers, if it has any.

        The headers were true `at` that instant, by Strava's clock: a window may have ended since.

        Returns the number of calls that Strava counted today and that feedzone did not send.
        """
        ...

    async def latch(self, reservation: Reservation, usage: Usage, at: datetime | None = None) -> datetime:
        """Close the spent window for all processes after a 429; return when it opens again."""
        ...


class BreakerRows(Protocol):
    """The circuit breaker, shared by all processes.

    It stops all calls while Strava has the application switched off, or fails at everything.
    """

    async def open_inactive(self, reason: str) -> ApplicationPaused: ...

    async def fail(self, reason: str) -> ApplicationPaused: ...

    async def probe_soon(self) -> timedelta: ...

    async def close(self) -> bool: ...

    async def resume(self) -> None: ...


class CallSink(Protocol):
    """Records every call, so that people can see which work used the rate limit."""

    def note(self, call: ApiCall) -> None:
        """Record a finished call. Never waits: it is written later, together with others."""
        ...


class StravaApi(Protocol):
    """The calls that feedzone makes for one athlete. Each raises subclasses of StravaError."""

    async def activity(self, athlete_id: int, activity_id: int) -> ActivityRecord: ...

    async def streams(self, athlete_id: int, activity_id: int) -> bytes:
        """Return the response as received: a JSON object by channel; `{}` when Strava has no streams."""
        ...

    async def photos(self, athlete_id: int, activity_id: int) -> Sequence[Photo]: ...

    async def activities(
        self, athlete_id: int, *, after: int | None, before: int | None, page: int, per_page: int
    ) -> Sequence[ActivityRecord]: ...

    async def athlete(self, athlete_id: int) -> AthleteProfile: ...

    async def gear(self, athlete_id: int) -> GearListing: ...

    async def is_deauthorized(self, athlete_id: int) -> bool:
        """Return whether the athlete revoked our access: True only when Strava itself says so."""
        ...

    async def revoke(self, token: str) -> None: ...


class KnownActivity(NamedTuple):
    """What the database knows of an activity before it is fetched."""

    sports: frozenset[str] | None
    """The sport types whose details the athlete selected; None: all."""
    stored: StoredActivity | None
    spent: FruitlessCalls | None
    """What unproven events of the athlete have cost lately; None: it was not asked for."""


class HandlerReads(Protocol):
    """The database reads that handlers need for their decisions."""

    async def stored_activity(self, activity_id: int) -> StoredActivity | None: ...

    async def known_activity(self, athlete_id: int, activity_id: int, *, unproven: bool) -> KnownActivity:
        """Return all that a refresh needs before its first call; `spent` only if it is `unproven`."""
        ...

    async def fruitless_calls(self, athlete_id: int) -> FruitlessCalls:
        """Return what unproven events of the athlete have cost lately."""
        ...

    async def access(self, athlete_id: int) -> Access | None:
        """Return the state of the athlete's connection; None: there is no such athlete."""
        ...

    async def stored_photos(self, activity_id: int) -> StoredPhotos | None:
        """Return None when photos were never requested, or the activity is gone."""
        ...

    async def stored_between(self, athlete_id: int, after: datetime, before: datetime) -> list[int]:
        """Return the ids of the athlete's live activities that started in between."""
        ...

    async def stored_outside(self, athlete_id: int, fetched_before: datetime, most: int) -> list[int]:
        """Return ids of the athlete's live activities that no comparison lists, longest unfetched first.

        They have no start, or one before the synced range.
        """
        ...

    async def stored_count(self, athlete_id: int) -> int:
        """Return how many live activities of the athlete are stored."""
        ...

    async def found_deleted(self, athlete_id: int, since: datetime) -> int:
        """Return how many activities were found to be missing at Strava and buried since then."""
        ...


class JobQueue(Protocol):
    """The part of the job queue that the worker needs."""

    async def lease(self, limit: int, owner: str, seconds: float) -> list[Job]: ...

    async def finish(self, job: Job, outcome: Outcome) -> bool:
        """Apply the outcome's effects and complete the job in one transaction.

        Return False, changing nothing, when the job has lost its lease.
        """
        ...

    async def renew(self, owners: Sequence[str], seconds: float) -> int: ...

    async def release(self, owner: str) -> int: ...

    async def rescue(self) -> int: ...

    async def next_due(self) -> datetime | None: ...


class LeaseTerms(NamedTuple):
    """How long the lease on the recurring duties lasts, when to renew it, and how often others look at it."""

    lease_s: float
    renew_s: float
    look_s: float


class DutyLease(Protocol):
    """The lease of the one process that runs the recurring duties."""

    terms: LeaseTerms

    async def is_free(self) -> bool:
        """Return whether `acquire` may succeed. This read is cheaper than the write."""
        ...

    async def acquire(self) -> bool:
        """Take the lease, or renew it. Return False, changing nothing, while another process has it."""
        ...

    async def release(self) -> None:
        """Let another process take the lease at once, if this one has it."""
        ...


class Handler(Protocol):
    """Runs one kind of job: decides, calls Strava, and returns the effects to store."""

    async def __call__(self, job: Job) -> Outcome: ...
