"""Puts a page together: its changing part, rendered once for all who see the same, in the reader's frame."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from jinja2 import Environment
from litestar import Request, Response
from litestar.response import Template

from ...ports import Clock
from ..auth.access import Owned, sees
from ..auth.viewer import Viewer
from ..context import WebOptions
from .flash import heard, is_fragment, left_over
from .live import Live

Load = Callable[[], Awaitable[dict[str, Any]]]

CSRF = f"csrf-{secrets.token_hex(16)}"
"""Stands in what is rendered for many, where each reader's own token goes; nobody else can write it."""


class Show:
    """Renders pages. `load` is asked for what a page shows, and not when another has just asked the same."""

    def __init__(self, environment: Environment, live: Live, options: WebOptions, clock: Clock) -> None:
        self._environment = environment
        self._live = live
        self._options = options
        self._clock = clock

    async def page(
        self,
        request: Request[Any, Any, Any],
        reader: Viewer,
        name: str,
        title: str,
        load: Load,
        *,
        is_live: bool = True,
        bundle: str | None = None,
    ) -> Response[Any]:
        """`is_live`: open pages follow what changes; a question that is being read keeps still. `bundle`:
        what this page alone loads."""

        async def render() -> str:
            context = await load()
            return self.render(f"{name}.html", reader, context)

        view = (name, request.url.path, request.url.query, reader)
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
        notice = left_over(request)
        cookies = [heard(self._options)] if notice else []
        return Template("page.html", context=context | {"notice": notice}, cookies=cookies)

    def render(self, template: str, reader: Viewer, context: dict[str, Any]) -> str:
        """A template that knows the reader, but none of the reader's secrets."""

        def may_see(owned: Owned) -> bool:
            return sees(self._options, reader, owned)

        common = {
            "reader": reader,
            "now": self._clock.now(),
            "options": self._options,
            "may_see": may_see,
            "csrf": CSRF,
        }
        return self._environment.get_template(template).render(common | context)
