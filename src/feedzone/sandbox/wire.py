"""Reaching callbacks over real HTTP."""

from __future__ import annotations

import asyncio

import aiohttp


class HttpWire:
    """A `Wire` on aiohttp: a hundred posts at a time, lest waiting for a socket eat the timeout."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(100)

    async def post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        """Send an event; the status of the answer."""
        limit = aiohttp.ClientTimeout(total=timeout)
        async with self._slots:
            call = self._open().post(url, data=body, headers=headers, timeout=limit, allow_redirects=False)
            async with call as response:
                return response.status

    async def get(self, url: str, params: dict[str, str], timeout: float) -> tuple[int, str, bytes]:
        """The handshake's GET; status, content type and body of the answer."""
        limit = aiohttp.ClientTimeout(total=timeout)
        async with self._open().get(url, params=params, timeout=limit, allow_redirects=False) as response:
            return response.status, response.content_type, await response.read()

    async def close(self) -> None:
        """Close the sockets; safe to call twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._session
