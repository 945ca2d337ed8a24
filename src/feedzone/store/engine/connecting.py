"""Open connections to PostgreSQL: to a server that accepts writes, each wait bounded.

A server that cannot be used is one line that says what to do (StorageUnavailable), in every command.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any, TypeAlias

import asyncpg

from ...errors import StorageUnavailable
from .server_url import ServerUrl

Raw: TypeAlias = Any
"""A connection of asyncpg, which has no types."""

NEXT_HOST_S = 0.3
"""How long a host may take to connect before the next one is tried beside it."""

PROTOCOL_VIOLATION = "08P01"
"""The SQLSTATE by which pgbouncer refuses the settings of a session."""


class SettingConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection whose transactions begin together with their settings, in one round trip."""

    __slots__ = ("settings",)

    settings: Mapping[str, str]
    """The settings of the next transaction."""

    def transaction(self, **_: object) -> _Transaction:
        return _Transaction(self)


class _Transaction:
    """A transaction as SQLAlchemy uses it. Its level is the default one, READ COMMITTED."""

    def __init__(self, connection: Raw) -> None:
        self._connection = connection

    async def start(self) -> None:
        values = (f"SET LOCAL {name} TO '{value}'" for name, value in self._connection.settings.items())
        await self._connection.execute("; ".join(("BEGIN", *values)))

    async def commit(self) -> None:
        await self._connection.execute("COMMIT")

    async def rollback(self) -> None:
        await self._connection.execute("ROLLBACK")


class PoolerBetween(Exception):
    """A connection pooler stands in between, and takes no settings of a session."""


class NoConnectionFree(StorageUnavailable):
    """The PostgreSQL server has no connection left for feedzone."""


