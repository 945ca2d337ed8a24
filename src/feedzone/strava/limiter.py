"""Sends calls within the budget: reserved before the call, corrected after it.

See docs/strava-api.md#rate-limits.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TypeVar

import structlog

from ..clock import StravaClock
from ..domain.job import Lane, running_job
from ..domain.quota.demand import OTHERS
from ..domain.quota.windows import ApiCall, Reservation, Usage, parse_usage
from ..errors import (
    AnswerTooLarge,
    AppInactive,
    NotVisible,
    QuotaSpent,
    RateLimited,
    StorageUnavailable,
    StravaError,
    TransientError,
    TransportFailure,
)
from ..ports import BreakerRows, BudgetRows, CallSink, Request, Transport
from .health import EndpointHealth
from .responses import Answer, Call, read_off_loop

T = TypeVar("T")

log = structlog.get_logger("feedzone.strava")

FAILURES, CALLS = 9, 3
"""The failures in a row, and the number of different calls among them, that open the circuit breaker.

Different calls, because Strava may be unable to show one activity and still work otherwise.
"""

OWN_FAILURES = range(500, 600)
"""The statuses with which Strava itself says that it failed, if the body is its error body."""

_IDS = re.compile(r"(?<=/)[a-z]?\d+")
_ACTIVITY = re.compile(r"GET activities/(\d+)")


class Limiter:
    """Sends every call that Strava counts; all calls of feedzone are reads."""

    def __init__(
        self,
        transport: Transport,
        budget: BudgetRows,
        breaker: BreakerRows,
        call_log: CallSink,
        clock: StravaClock,
        health: EndpointHealth | None = None,
    ) -> None:
        self._transport = transport
        self._budget = budget
        self._breaker = breaker
        self._call_log = call_log
        self._clock = clock
        self._health = health or EndpointHealth()
        self._failures = 0
        self._failed: set[str] = set()
        """The number of failures since Strava last answered, and the calls that failed."""

    async def send(self, request: Request, timeout: float, call: Call[T]) -> Answer[T]:
        """Send a counted call. Raises QuotaSpent or ApplicationPaused, without sending, when it must wait."""
        job = running_job.get()
        # Outside of jobs a person waits for the response.
        reservation = await self._budget.reserve(job.lane if job else Lane.INTERACTIVE)
        try:
            answer, usage, read_at = await self._send(request, timeout, call)
        except TransportFailure as failure:
            await self._note_unanswered(reservation, failure)
            await self._count_failure(reservation, call.name, failure)
            raise
        error = answer.error
        if isinstance(error, RateLimited):
            until = await self._budget.latch(reservation, usage, read_at)
            raise QuotaSpent("closed by Strava (429)", until)
        await self._answered(reservation, usage, read_at)
        if isinstance(error, TransientError):
            await self._count_failure(reservation, call.name, error)
            return answer
        self._health.note_answer(endpoint_of(call.name), call.name, self._clock.machine.now())
        if self._health.take_recovery():
            await self._breaker.resume()
        self._failures = 0
        self._failed.clear()
        if isinstance(error, AppInactive):
            raise await self._breaker.open_inactive(str(error))
        if reservation.probe and (error is None or isinstance(error, NotVisible)):
            await self._breaker.close()  # an application that is switched off gets 403 for everything
        return answer

    async def _note_unanswered(self, reservation: Reservation, failure: TransportFailure) -> None:
        """Give back a call that was never sent; let others go on after a call that went alone."""
        try:
            if failure.acted is False:
                await self._budget.release(reservation)
            elif reservation.alone:
                await self._budget.answered(reservation, {})
        except StorageUnavailable as problem:
            # The job ends with its own failure. One call too many stays counted, and a call that went alone
            # delays the others for a few seconds.
            log.warning("reservation_not_released", error=str(problem))

    def in_doubt(self, error: TransientError) -> bool:
        """Return whether only another call can tell if Strava fails, or cannot show this one object."""
        own = error.status in OWN_FAILURES and bool(error.message)
        return own and error.again_after_s is not None and self._health.is_alone(error.call)

    async def _count_failure(self, reservation: Reservation, call: str, failure: StravaError) -> None:
        """Count a failed call; open the breaker when enough different calls fail in a row.

        Unless its object is to blame, the failure costs its job no attempt. A probe's never does.
        """
        now, endpoint = self._clock.machine.now(), endpoint_of(call)
        self._health.note_failure(endpoint, call, now)
        suspect = self._health.is_suspect(endpoint, call, now)
        if not (suspect or isinstance(failure, AnswerTooLarge)):
            failure.again_after_s = self._health.pause_s(endpoint, now)
        elif isinstance(failure, TransientError) and failure.is_foreign and not reservation.probe:
            failure.again_after_s = self._health.pause_alone_s(call, now)
            failure.waits_alone = failure.again_after_s is not None
        reason = str(failure)
        self._failures += 1
        self._failed.add(call)
        if reservation.probe:
            failure.again_after_s = (await self._breaker.probe_soon()).total_seconds()
        elif self._failures >= FAILURES and len(self._failed) >= CALLS:
            self._failures = 0
            self._failed.clear()
            await self._breaker.fail(reason)

    async def _answered(self, reservation: Reservation, usage: Usage, read_at: datetime) -> None:
        if not usage and not reservation.alone:
            return
        foreign = await self._budget.answered(reservation, usage, read_at)
        if foreign > 0:
            now = self._clock.machine.now()
            self._call_log.note(ApiCall(now, OTHERS, None, "not feedzone's", None, 0, {}, True, foreign))

    async def _send(
        self, request: Request, timeout: float, call: Call[T]
    ) -> tuple[Answer[T], Usage, datetime]:
        """Send the call and record it in the call log, also when it fails or is cancelled.

        Returns what the response means, the window usage in its headers, and the instant of that usage by
        Strava's clock. Nobody else's clock counts.
        """
        sent_at, status, counted = self._clock.machine.now(), None, True
        usage: Usage = {}
        try:
            response = await self._transport.send(request, timeout)
            status, usage = response.status, parse_usage(response.headers)
            answered_at = self._clock.machine.now()
            answer = await read_off_loop(response, call)
            written = None if isinstance(answer.error, TransientError) else response.headers.get("date")
            read_at = self._clock.observe(written, sent_at, answered_at)
        except TransportFailure as failure:
            counted = failure.acted is not False
            raise
        finally:
            job = running_job.get()
            self._call_log.note(
                ApiCall(
                    sent_at=sent_at,
                    lane=job.lane.name.lower() if job else "none",
                    athlete_id=job.athlete_id if job else None,
                    endpoint=endpoint_of(call.name),
                    status=status,
                    # Not negative, even if the machine's clock is set back during the call.
                    ms=max(0, round((self._clock.machine.now() - sent_at).total_seconds() * 1000)),
                    usage=usage,
                    counted=counted,
                    activity_id=activity_of(call.name),
                )
            )
        return answer, usage, read_at


def endpoint_of(call: str) -> str:
    """Return the call without its ids: `GET activities/7/streams` becomes `GET activities/{id}/streams`."""
    return _IDS.sub("{id}", call).partition(" page ")[0]


def activity_of(call: str) -> int | None:
    """Return the activity id in a call: 7 for `GET activities/7/streams`; None where there is none."""
    match = _ACTIVITY.match(call)
    return int(match.group(1)) if match else None
