"""Sends calls under the budget: reserved before, corrected after (contract section 10)."""

from __future__ import annotations

import re
from datetime import datetime

from ..clock import StravaClock
from ..domain.job import Lane, running_job
from ..domain.quota.demand import OTHERS
from ..domain.quota.windows import ApiCall, Reservation, Usage, parse_usage
from ..errors import AppInactive, QuotaSpent, RateLimited, TransportFailure
from ..ports import BreakerRows, BudgetRows, CallSink, Request, Response, Transport
from .responses import error_of

FAILURES, CALLS = 9, 3
"""So many failures in a row, at so many different calls: no single activity that Strava cannot show."""

_IDS = re.compile(r"(?<=/)[a-z]?\d+")
_ACTIVITY = re.compile(r"GET activities/(\d+)")


class Limiter:
    """Every call that Strava counts goes through here; all of ours are reads."""

    def __init__(
        self,
        transport: Transport,
        budget: BudgetRows,
        breaker: BreakerRows,
        journal: CallSink,
        clock: StravaClock,
    ) -> None:
        self._transport = transport
        self._budget = budget
        self._breaker = breaker
        self._journal = journal
        self._clock = clock
        self._failures = 0
        self._failed: set[str] = set()
        """How often Strava has failed since it last answered, and at which calls."""

    async def send(self, request: Request, timeout: float, call: str) -> Response:
        """Send a counted call. Raises QuotaSpent or ApplicationPaused, without sending, when it must wait."""
        job = running_job.get()
        # Outside of jobs somebody waits for the answer.
        leave = await self._budget.reserve(job.lane if job else Lane.INTERACTIVE)
        try:
            response, usage, at = await self._send(request, timeout, call)
        except TransportFailure as failure:
            if failure.acted is False:
                await self._budget.release(leave)
            elif leave.alone:
                await self._budget.answered(leave, {})
            await self._struck(leave, call, str(failure))
            raise
        if response.status in (429, 403) and isinstance(error_of(response, call), RateLimited):
            until = await self._budget.latch(leave, usage, at)
            raise QuotaSpent("closed by Strava (429)", until)
        await self._answered(leave, usage, at)
        if response.status >= 500:
            await self._struck(leave, call, str(error_of(response, call)))
            return response
        self._failures = 0
        self._failed.clear()
        if response.status == 403 and isinstance(error := error_of(response, call), AppInactive):
            raise await self._breaker.open_inactive(str(error))
        if leave.probe and (response.status < 400 or response.status == 404):
            await self._breaker.close()  # whoever is switched off gets 403 for everything
        return response

    async def _struck(self, leave: Reservation, call: str, reason: str) -> None:
        """Strava failed at a call. At one call after the other: then it fails at all of them (pain 49)."""
        self._failures += 1
        self._failed.add(call)
        if leave.probe:
            await self._breaker.probe_soon()
        elif self._failures >= FAILURES and len(self._failed) >= CALLS:
            self._failures = 0
            self._failed.clear()
            await self._breaker.fail(reason)

    async def _answered(self, leave: Reservation, usage: Usage, at: datetime) -> None:
        if not usage and not leave.alone:
            return
        theirs = await self._budget.answered(leave, usage, at)
        if theirs > 0:
            now = self._clock.machine.now()
            self._journal.note(ApiCall(now, OTHERS, None, "not feedzone's", None, 0, {}, True, theirs))

    async def _send(self, request: Request, timeout: float, call: str) -> tuple[Response, Usage, datetime]:
        """The call itself, which the journal hears of however it ends: also when nobody waits any longer.

        Returns what its headers say of the windows, and at which instant of Strava's clock they said so.
        """
        sent_at, status, counted = self._clock.machine.now(), None, True
        usage: Usage = {}
        try:
            response = await self._transport.send(request, timeout)
            status, usage = response.status, parse_usage(response.headers)
            at = self._clock.observe(response.headers.get("date"), sent_at, self._clock.machine.now())
        except TransportFailure as failure:
            counted = failure.acted is not False
            raise
        finally:
            job = running_job.get()
            self._journal.note(
                ApiCall(
                    sent_at=sent_at,
                    lane=job.lane.name.lower() if job else "none",
                    athlete_id=job.athlete_id if job else None,
                    endpoint=endpoint_of(call),
                    status=status,
                    # The machine's clock may be set back meanwhile.
                    ms=max(0, round((self._clock.machine.now() - sent_at).total_seconds() * 1000)),
                    usage=usage,
                    counted=counted,
                    activity_id=activity_of(call),
                )
            )
        return response, usage, at


def endpoint_of(call: str) -> str:
    """What was asked, without whose: `GET activities/7/streams` is `GET activities/{id}/streams`."""
    return _IDS.sub("{id}", call).partition(" page ")[0]


def activity_of(call: str) -> int | None:
    """Which activity was asked for: 7 of `GET activities/7/streams`; None for calls that ask for none."""
    found = _ACTIVITY.match(call)
    return int(found.group(1)) if found else None