async def connect(
    url: ServerUrl, settings: Mapping[str, str], *, command_s: float | None, name_statements: bool = True
) -> Raw:
    """Return a connection to the first host that accepts writes. Raises StorageUnavailable.

    A host that is silent delays the next one by NEXT_HOST_S only: a delivery cannot wait for connect_timeout.

    `settings` apply to the session. A command that gets no answer within `command_s` fails.

    Raises PoolerBetween if a connection pooler refuses the settings.
    """
    waiting = deque(enumerate(url.candidates()))
    attempts: dict[asyncio.Task[Raw], int] = {}
    problems: dict[int, StorageUnavailable] = {}
    try:
        while waiting or attempts:
            if waiting:
                number, host = waiting.popleft()
                opening = _open_usable(url, host, settings, command_s, name_statements)
                attempts[asyncio.create_task(opening)] = number
            limit = NEXT_HOST_S if waiting else None
            done, _ = await asyncio.wait(attempts, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            for attempt in sorted(done, key=attempts.__getitem__):
                number = attempts.pop(attempt)
                try:
                    return attempt.result()
                except StorageUnavailable as problem:
                    problems[number] = problem
    finally:
        for attempt in attempts:
            attempt.add_done_callback(_drop)
            attempt.cancel()
    raise next((p for p in problems.values() if isinstance(p, NoConnectionFree)), problems[max(problems)])


def _drop(attempt: asyncio.Task[Raw]) -> None:
    """Close the connection of an attempt that another one has made needless."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


async def _open_usable(
    url: ServerUrl,
    host: tuple[str, int] | None,
    settings: Mapping[str, str],
    command_s: float | None,
    name_statements: bool,
) -> Raw:
    """Return a connection to this host. Raises StorageUnavailable and PoolerBetween."""
    try:
        raw = await _open(url, host, settings, command_s, name_statements)
    except Exception as problem:
        if settings and getattr(problem, "sqlstate", None) == PROTOCOL_VIOLATION:
            raise PoolerBetween from problem
        raise _explained(problem, url, host) from problem
    if refusal := unusable(raw):
        raw.terminate()
        raise StorageUnavailable(f"{refusal} ({_place(host)})")
    _notice_silence(raw, url)
    return raw


async def _open(
    url: ServerUrl,
    host: tuple[str, int] | None,
    settings: Mapping[str, str],
    command_s: float | None,
    name_statements: bool,
) -> Raw:
    async with asyncio.timeout(url.connect_s):
        raw: Raw = await asyncpg.connect(
            url.tls_dsn,
            connection_class=SettingConnection,
            host=host and host[0],
            port=host and host[1],
            user=url.user,
            password=url.password,
            database=url.database,
            passfile=url.passfile,
            server_settings={**settings, **url.session},
            timeout=url.connect_s,
            command_timeout=command_s,
            statement_cache_size=100 if name_statements else 0,
            **_system_certificates(url),
        )
        raw.settings = {}
        return raw


def _system_certificates(url: ServerUrl) -> dict[str, Any]:
    """Return the TLS settings for `sslrootcert=system`, which the driver does not know; all is verified."""
    if url.tls.get("sslrootcert") != "system":
        return {}
    context = ssl.create_default_context()
    if certificate := url.tls.get("sslcert"):
        context.load_cert_chain(certificate, url.tls.get("sslkey"), url.tls.get("sslpassword"))
    return {"ssl": context}


def unusable(raw: Raw) -> str | None:
    """Return why feedzone cannot work with this server; None: it can.

    The server reports these settings by itself, also when they change later.
    """
    reported = raw.get_settings()
    encoding = getattr(reported, "server_encoding", "UTF8")
    if encoding != "UTF8":
        return (
            f"the database has the encoding {encoding}, which cannot hold all names and titles: create one "
            "with `createdb --encoding=UTF8 --template=template0`, and name it in DATABASE_URL"
        )
    if getattr(reported, "in_hot_standby", "off") == "on":
        return "PostgreSQL is a standby, which accepts no writes: name the primary in DATABASE_URL"
    if getattr(reported, "default_transaction_read_only", "off") == "on":
        return "PostgreSQL accepts no writes now (default_transaction_read_only is on)"
    return None


def _notice_silence(raw: Raw, url: ServerUrl) -> None:
    """Let the operating system notice a peer that is gone."""
    transport = getattr(raw, "_transport", None)
    sock = transport and transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    keep = url.keepalive
    options = {
        "TCP_KEEPIDLE": keep["keepalives_idle"],
        "TCP_KEEPINTVL": keep["keepalives_interval"],
        "TCP_KEEPCNT": keep["keepalives_count"],
        "TCP_USER_TIMEOUT": keep["tcp_user_timeout"],
    }
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(bool(keep["keepalives"])))
    for name, value in options.items():
        # Systems differ in what they offer, and 0 means the system's own value.
        if value and (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _place(host: tuple[str, int] | None) -> str:
    if host is None:
        return "the local server"
    return f"{host[0]}:{host[1]}"


def _explained(problem: Exception, url: ServerUrl, host: tuple[str, int] | None) -> StorageUnavailable:
    """Say in one line why there is no connection, and what to do."""
    place, state = _place(host), getattr(problem, "sqlstate", None)
    text = one_line(problem)
    match problem:
        case TimeoutError():
            what = f"{place} cannot be reached: no answer within {url.connect_s:g} s"
        case socket.gaierror():
            what = f"{place} cannot be reached: unknown host; correct DATABASE_URL"
        case ConnectionRefusedError() | FileNotFoundError():
            what = f"{place} cannot be reached: nothing listens there; start it, or correct DATABASE_URL"
        case ssl.SSLError():
            what = f"the TLS of {place} is refused: {text}; see sslmode and sslrootcert in docs/operating.md"
        case OSError():
            what = f"{place} cannot be reached: {text}"
        case _ if state in ("53300", "53200") or "too many" in text:
            return NoConnectionFree(
                f"PostgreSQL: {place} has no connection free ({text}); raise its limit, "
                "or run fewer processes"
            )
        case _ if state in ("28P01", "28000"):
            what = f"{text} ({place}); correct user and password in DATABASE_URL, or pg_hba.conf"
        case _ if state == "3D000":
            what = f"{text} at {place}; create it with `createdb`, or correct DATABASE_URL"
        case _ if state == PROTOCOL_VIOLATION and "startup parameter" in text:
            what = f"{text} ({place}); name it in the pooler's ignore_startup_parameters"
        case _ if state == "42501":
            what = f"{text} ({place}); an administrator must GRANT CONNECT on the database to this user"
        case _:
            what = f"{place} refuses the connection: {text}"
    return StorageUnavailable(f"PostgreSQL: {what}")


def one_line(problem: BaseException) -> str:
    """Return an error's text as one line."""
    return " ".join(str(problem).split()) or type(problem).__name__
