"""Read the URL of a PostgreSQL server: the one place that knows which parameters it may have.

Hosted databases hand out URLs with parameters of libpq, of connection poolers and of other drivers.
docs/operating.md lists what becomes of each. Pool and listener connect with the same `ServerUrl`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from ...errors import SettingsError

CONNECT_S = 5.0
"""How long one host may take to connect, unless the URL has connect_timeout."""

LONGEST_CONNECT_S = 60.0

TLS = (
    "sslcert",
    "sslkey",
    "sslrootcert",
    "sslpassword",
    "sslcrl",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
SESSION = (
    "application_name",
    "options",
    "search_path",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
)
"""Parameters that the server itself applies to each session. Its timeouts are in milliseconds."""

POOLER = {
    "pgbouncer": ("true", "1"),
    "statement_cache_size": ("0",),
    "prepared_statement_cache_size": ("0",),
    "prepareThreshold": ("0",),
}
"""Parameters, with the values of each, by which a URL says that a connection pooler stands in between."""

IGNORED = (
    "channel_binding",
    "client_encoding",
    "connection_limit",
    "fallback_application_name",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "pool_timeout",
    "schema",
    "sslaccept",
    "sslcompression",
    "sslsni",
    "supa",
    "uselibpqcompat",
    "workaround",
    *POOLER,
)
"""Parameters without an effect here."""

SSL_MODES = {
    "true": "require",
    "1": "require",
    "on": "require",
    "false": "disable",
    "0": "disable",
    "no-verify": "require",
}
"""The TLS modes of other drivers, and what libpq calls them."""

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

TARGETS = ("any", "primary", "read-write")
"""Every one of them means a server that accepts writes: feedzone needs no other."""

KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""How soon the operating system notices a dead peer: seconds, and for tcp_user_timeout milliseconds."""


@dataclass(frozen=True)
class ServerUrl:
    """Where the server is, who connects, and how."""

    hosts: tuple[tuple[str, int], ...]
    """Names or socket folders with ports; empty: where libpq looks without a host."""
    user: str | None
    password: str | None = field(repr=False)
    database: str | None = None
    passfile: str | None = None
    tls: Mapping[str, str] = field(default_factory=dict, repr=False)
    session: Mapping[str, str] = field(default_factory=dict)
    keepalive: Mapping[str, int] = field(default_factory=lambda: dict(KEEPALIVE))
    connect_s: float = CONNECT_S
    any_order: bool = False
    has_pooler: bool = False

    @property
    def tls_dsn(self) -> str:
        """The TLS parameters as a URL: the driver reads them only there."""
        return f"postgresql://?{urlencode(self.tls, quote_via=quote)}" if self.tls else "postgresql://"

    def candidates(self) -> list[tuple[str, int] | None]:
        """Return the hosts in the order in which to try them. None: the driver looks for a local server."""
        hosts: list[tuple[str, int] | None] = list(self.hosts)
        if self.any_order:
            random.shuffle(hosts)
        return hosts or [None]


def parse_server_url(url: str) -> ServerUrl:
    """Read `postgresql://...` or `postgres://...`. Raises SettingsError: one line, without the password."""
    _, _, rest = url.strip().partition("://")
    address, _, query = rest.partition("?")
    login, at, place = address.rpartition("@")
    names, _, database = place.partition("/")
    user, _, password = login.partition(":")
    values = _parameters(query)
    tls = {name: values.pop(name) for name in TLS if name in values} | _mode(values)
    session = {name: values.pop(name) for name in SESSION if name in values}
    for name in ("statement_timeout", "lock_timeout"):
        if name in session:
            session[name] = str(_number(name, session[name]))
    keepalive = {name: _number(name, values.pop(name, usual)) for name, usual in KEEPALIVE.items()}
    connect_s = _connect_s(values.pop("connect_timeout", ""))
    has_pooler = any(values.get(name) in means for name, means in POOLER.items())
    any_order = values.pop("load_balance_hosts", "disable") == "random"
    _require_writable(values.pop("target_session_attrs", "any"))
    _require_files(tls)
    more = {name: values.pop(name, "") for name in ("host", "port", "user", "password", "dbname", "database")}
    passfile = values.pop("passfile", None)
    if unknown := sorted(values.keys() - set(IGNORED)):
        raise SettingsError(
            f"DATABASE_URL: unknown parameter {unknown[0]!r}; docs/operating.md lists those that it takes"
        )
    return ServerUrl(
        hosts=_hosts(names or more["host"], more["port"]),
        user=unquote(user) or more["user"] or None,
        password=unquote(password) if at and ":" in login else more["password"] or None,
        database=unquote(database) or more["dbname"] or more["database"] or None,
        passfile=passfile,
        tls=tls,
        session=session,
        keepalive=keepalive,
        connect_s=connect_s,
        any_order=any_order,
        has_pooler=has_pooler,
    )


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters that have a value; the last one counts if a name comes twice."""
    return {name: value for name, value in parse_qsl(query) if value}


def _mode(values: dict[str, str]) -> dict[str, str]:
    """Return the TLS mode under libpq's name, also from `ssl` and `sslmode` of other drivers."""
    given = values.pop("ssl", None)
    named = values.pop("sslmode", given)
    mode = None if named is None else SSL_MODES.get(named.lower(), named.lower())
    if mode is not None and mode not in MODES:
        raise SettingsError(f"DATABASE_URL: sslmode takes {', '.join(MODES)}, not {named}")
    return {} if mode is None else {"sslmode": mode}


def _number(name: str, value: object) -> int:
    text = str(value)
    if not text.isdecimal() or len(text) > 9:
        raise SettingsError(f"DATABASE_URL: {name} takes a whole number, not {text}")
    return int(text)


def _connect_s(text: str) -> float:
    """Return the limit in seconds. libpq waits without one if it is 0; feedzone never does."""
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise SettingsError(f"DATABASE_URL: connect_timeout takes seconds, not {text}")
    return min(max(seconds, 1.0), LONGEST_CONNECT_S) if seconds > 0 else CONNECT_S


def _require_writable(target: str) -> None:
    if target not in TARGETS:
        raise SettingsError(
            f"DATABASE_URL: target_session_attrs takes {', '.join(TARGETS)}, not {target}: feedzone writes"
        )


def _require_files(tls: Mapping[str, str]) -> None:
    for name in ("sslcert", "sslkey", "sslrootcert", "sslcrl"):
        path = tls.get(name, "system")
        if path != "system" and not Path(path).is_file():
            raise SettingsError(f"DATABASE_URL: there is no file {path}, which {name} names")


def _hosts(names: str, ports: str) -> tuple[tuple[str, int], ...]:
    """Return hosts and ports of `host:port,host:port`, or of the parameters `host` and `port`."""
    if not names:
        return ()
    each = ports.split(",") if ports else []
    hosts = []
    for number, text in enumerate(names.split(",")):
        usual = (each[number] if number < len(each) else each[-1]) if each else "5432"
        host, port = _host_and_port(text.strip())
        port = port or usual or "5432"
        if not port.isdecimal() or not 0 < int(port[:6]) < 65536:
            raise SettingsError(
                "DATABASE_URL: the port is no number from 1 to 65535; write special characters of the "
                "password as %40 for @, %3A for :, %2F for /"
            )
        hosts.append((host or "localhost", int(port)))
    return tuple(hosts)


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port.removeprefix(":")
    if text.startswith("/"):
        return text, ""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    return unquote(host), port
