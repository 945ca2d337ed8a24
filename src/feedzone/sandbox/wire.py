"""Calls to callbacks over real HTTP."""

from __future__ import annotations

import asyncio

import aiohttp


class HttpWire:
    """A `Wire` on aiohttp.

    At most a hundred posts run at a time; otherwise waiting for a socket would use up the timeout.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(100)

    async def post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        """Send an event; return the status of the response."""
        limit = aiohttp.ClientTimeout(total=timeout)
        async with self._slots:
            call = self._open().post(url, data=body, headers=headers, timeout=limit, allow_redirects=False)
            async with call as response:
                return response.status

    async def get(self, url: str, params: dict[str, str], timeout: float) -> tuple[int, str, bytes]:
        """Send the GET of the handshake; return status, content type and body."""
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
