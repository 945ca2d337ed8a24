"""Shared by all commands: settings, the app, output, and errors as one line.

Command modules import at the top only modules that `--help` needs, and the others when a command runs.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, TextIO, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..app import App
    from ..ports import Request, Response
    from ..settings import Settings

T = TypeVar("T")

PIPE_WIDTH = 250
"""Columns when the output is not a terminal: programs need a table's rows as whole lines."""


def _width(stream: TextIO) -> int | None:
    return None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH


def _write_anything(stream: TextIO) -> None:
    """Print a question mark for a character that the terminal's encoding lacks, instead of failing."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="replace")


for _stream in (sys.stdout, sys.stderr):
    _write_anything(_stream)

out = Console(highlight=False, width=_width(sys.stdout))
err = Console(stderr=True, highlight=False, width=_width(sys.stderr))

_secrets: list[str] = []
"""The secrets of the loaded settings: output is copied into reports, so it must not contain them."""


def settings(*, quiet: bool = False, strava: bool = False) -> Settings:
    """Read the settings and set up logging; `quiet`: log warnings only, for commands that print."""
    from ..settings import load_settings, unknown_settings
    from ..telemetry import configure_logging

    loaded = load_settings()
    if strava:
        loaded.require_strava()
    level = "WARNING" if quiet and loaded.log_level == "INFO" else loaded.log_level
    _secrets[:] = loaded.secrets()
    configure_logging(level, loaded.log_format, _secrets)
    for warning in unknown_settings():
        complain(f"warning: {warning}")
    return loaded


def run(command: Callable[[App], Awaitable[T]], *, strava: bool = False) -> T:
    """Build the app, run one command, close the app. The command may call Strava only with `strava`."""
    from ..app import build, prepare_database

    loaded = settings(quiet=True, strava=strava)
    prepare_database(loaded)

    async def body() -> T:
        app = build(loaded, transport=None if strava else _NoTransport())
        try:
            return await command(app)
        finally:
            await app.close()

    return asyncio.run(body())


class _NoTransport:
    """The transport of commands that never call Strava: they need not load an HTTP client."""

    async def send(self, request: Request, timeout: float) -> Response:  # noqa: ARG002  (nothing is sent)
        raise AssertionError("a command that calls Strava is run with strava=True")

    async def close(self) -> None: ...


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, change colours, or change the direction of text."""


def plain(text: str) -> str:
    """Return a line of text without the characters that a terminal would obey."""
    return _CONTROL.sub("\ufffd", text)


def say(message: str, *, lead: str = "", style: str = "bold") -> None:
    """Print lines, after a `lead` in its style. No value in them can use markup or control the terminal.

    Secrets are hidden: the callback URL contains one.
    """
    out.print(Text.assemble((lead, style), _printable(message)), soft_wrap=True)


def show_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, whole: Collection[str] = ()) -> None:
    """Print a table, whose cells may have values from anywhere; the columns `whole` are not wrapped."""
    table = Table(box=None)
    for head in heads:
        table.add_column(head, no_wrap=head in whole)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    out.print(table)


def _printable(message: str) -> str:
    from ..telemetry import Redactor

    return "\n".join(plain(line) for line in Redactor(_secrets).text(message).split("\n"))


def complain(message: str) -> None:
    """Print a message on standard error, without secrets."""
    err.print(Text(f"feedzone: {_printable(message)}", "red"), soft_wrap=True)
