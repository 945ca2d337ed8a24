"""HTTP over aiohttp (docs/decisions/0003-http-client.md says why aiohttp)."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from ..errors import AnswerTooLarge, CallOverdue, TransportFailure
from ..ports import Request, Response

CONNECTIONS = 32

ANSWER_LIMIT = 64 * 1024 * 1024
"""Bytes of an answer, decompressed: all streams of a day recorded every second have about 10 MB."""


class HttpTransport:
    """One pooled session. It follows no redirects: no Strava endpoint that we call sends any."""

    def __init__(self, user_agent: str) -> None:
        self._user_agent = user_agent
        self._proxies: dict[str, str | None] = {}
        """The proxy for each scheme and host that was called."""
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                headers={"User-Agent": self._user_agent, "Accept": "application/json"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def send(self, request: Request, timeout: float) -> Response:
        try:
            async with self._open().request(
                request.method,
                request.url,
                params=dict(request.params) or None,
                data=dict(request.form) if request.form is not None else None,
                headers=dict(request.headers),
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
                proxy=self._proxy(request.url),
            ) as answer:
                body = await _read(answer, request)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status, headers, body)
        except TimeoutError:
            raise CallOverdue(f"no answer from {_host(request)} within {timeout:g} s") from None
        except aiohttp.ClientConnectorError as problem:
            raise TransportFailure(
                f"cannot connect to {_host(request)}: {problem.strerror}", acted=False
            ) from None
        except (aiohttp.ClientError, OSError) as problem:
            raise TransportFailure(f"lost connection to {_host(request)}: {type(problem).__name__}") from None

    def _proxy(self, url: str) -> str | None:
        """Return the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name for this URL.

        With its own option, aiohttp reads them for each call, in two threads, and the user's .netrc. An entry
        there for all hosts would make each call with a token fail.
        """
        scheme, host = urlsplit(url)[:2]
        origin = f"{scheme}://{host}"
        if origin not in self._proxies:
            self._proxies[origin] = None if proxy_bypass(host) else getproxies().get(scheme)
        return self._proxies[origin]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _read(answer: aiohttp.ClientResponse, request: Request) -> bytes:
    """Return the decompressed body, read in pieces, so that a small compressed one cannot fill the memory."""
    too_large = AnswerTooLarge(f"the answer of {_host(request)} has more than {ANSWER_LIMIT:,} bytes")
    if (answer.content_length or 0) > ANSWER_LIMIT:
        answer.close()
        raise too_large
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > ANSWER_LIMIT:
            answer.close()
            raise too_large
    return bytes(body)


def _host(request: Request) -> str:
    # Never the URL: the query of a subscription call contains the client secret.
    return request.url.split("/")[2]
