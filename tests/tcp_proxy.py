"""A TCP proxy in front of a PostgreSQL server. It can fall silent, or lead to another server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit


class Proxy:
    """Carries bytes to the server of a URL. While silent, it loses all bytes, also of new connections."""

    def __init__(self, server_url: str) -> None:
        self.lead_to(server_url)
        self.accepted = 0
        self._is_silent = False
        self._lost: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def lead_to(self, server_url: str) -> None:
        """Connect later clients to this server."""
        parts = urlsplit(server_url)
        self._socket = parse_qs(parts.query).get("host", [""])[0]
        self._database, self._user = parts.path, parts.username
        self._address = parts.hostname, parts.port

    @property
    def url(self) -> str:
        return f"postgresql://{self._user}@127.0.0.1:{self.port}{self._database}"

    def silence(self) -> None:
        """Lose all bytes of the open connections, for ever, and of new ones until `resume`."""
        self._is_silent = True
        self._lost |= self._writers

    def resume(self) -> None:
        """Carry the bytes of new connections again."""
        self._is_silent = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        if self._is_silent:
            self._lost.add(writer)
        host, port = self._address
        try:
            if self._socket:
                there, back = await asyncio.open_unix_connection(f"{self._socket}/.s.PGSQL.{port or 5432}")
            else:
                there, back = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        self._writers.add(back)
        with contextlib.suppress(OSError):
            await asyncio.gather(self._carry(reader, back, writer), self._carry(there, writer, writer))

    def note_sent(self, data: bytes) -> None:
        """Look at bytes that the client sends."""

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await source.read(65536):
            if target is not client:
                self.note_sent(data)
            if client not in self._lost:
                target.write(data)
        target.close()


Kind = TypeVar("Kind", bound=Proxy)


@contextlib.asynccontextmanager
async def proxy_to(server_url: str, kind: type[Kind] = Proxy) -> AsyncIterator[Kind]:
    """Run a proxy in front of the server of a URL."""
    proxy = kind(server_url)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()
    for writer in proxy._writers:
        writer.close()
