"""Sends calls under the budget: reserved before, corrected after (contract section 10)."""

from __future__ import annotations

import re

from ..domain.budget import ApiCall, Usage, parse_usage
from ..domain.job import running_job
from ..errors import AppInactive, QuotaSpent, RateLimited, TransportFailure
from ..ports import BreakerRows, BudgetRows, CallJournal, Clock, Request, Response, Transport
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
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._budget = budget
        self._breaker = breaker
        self._journal = journal
        self._clock = clock

    async def send(self, request: Request, timeout: float, call: str) -> Response:
        """Send a counted call. Raises QuotaSpent or ApplicationPaused, without sending, when it must wait."""
        probe = await self._budget.reserve(read=True)
        try:
            response, usage = await self._send(request, timeout, call)
        except TransportFailure as failure:
            if failure.acted is False:
                await self._budget.release(read=True)
            raise
        if response.status in (429, 403) and isinstance(error_of(response, call), RateLimited):
            until = await self._budget.latch(usage)
            raise QuotaSpent("closed by Strava (429)", until)
        if usage:
            await self._budget.observe(usage)
        if response.status == 403 and isinstance(error := error_of(response, call), AppInactive):
            raise await self._breaker.trip(str(error))
        if probe and (response.status < 400 or response.status == 404):
            await self._breaker.close()  # whoever is switched off gets 403 for everything
        return response

    async def _send(self, request: Request, timeout: float, call: str) -> tuple[Response, Usage]:
        """The call itself, which the journal hears of however it ends: also when nobody waits any longer."""
        sent_at, status, counted = self._clock.now(), None, True
        usage: Usage = {}
        try:
            response = await self._transport.send(request, timeout)
            status, usage = response.status, parse_usage(response.headers)
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
                    ms=max(0, round((self._clock.now() - sent_at).total_seconds() * 1000)),
                    usage=usage,
                    counted=counted,
                )
            )
        return response, usage


def endpoint_of(call: str) -> str:
    """What was asked, without whose: `GET activities/7/streams` is `GET activities/{id}/streams`."""
    return _IDS.sub("{id}", call).partition(" page ")[0]
