"""Sends calls under the budget: reserved before, corrected after (contract section 10)."""

from __future__ import annotations

from ..domain.budget import parse_usage
from ..errors import AppInactive, QuotaSpent, RateLimited, TransportFailure
from ..ports import BreakerRows, BudgetRows, Request, Response, Transport
from .answers import error_of


class Limiter:
    """Every call that Strava counts goes through here; all of ours are reads."""

    def __init__(self, transport: Transport, budget: BudgetRows, breaker: BreakerRows) -> None:
        self._transport = transport
        self._budget = budget
        self._breaker = breaker

    async def send(self, request: Request, timeout: float, call: str) -> Response:
        """Send a counted call. Raises QuotaSpent or ApplicationPaused, without sending, when it must wait."""
        probe = await self._budget.reserve(read=True)
        try:
            response = await self._transport.send(request, timeout)
        except TransportFailure as failure:
            if failure.acted is False:
                await self._budget.release(read=True)
            raise
        usage = parse_usage(response.headers)
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
