"""Compare the database's schema version with the one that this code needs, and upgrade it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from ...errors import SchemaMismatch
from ..engine.database import Database

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
        from . import migrate  # importing Alembic is slow, and few starts need a migration

        database.run_sync(migrate.upgrade_to_head)
    return before, needed


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
