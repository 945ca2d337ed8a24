"""Compose a page: its changing part, shared by equal viewers, inside the frame of this viewer."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from jinja2 import Environment
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Template

from ...ports import Clock
from ..auth.access import Owned, can_view
from ..auth.disclosure import disclosed
from ..auth.viewer import Viewer
from ..context import WebOptions
from .flash import expired_cookie, is_fragment, pending_notice
from .live import Live

Load = Callable[[], Awaitable[dict[str, Any]]]

CSRF = f"csrf-{secrets.token_hex(16)}"
"""A placeholder for each viewer's own token in shared renderings; random, so that no text can contain it."""


class PageRenderer:
    """Renders pages. `load` returns a page's context, and is not called while a shared rendering is valid."""

    def __init__(self, environment: Environment, live: Live, options: WebOptions, clock: Clock) -> None:
        self._environment = environment
        self._live = live
        self._options = options
        self._clock = clock

    async def page(
        self,
        request: Request[Any, Any, Any],
        viewer: Viewer,
        name: str,
        title: str,
        load: Load,
        *,
        is_live: bool = True,
        bundle: str | None = None,
    ) -> Response[Any]:
        """Return a page, or its changing part for htmx.

        `is_live`: the open page follows changes; a confirmation does not, so that it keeps still while
        it is read. `bundle`: assets that only this page loads.
        """

        async def render() -> str:
            context = await load()
            return self.render(f"{name}.html", viewer, context)

        view = (name, request.url.path, request.url.query, viewer)
        body = await self._live.shared(view, render)
        digest = hashlib.sha256(body.encode()).hexdigest()[:16]
        if is_fragment(request) and request.headers.get("x-seen") == digest:
            return Response(None, status_code=204)
        address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        context: dict[str, Any] = {
            "title": title,
            "place": name,
            "digest": digest,
            "address": address,
            "csrf_mark": CSRF,
            "bundle": bundle,
        }
        context |= {"body": body, "is_live": is_live, "now": self._clock.now(), "notice": None}
        if is_fragment(request):
            return Template("fragment.html", context=context)
        notice = pending_notice(request)
        cookies = [expired_cookie(self._options)] if notice else []
        return Template("page.html", context=context | {"notice": notice}, cookies=cookies)

    def render(self, template: str, viewer: Viewer, context: dict[str, Any]) -> str:
        """Render a template for a viewer, but without the viewer's secrets: others share the result.

        The template gets only what the viewer may learn.
        """

        def may_view(owned: Owned) -> bool:
            return can_view(self._options, viewer, owned)

        common = {
            "viewer": viewer,
            "now": self._clock.now(),
            "options": self._options,
            "can_view": may_view,
            "csrf": CSRF,
        }
        return self._environment.get_template(template).render(common | disclosed(context, may_view))


Renderer = NamedDependency[SkipValidation[PageRenderer]]
"""How a handler gets it: an argument `renderer: Renderer`."""
