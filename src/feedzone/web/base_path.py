"""Serve the site under a path of its host: APP_URL with a path, or a program that mounts feedzone.

Routes and templates are written as if feedzone stood at the root of a host. What leaves gets the path in
front: redirects, cookies, and the addresses in pages. Scripts take every address from an attribute of a page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

_PLACES = re.compile(rb'(?<=\s)((?:href|src|action|hx-get|hx-post|data-live|data-curves)=")(?=/(?!/))')
"""Where pages have addresses. Templates write all attributes in double quotes, and escape those in values."""

_REDIRECTS = (b"location", b"hx-redirect", b"hx-location")


def mounted_at(scope: Mapping[str, Any]) -> str:
    """Return the path that a program mounts the application at; empty at the root of a host."""
    return str(scope.get("root_path", "")).rstrip("/")


def without(prefix: str, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scope as if the application stood at the root of the host, as its routes assume.

    `path` may lack the prefix: some frameworks and proxies remove it.
    """
    path = str(scope["path"])
    if path == prefix or path.startswith(f"{prefix}/"):
        path = path[len(prefix) :] or "/"
    return {**scope, "path": path, "root_path": "", "raw_path": quote(path).encode()}


def sending_within(prefix: str, send: Any) -> Any:
    """Return a `send` that puts the prefix before the paths of redirects, cookies and pages."""
    start = quote(prefix).encode()
    page: dict[str, Any] | None = None
    body = bytearray()

    async def sending(message: Any) -> None:
        nonlocal page
        if message["type"] == "http.response.start":
            headers = [
                (name, _moved(start, name.lower(), value)) for name, value in message.get("headers", ())
            ]
            message = {**message, "headers": headers}
            if _is_page(headers):
                page = message
                return
        elif page is not None:
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            rewritten = _PLACES.sub(rb"\1" + start, bytes(body))
            headers = [(name, value) for name, value in page["headers"] if name.lower() != b"content-length"]
            await send({**page, "headers": [*headers, (b"content-length", b"%d" % len(rewritten))]})
            message = {"type": "http.response.body", "body": rewritten}
            page = None
        await send(message)

    return sending


def _moved(start: bytes, name: bytes, value: bytes) -> bytes:
    if name in _REDIRECTS and value.startswith(b"/") and not value.startswith(b"//"):
        return start + value
    if name == b"set-cookie":
        return re.sub(rb"(?i)(;\s*path=)/(?=;|$)", lambda match: match.group(1) + start, value, count=1)
    return value


def _is_page(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in headers)
