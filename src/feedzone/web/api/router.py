"""All routes of the API, behind Authorization: Bearer API_KEY."""

from __future__ import annotations

from litestar import Router

from ..auth.access import api
from . import activities, athletes, conflicts, jobs, status
from .known_parameters import refuse_unknown_parameters


def api_router() -> Router:
    return Router(
        "/api/v1",
        opt=api(),
        before_request=refuse_unknown_parameters,
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
