"""The boundaries that have two implementations or a fake, as Protocols.

Rooms know each other only through what stands here and through the plain values of `domain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .domain.activity import ActivityRecord, StoredActivity
    from .domain.athlete import AthleteProfile, TokenGrant, TokenRow
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
    """Tells waiting workers that there may be work. It may be lost: polling stays the truth."""

    def notify(self) -> None: ...

    async def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; True when notified."""
        ...


@dataclass(frozen=True)
class Request:
    """An HTTP request to be sent. `form` is sent form-encoded; secrets never stand in the URL."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Response:
    """An HTTP answer with its body read. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends one HTTP request. Raises TransportFailure (or CallOverdue) when no answer came."""

    async def send(self, request: Request, timeout: float) -> Response: ...

    async def close(self) -> None: ...


class TokenRows(Protocol):
    """Where tokens are kept: encrypted, with a generation number that only rises."""

    async def load(self, athlete_id: int) -> TokenRow | None: ...

    async def claim_refresh(self, athlete_id: int, generation: int, owner: str, seconds: float) -> bool:
        """True for the one caller, of all processes, that may refresh generation `generation` now."""
        ...

    async def save_rotated(self, athlete_id: int, generation: int, grant: TokenGrant) -> bool:
        """Store the rotated pair. False when `generation` is no longer the current one."""
        ...

    async def release_refresh(self, athlete_id: int, owner: str, *, uncertain: bool) -> None: ...

    async def mark(self, athlete_id: int, generation: int, status: str, reason: str) -> bool:
        """Set the athlete's status, if `generation` is still the current one."""
        ...


class BudgetRows(Protocol):
    """The rate limit windows, shared by all processes."""

    async def reserve(self, lane: Lane) -> Reservation:
        """Count one call before it is sent.

        Raises, counting nothing: QuotaSpent when a window is full, or what is left is kept for lanes that go
        before this one; ApplicationPaused while Strava has the application switched off. May wait a moment
        for the answer to another call.
        """
        ...

    async def release(self, reservation: Reservation) -> None:
        """Give back a reservation whose call was never sent."""
        ...

    async def answered(self, reservation: Reservation, usage: Usage, at: datetime | None = None) -> int:
        """The call has ended: correct limits and usage by what its headers say, if there were any.

        They were true `at` that instant, by Strava's clock: a window may have ended since.

        Returns how many calls of this day Strava has counted that we did not know of.
        """
        ...

    async def latch(self, reservation: Reservation, usage: Usage, at: datetime | None = None) -> datetime:
        """A 429 came: close the window that is spent, for everyone; return when it opens again."""
        ...


class BreakerRows(Protocol):
    """Whether all calls wait, shared by all processes: the application is switched off, or Strava fails."""

    async def open_inactive(self, reason: str) -> ApplicationPaused: ...

    async def fail(self, reason: str) -> ApplicationPaused: ...

    async def probe_soon(self) -> None: ...

    async def close(self) -> bool: ...


class CallSink(Protocol):
    """Remembers every call, so that it can be said what spent the rate limit."""

    def note(self, call: ApiCall) -> None:
        """Remember a finished call. Never waits: it is written later, with others."""
        ...


class StravaApi(Protocol):
    """What feedzone asks of Strava for one athlete. Raises the StravaError tree and QuotaSpent."""

    async def activity(self, athlete_id: int, activity_id: int) -> ActivityRecord: ...

    async def streams(self, athlete_id: int, activity_id: int) -> bytes:
        """The streams answer as received: a JSON object by channel; `{}` when Strava has none."""
        ...

    async def photos(self, athlete_id: int, activity_id: int) -> Sequence[Photo]: ...

    async def activities(
        self, athlete_id: int, *, after: int | None, before: int | None, page: int, per_page: int
    ) -> Sequence[ActivityRecord]: ...

    async def athlete(self, athlete_id: int) -> AthleteProfile: ...

    async def gear(self, athlete_id: int) -> GearListing: ...

    async def is_deauthorized(self, athlete_id: int) -> bool:
        """Ask Strava whether the athlete's access is gone: True only when Strava itself says so."""
        ...

    async def revoke(self, token: str) -> None: ...


class HandlerReads(Protocol):
    """What handlers may ask the database before they decide."""

    async def stored_activity(self, activity_id: int) -> StoredActivity | None: ...

    async def connected_at(self, athlete_id: int) -> datetime | None:
        """When the athlete consented last; None: never."""
        ...

    async def wanted_sports(self, athlete_id: int) -> frozenset[str] | None:
        """The sport types whose details are wanted; None: all."""
        ...

    async def stored_photos(self, activity_id: int) -> StoredPhotos | None:
        """None: nobody has asked for any, or the activity is gone."""
        ...

    async def stored_between(self, athlete_id: int, after: datetime, before: datetime) -> list[int]:
        """Ids of the athlete's live activities that started in between."""
        ...

    async def stored_count(self, athlete_id: int) -> int:
        """How many live activities of the athlete we hold."""
        ...


class JobQueue(Protocol):
    """The queue as the worker sees it."""

    async def lease(self, limit: int, owner: str, seconds: float) -> list[Job]: ...

    async def finish(self, job: Job, outcome: Outcome) -> bool:
        """Apply the outcome's effects and complete the job in one transaction.

        False, changing nothing, when the lease is no longer this job's.
        """
        ...

    async def renew(self, owners: Sequence[str], seconds: float) -> int: ...

    async def release(self, owner: str) -> int: ...

    async def rescue(self) -> int: ...

    async def next_due(self) -> datetime | None: ...


class Handler(Protocol):
    """Does one kind of job: decides, asks Strava, and says what is to be stored."""

    async def __call__(self, job: Job) -> Outcome: ...
