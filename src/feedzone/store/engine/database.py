"""Open the database that a URL names."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import make_url

from ...errors import SettingsError
from .interface import Body, Connection, Database, Row, T

__all__ = ["Body", "Connection", "Database", "Row", "T", "missing_file", "open_database"]


def open_database(url: str) -> Database:
    """Open `sqlite:///path` or `postgresql://...`. Raises SettingsError for anything else.

    Import only the driver that the URL needs, because each of them is slow to import.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        from .sqlite import SqliteDatabase

        return SqliteDatabase(url)
    if scheme in ("postgresql", "postgres"):
        from .postgres import PostgresDatabase

        return PostgresDatabase(url)
    raise SettingsError(f"DATABASE_URL takes sqlite:///path or postgresql://..., not {scheme}://")


def missing_file(url: str) -> Path | None:
    """Return the path of the SQLite file if it does not exist yet; None if it does, and for a server."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    path = Path(parsed.database)
    return None if path.exists() else path
