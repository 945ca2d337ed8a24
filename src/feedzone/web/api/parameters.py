"""Parameters and responses that the routes share."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar.params import QueryParameter
from msgspec import Struct

from ..problems import problem_specs

Instant = Annotated[str | None, QueryParameter(max_length=64, description="ISO 8601 or epoch seconds")]
Limit = Annotated[int, QueryParameter(ge=1, le=200, description="items per page")]
Cursor = Annotated[str | None, QueryParameter(max_length=200, description="next_cursor of the previous page")]

LIST = problem_specs(400, 401, 429, 503)
ONE = problem_specs(400, 401, 404, 429, 503)


class Accepted(Struct, frozen=True):
    """The request is queued; the worker runs it next."""

    status: Literal["queued", "dismissed"] = "queued"
