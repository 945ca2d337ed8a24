"""The API refuses query parameters that it does not know: ignoring a filter would return too much."""

from __future__ import annotations

from functools import cache
from typing import Any, get_type_hints

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from ...errors import InvalidInput


async def refuse_unknown_parameters(request: Request[Any, Any, Any]) -> None:
    """Raise InvalidInput that names the unknown query parameters and the known ones."""
    known = known_parameters(request.route_handler)
    unknown = sorted({name for name, _ in request.query_params.multi_items()} - set(known))
    if unknown:
        takes = f"takes {', '.join(known)}" if known else "takes no query parameters"
        raise InvalidInput(f"{', '.join(unknown)}: unknown query parameters; this address {takes}")


@cache
def known_parameters(handler: BaseRouteHandler) -> tuple[str, ...]:
    """Return the names of a route's query parameters."""
    hints = get_type_hints(handler.fn, include_extras=True)
    return tuple(
        sorted(
            parameter.name or argument
            for argument, hint in hints.items()
            for parameter in getattr(hint, "__metadata__", ())
            if isinstance(parameter, QueryParameter)
        )
    )
