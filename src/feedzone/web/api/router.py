"""All routes of the API, behind Authorization: Bearer API_KEY."""

from __future__ import annotations

from litestar import Router

from ..auth.access import api
from . import activities, athletes, conflicts, jobs, status


def api_router() -> Router:
    return Router(
        "/api/v1",
        opt=api(),
        route_handlers=[
            *status.HANDLERS,
            *athletes.HANDLERS,
            *activities.HANDLERS,
            *jobs.HANDLERS,
            *conflicts.HANDLERS,
        ],
        security=[{"api_key": []}],
        tags=["api"],
    )
