"""Sends calls under the budget: reserved before, corrected after (contract section 10)."""

from __future__ import annotations

import re
from datetime import datetime

from ..clock import StravaClock
from ..domain.budget import ApiCall, Reservation, Usage, parse_usage
from ..domain.demand import OTHERS
from ..domain.job import Lane, running_job
from ..errors import AppInactive, QuotaSpent, RateLimited, TransportFailure
from ..ports import BreakerRows, BudgetRows, CallJournal, Request, Response, Transport
from .answers import error_of

_IDS = re.compile(r"(?<=/)[a-z]?\d+")


class Limiter:
    """Every call that Strava counts goes through here; all of ours are reads."""

    def __init__(
        self,
        transport: Transport,
        budget: BudgetRows,
        breaker: BreakerRows,
        journal: CallJournal,
        clock: StravaClock,
    ) -> None:
        self._transport = transport
        self._budget = budget
        self._breaker = breaker
        self._journal = journal
        self._clock = clock

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
            raise
        if response.status in (429, 403) and isinstance(error_of(response, call), RateLimited):
            until = await self._budget.latch(leave, usage, at)
            raise QuotaSpent("closed by Strava (429)", until)
        await self._answered(leave, usage, at)
        if response.status == 403 and isinstance(error := error_of(response, call), AppInactive):
            raise await self._breaker.trip(str(error))
        if leave.probe and (response.status < 400 or response.status == 404):
            await self._breaker.close()  # whoever is switched off gets 403 for everything
        return response

    async def _answered(self, leave: Reservation, usage: Usage, at: datetime) -> None:
        if not usage and not leave.alone:
            return
        theirs = await self._budget.answered(leave, usage, at)
        if theirs > 0:
            now = self._clock.plain.now()
            self._journal.note(ApiCall(now, OTHERS, None, "not feedzone's", None, 0, {}, True, theirs))

    async def _send(self, request: Request, timeout: float, call: str) -> tuple[Response, Usage, datetime]:
        """The call itself, which the journal hears of however it ends: also when nobody waits any longer.

        Returns what its headers say of the windows, and at which instant of Strava's clock they said so.
        """
        sent_at, status, counted = self._clock.plain.now(), None, True
        usage: Usage = {}
        try:
            response = await self._transport.send(request, timeout)
            status, usage = response.status, parse_usage(response.headers)
            at = self._clock.heard(response.headers.get("date"), sent_at, self._clock.plain.now())
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
                    ms=max(0, round((self._clock.plain.now() - sent_at).total_seconds() * 1000)),
                    usage=usage,
                    counted=counted,
                )
            )
        return response, usage, at


def endpoint_of(call: str) -> str:
    """What was asked, without whose: `GET activities/7/streams` is `GET activities/{id}/streams`."""
    return _IDS.sub("{id}", call).partition(" page ")[0]
