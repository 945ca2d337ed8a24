"""Stand-ins for the boundaries in ports.py: they record each call and return the answers of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from feedzone.domain.activity import ActivityRecord, StoredActivity
from feedzone.domain.athlete import Access, TokenGrant, TokenRow
from feedzone.domain.fruitless import FruitlessCalls
from feedzone.domain.job import Hint, Job, Lane, RefreshHint
from feedzone.domain.job_kinds import ACTIVITY_KINDS, JobKind, job_key
from feedzone.domain.outcome import Outcome, Retry, Snooze
from feedzone.domain.photos import StoredPhotos
from feedzone.domain.quota.windows import ApiCall, Reservation, Usage
from feedzone.errors import ApplicationPaused, StravaFails, TransportFailure
from feedzone.ports import Clock, KnownActivity, Request, Response

ATHLETE, STRANGER, ACTIVITY = 134815, 999, 1360128428
NOON = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)


class Parked:
    """A clock that stands still: nobody who sleeps wakes up."""

    def now(self):
        return NOON

    async def sleep(self, seconds: float) -> None:
        await asyncio.get_running_loop().create_future()


def answer(status: int = 200, body: object = b"{}", **headers: str) -> Response:
    """Return a response. `body` is JSON-encoded unless it is bytes; header names have _ for -."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def refusal(status: int, message: str, *faults: tuple[str, str, str]) -> Response:
    """Return an error response in Strava's shape (docs/strava-api.md#errors)."""
    errors = [dict(zip(("resource", "field", "code"), fault, strict=True)) for fault in faults]
    return answer(status, {"message": message, "errors": errors})


UNAUTHORIZED = refusal(401, "Authorization Error", ("Athlete", "access_token", "invalid"))
Scripted = Response | Exception | Callable[[Request], Response]


class FakeTransport:
    """Returns the scripted answers in order, and the last one again and again."""

    def __init__(self, *answers: Scripted) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []
        self.timeouts: list[float] = []

    async def send(self, request: Request, timeout: float) -> Response:
        self.requests.append(request)
        self.timeouts.append(timeout)
        await asyncio.sleep(0)
        scripted = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(scripted, Exception):
            raise scripted
        return scripted if isinstance(scripted, Response) else scripted(request)

    async def close(self) -> None: ...


class FakeBudget:
    """Rate limit windows that record each use; with `full`, every reservation raises it."""

    def __init__(self, *, full: Exception | None = None, others: int = 0, **leave: bool) -> None:
        self.full, self.others, self.leave = full, others, Reservation(**leave)
        self.log: list[tuple[str, Any]] = []

    async def reserve(self, lane: Lane) -> Reservation:
        if self.full is not None:
            raise self.full
        self.log.append(("reserve", lane))
        return self.leave

    async def release(self, reservation: Reservation) -> None:
        assert reservation is self.leave
        self.log.append(("release", None))

    async def answered(self, reservation: Reservation, usage: Usage, at: datetime | None = None) -> int:
        assert reservation is self.leave
        self.log.append(("answered", usage))
        return self.others

    async def latch(self, reservation: Reservation, usage: Usage, at: datetime | None = None) -> datetime:
        assert reservation is self.leave
        self.log.append(("latch", usage))
        return NOON + timedelta(minutes=15)


class FakeCallLog:
    """A call log in memory."""

    def __init__(self) -> None:
        self.calls: list[ApiCall] = []
        self.note = self.calls.append


