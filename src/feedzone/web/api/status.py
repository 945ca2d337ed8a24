"""Status and rate limit."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from ...queries.quota import Budget, WhatIf
from ...queries.status import Status
from ..context import Parts
from .parameters import LIST

MoreAthletes = Annotated[int, QueryParameter(ge=0, le=100_000, description="number of additional athletes")]
ActivitiesEach = Annotated[
    int, QueryParameter(ge=0, le=100_000, description="number of activities of each athlete")
]


@get("/status", responses=LIST, summary="Status of sync, queue and rate limit")
async def get_status(parts: Parts) -> Status:
    return await parts.queries.status.get()


@get("/budget", responses=LIST, summary="The rate limit, and today's usage")
async def get_budget(parts: Parts) -> Budget:
    return await parts.queries.quota.budget()


@get("/budget/forecast", responses=LIST, summary="Cost of additional athletes, and when they would be done")
async def get_forecast(parts: Parts, athletes: MoreAthletes = 1, activities: ActivitiesEach = 200) -> WhatIf:
    """The forecast starts after everything that is queued now."""
    return await parts.queries.quota.what_if(athletes, activities)


HANDLERS = [get_status, get_budget, get_forecast]
