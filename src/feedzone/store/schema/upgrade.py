"""Compare the database's schema version with the one that this code needs, and upgrade it."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from ...errors import SchemaMismatch, StorageUnavailable
from ..engine.database import Database
from .tables import metadata

LOCK_S = 1.0
"""How long a migration waits for a lock. Meanwhile deliveries wait behind it."""

TRIES, PAUSE_S = 60, 1.0

MIGRATION_S = 3600.0
"""The longest statement of a migration."""

VERSIONS = Path(__file__).parent / "migrations/versions"

_REVISION = text("SELECT version_num FROM alembic_version")


def known_revisions() -> list[str]:
    """Return the revisions that this code knows, oldest first, from the file names of the migrations."""
    return sorted(path.name.partition("_")[0] for path in VERSIONS.glob("*.py"))


def newest_revision() -> str:
    """Return the revision that this code needs."""
    return known_revisions()[-1]


def current_revision(database: Database) -> str | None:
    """Return the database's revision, or None when it is empty.

    Raises SchemaMismatch when something else than feedzone created the tables.
    """
    return database.run_sync(_current)


def _current(connection: Connection) -> str | None:
    tables = inspect(connection)
    revision: str | None = None
    if tables.has_table("alembic_version"):
        revision = connection.execute(_REVISION).scalar_one_or_none()
    if revision is None and tables.has_table("webhook_events"):
        raise SchemaMismatch(
            "the database has feedzone's tables but no schema version: it was not made by feedzone"
        )
    return revision


def upgrade(database: Database) -> tuple[str | None, str]:
    """Upgrade the schema in one transaction; return the revisions before and after.

    Raises SchemaMismatch when the database is newer than this code.
    """
    before, needed = current_revision(database), newest_revision()
    _refuse_newer(before)
    if before != needed:
        _migrate(database)
    return before, needed


def _migrate(database: Database) -> None:
    """Run the migrations while other processes work: wait a short time for each lock, and begin again.

    A migration that waits longer would stop all deliveries, and could be one side of a deadlock.
    """
    from . import migrate  # importing Alembic is slow, and few starts need a migration

    for attempt in range(1, TRIES + 1):
        try:
            database.run_sync(lambda c: _run_migrations(c, migrate.upgrade_to_head), answer_s=MIGRATION_S)
        except (StorageUnavailable, DBAPIError) as problem:
            if not _is_busy(problem):
                raise
            if attempt == TRIES:
                raise StorageUnavailable(
                    "the database is busy, so nothing was changed: stop the processes that use it, then run "
                    "`feedzone db upgrade` again"
                ) from problem
            time.sleep(PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311  (spreads retries)
        else:
            return


def _is_busy(problem: BaseException) -> bool:
    """Return whether a lock was not free in time, or the migration was one side of a deadlock."""
    cause = problem.__cause__ if isinstance(problem, StorageUnavailable) else problem
    driver = getattr(cause, "orig", None)
    in_sqlite = getattr(driver, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
    return in_sqlite or getattr(driver, "sqlstate", None) in ("55P03", "40P01")


def _run_migrations(connection: Connection, run: Callable[[Connection], None]) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(LOCK_S * 1000)}")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        # Two processes that start on the same empty database must not both create the tables.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7331002)")
        _lock_tables(connection)
    run(connection)


def _lock_tables(connection: Connection) -> None:
    """Lock all tables before the first change, so that the rest waits for nobody."""
    known = {table.name for table in metadata.sorted_tables}
    names = sorted(known & set(inspect(connection).get_table_names()))
    if names:
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")


def check(database: Database) -> None:
    """Raise SchemaMismatch unless the schema is exactly what this code needs."""
    current, needed = current_revision(database), newest_revision()
    if current == needed:
        return
    if current is None:
        raise SchemaMismatch("the database is empty: run `feedzone db upgrade`")
    _refuse_newer(current)
    raise SchemaMismatch(
        f"the database is older than this version of feedzone (schema {current}, needed {needed}): "
        "back it up, then run `feedzone db upgrade`"
    )


def prepare(database: Database) -> bool:
    """Create the schema in an empty database, else check it. Return True if it was created."""
    if current_revision(database) is None:
        upgrade(database)
        return True
    check(database)
    return False


def _refuse_newer(revision: str | None) -> None:
    if revision is not None and revision not in known_revisions():
        raise SchemaMismatch(
            f"the database is newer than this version of feedzone (schema {revision} is unknown to it): "
            "upgrade feedzone"
        )