class FakeBreaker:
    """A breaker that records each change."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def open_inactive(self, reason: str) -> ApplicationPaused:
        self.log.append(f"open_inactive: {reason}")
        return ApplicationPaused(NOON + timedelta(hours=1), reason)

    async def fail(self, reason: str) -> ApplicationPaused:
        self.log.append(f"fail: {reason}")
        return StravaFails(NOON, reason)

    async def probe_soon(self) -> timedelta:
        self.log.append("probe soon")
        return timedelta(seconds=30)

    async def close(self) -> bool:
        self.log.append("close")
        return False

    async def resume(self) -> None:
        self.log.append("resume")


def grant(name: str, expires_at: datetime) -> TokenGrant:
    return TokenGrant(f"access-{name}", f"refresh-{name}", expires_at)


class FakeTokenRows:
    """One athlete's token columns, with the guards that store/tokens.py has."""

    def __init__(self, clock: Clock, *, left: timedelta, athlete_id: int = ATHLETE) -> None:
        self.clock = clock
        self.row: TokenRow | None = TokenRow(
            athlete_id, "access-1", "refresh-1", clock.now() + left, 1, "active", None, None
        )
        self.holder: str | None = None
        self.reason: str | None = None
        self.log: list[str] = []
        self.before: dict[str, Callable[[], object]] = {}
        """By method: a function to run just before the next call. So another process acts in between."""

    async def _enter(self, name: str) -> None:
        self.before.pop(name, lambda: None)()
        await asyncio.sleep(0)
        self.log.append(name)

    async def load(self, athlete_id: int) -> TokenRow | None:
        await self._enter("load")
        return self.row

    def put(self, grant: TokenGrant) -> None:
        """Make another pair the current one, as a rotation or a new consent does."""
        assert self.row is not None
        self.row = TokenRow(
            self.row.athlete_id,
            grant.access_token,
            grant.refresh_token,
            grant.expires_at,
            self.row.generation + 1,
            self.row.status,
            None,
            None,
        )
        self.holder = None

    def purge(self) -> None:
        self.row = self.holder = None

    def hold(self, owner: str, seconds: float) -> None:
        self.holder = owner
        self._change(refreshing_until=self.clock.now() + timedelta(seconds=seconds))

    def _change(self, **changes: Any) -> None:
        assert self.row is not None
        self.row = msgspec.structs.replace(self.row, **changes)

    async def claim_refresh(self, athlete_id: int, generation: int, owner: str, seconds: float) -> bool:
        await self._enter("claim")
        row = self.row
        if row is None or row.generation != generation:
            return False
        if row.refreshing_until is not None and row.refreshing_until > self.clock.now():
            return False
        self.hold(owner, seconds)
        return True

    async def save_rotated(self, athlete_id: int, generation: int, grant: TokenGrant) -> bool:
        await self._enter("save")
        if self.row is None or self.row.generation != generation:
            return False
        self.put(grant)
        return True

    async def release_refresh(self, athlete_id: int, owner: str, *, uncertain: bool) -> None:
        await self._enter("release")
        if self.row is not None and self.holder == owner:
            self.holder = None
            uncertain_at = self.clock.now() if uncertain else self.row.uncertain_at
            self._change(refreshing_until=None, uncertain_at=uncertain_at)

    async def mark(self, athlete_id: int, generation: int, status: str, reason: str) -> bool:
        await self._enter("mark")
        if self.row is None or self.row.generation != generation:
            return False
        self._change(status=status)
        self.reason = reason
        return True


class FakeApi:
    """Strava for handlers: returns or raises the answers of each call in order, and the last one again."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {name: item if isinstance(item, list) else [item] for name, item in answers.items()}
        self.calls: list[tuple[Any, ...]] = []

    def _answer(self, name: str, *arguments: Any) -> Any:
        self.calls.append((name, *arguments))
        answers = self._answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the call of this name. Its arguments are recorded in order."""

        async def call(*arguments: Any) -> Any:
            return self._answer(name, *arguments)

        return call

    async def activities(
        self, athlete_id: int, *, after: int | None, before: int | None, page: int, per_page: int
    ) -> Sequence[ActivityRecord]:
        return self._answer("activities", athlete_id, after, before, page, per_page)

    @property
    def call_names(self) -> list[str]:
        return [name for name, *_ in self.calls]


class FakeRecords:
    """Our stored rows: one activity, or for a reconciliation the ids of a window and the total number."""

    def __init__(
        self,
        stored: StoredActivity | None = None,
        *,
        window: Sequence[int] = (),
        count: int | None = None,
        photos: StoredPhotos | None = None,
        sports: frozenset[str] | None = None,
    ) -> None:
        self.stored = stored
        self.fruitless = FruitlessCalls(1000)
        self.connection: Access | None = Access("active", NOON - timedelta(days=9))
        self.sports, self.photos, self.deleted = sports, photos, 0
        self.window = list(window)
        self.count = len(self.window) if count is None else count
        self.windows_read: list[tuple[int, datetime, datetime]] = []

    async def stored_activity(self, activity_id: int) -> StoredActivity | None:
        return self.stored

    async def known_activity(self, athlete_id: int, activity_id: int, *, unproven: bool) -> KnownActivity:
        return KnownActivity(self.sports, self.stored, self.fruitless if unproven else None)

    async def stored_photos(self, activity_id: int) -> StoredPhotos | None:
        return self.photos

    async def fruitless_calls(self, athlete_id: int) -> FruitlessCalls:
        return self.fruitless

    async def access(self, athlete_id: int) -> Access | None:
        return self.connection

    async def stored_between(self, athlete_id: int, after: datetime, before: datetime) -> list[int]:
        self.windows_read.append((athlete_id, after, before))
        return self.window

    async def stored_outside(self, athlete_id: int, fetched_before: datetime, most: int) -> list[int]:
        return []

    async def stored_count(self, athlete_id: int) -> int:
        return self.count

    async def found_deleted(self, athlete_id: int, since: datetime) -> int:
        return self.deleted


