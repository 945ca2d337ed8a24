"""Limits of one connection, below every application: head, deadlines, and the number of connections.

uvicorn limits none of them with httptools, which is several times faster than h11.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT = 64 * 1024
"""Bytes of a request's line and headers. Browsers send at most a few thousand."""

HEADERS_LIMIT = 200
"""Header lines of a request."""

URL_LIMIT = 8 * 1024
HEAD_WITHIN_S = 10.0
WRITE_WITHIN_S = 30.0
"""Seconds that a client may leave a response unread while more of it waits."""

MAX_CONNECTIONS = 512
"""Half the file descriptors that most systems give to a process; the database needs some, too."""


class Connection(HttpToolsProtocol):
    """A connection to one client, closed when it sends too much, too slowly, or nothing."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_bytes = 0  # as received, for a head that is not complete
        self._field_bytes = 0  # of complete lines
        self._refusal: HTTPStatus | None = None
        self._head_deadline: TimerHandle | None = None
        self._write_deadline: TimerHandle | None = None
        self.idle_since = self.loop.time()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered. A client that is still sending a head counts as idle."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_head_deadline()
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        """Close the connection that has been idle longest; without an idle one, this newest one."""
        current = [other for other in self.connections if not other.transport.is_closing()]
        if len(current) > MAX_CONNECTIONS:
            idle = [other for other in current if isinstance(other, Connection) and other.is_idle]
            min(idle, key=lambda other: other.idle_since, default=self).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.is_idle or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_deadline is None:
            self._start_head_deadline()
        if self._head_bytes > HEAD_LIMIT:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = self._field_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > URL_LIMIT:
            self._refusal = HTTPStatus.REQUEST_URI_TOO_LONG
            raise ValueError("the URL is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > HEAD_LIMIT or len(self.headers) > HEADERS_LIMIT:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise ValueError("the headers are too large")

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._stop_head_deadline()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (uvicorn's name and signature)
        """Refuse a request before the application sees it, and end the connection."""
        status, self._refusal = self._refusal or HTTPStatus.BAD_REQUEST, None
        text = status.phrase.encode()
        lines = [
            b"HTTP/1.1 %d %s" % (status, text),
            *(name + b": " + value for name, value in self.config.app.headers),  # type: ignore[union-attr]
            b"content-type: text/plain; charset=utf-8",
            b"content-length: %d" % len(text),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join([*lines, b"", text]))
        self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        self._refusal = status
        self.send_400_response(status.phrase)

    def _start_head_deadline(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_WITHIN_S, self._head_overdue)

    def _stop_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_overdue(self) -> None:
        self._head_deadline = None
        if self.transport.is_closing() or not self.is_idle:
            return
        if self._head_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(WRITE_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
