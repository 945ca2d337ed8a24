"""Conflicts: decisions that reconciliation leaves to a person."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.params import PathParameter

from ...queries.conflicts import ConflictPage
from ..context import Parts
from .parameters import LIST, ONE, Accepted

ConflictId = Annotated[UUID, PathParameter(description="the id of a conflict")]


@get("/conflicts", responses=LIST, summary="Conflicts that wait for a decision")
async def list_conflicts(parts: Parts) -> ConflictPage:
    return ConflictPage(await parts.queries.conflicts.open())


@post(
    "/conflicts/{conflict_id:uuid}/accept",
    status_code=202,
    responses=ONE,
    summary="Confirm each missing activity at Strava, and delete those that are gone",
)
async def accept_conflict(parts: Parts, conflict_id: ConflictId) -> Accepted:
    await parts.reconciliation.resolve(str(conflict_id), accept=True)
    return Accepted()


@post("/conflicts/{conflict_id:uuid}/dismiss", status_code=200, responses=ONE, summary="Keep the activities")
async def dismiss_conflict(parts: Parts, conflict_id: ConflictId) -> Accepted:
    await parts.reconciliation.resolve(str(conflict_id), accept=False)
    return Accepted("dismissed")


HANDLERS = [list_conflicts, accept_conflict, dismiss_conflict]