class Streams(NamedTuple):
    blob: bytes
    channels: tuple[str, ...]
    samples: int


async def encode(body: bytes) -> Streams:
    """Stand in for store/stream_codec.py: the blob is the body."""
    channels = msgspec.json.decode(body)
    longest = max((len(channel["data"]) for channel in channels.values()), default=0)
    return Streams(body, tuple(channels), longest)


def job(kind: JobKind = "refresh_activity", hint: Hint | None = None, **changes: Any) -> Job:
    object_id = ACTIVITY if kind in ACTIVITY_KINDS else ATHLETE
    return Job(
        **{
            "id": "job-1",
            "kind": kind,
            "key": job_key(kind, object_id),
            "athlete_id": ATHLETE,
            "hint": hint or RefreshHint(cause="event:e1"),
            "hint_time": 0,
            "lane": Lane.LIVE,
            "attempts": 0,
            "version": 1,
            "first_received_at": NOON,
            "lease_owner": "w/1",
        }
        | changes
    )


class FakeQueue:
    """Jobs in memory, with the rules of store/leases.py; no effects are applied."""

    def __init__(self, clock: Clock, *jobs: Job, due: Mapping[str, datetime] | None = None) -> None:
        self._clock = clock
        self.jobs = {job.id: job for job in jobs}
        self.due = {job.id: (due or {}).get(job.id, clock.now()) for job in jobs}
        self.leases: dict[str, tuple[str, datetime]] = {}
        self.outcomes: list[tuple[str, Outcome]] = []
        self.released: list[str] = []
        self.failures: list[Exception] = []
        """Raised by the next calls of finish, one each."""

    async def lease(self, limit: int, owner: str, seconds: float) -> list[Job]:
        now = self._clock.now()
        ready = [key for key in self.jobs if key not in self.leases and self.due[key] <= now][:limit]
        for key in ready:
            self.leases[key] = (owner, now + timedelta(seconds=seconds))
        return [msgspec.structs.replace(self.jobs[key], lease_owner=owner) for key in ready]

    async def finish(self, job: Job, outcome: Outcome) -> bool:
        if self.failures:
            raise self.failures.pop(0)
        if self.leases.get(job.id, ("", None))[0] != job.lease_owner:
            return False
        self.outcomes.append((job.id, outcome))
        del self.leases[job.id]
        if isinstance(outcome, Snooze):
            self.due[job.id] = outcome.until
        elif isinstance(outcome, Retry):
            self.due[job.id] = self._clock.now() + timedelta(seconds=60)
        else:
            del self.jobs[job.id], self.due[job.id]
        return True

    async def renew(self, owners: Sequence[str], seconds: float) -> int:
        until = self._clock.now() + timedelta(seconds=seconds)
        renewed = {key: (owner, until) for key, (owner, _) in self.leases.items() if owner in owners}
        self.leases |= renewed
        return len(renewed)

    async def release(self, owner: str) -> int:
        self.released.append(owner)
        keys = [key for key, (lease_owner, _) in self.leases.items() if lease_owner.startswith(f"{owner}/")]
        return self._take_back(keys)

    async def rescue(self) -> int:
        now = self._clock.now()
        return self._take_back([key for key, (_, until) in self.leases.items() if until <= now])

    def _take_back(self, keys: list[str]) -> int:
        return len([self.leases.pop(key) for key in keys])

    async def next_due(self) -> datetime | None:
        return min((due for key, due in self.due.items() if key not in self.leases), default=None)


def unanswered(*, acted: bool | None = None) -> TransportFailure:
    return TransportFailure("no answer", acted=acted)


async def settle(times: int = 20) -> None:
    """Let every task that can go on do so."""
    for _ in range(times):
        await asyncio.sleep(0)
