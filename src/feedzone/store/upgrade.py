"""Schema versions: what the database has, what this code needs, and the way from one to the other."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from ..errors import SchemaMismatch
from .database import Database

MIGRATIONS = Path(__file__).parent / "migrations"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str:
    """The revision that this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current_revision(database: Database) -> str | None:
    """The revision that the database has; None when it is empty. Raises SchemaMismatch for a foreign one."""
    return database.run_sync(_current)


def _current(connection: Connection) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None and "webhook_events" in inspect(connection).get_table_names():
        raise SchemaMismatch(
            "the database has feedzone's tables but no schema version: it was not made by feedzone"
        )
    return revision


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring the schema to what this code needs, in one transaction; returns the revisions before and after.

    Raises SchemaMismatch when the database is newer than this code.
    """
    before = current_revision(database)
    _refuse_newer(before)
    database.run_sync(lambda connection: command.upgrade(_config(connection), "head"))
    return before, newest_revision()


def check(database: Database) -> None:
    """Raises SchemaMismatch unless the schema is exactly what this code needs."""
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
    """Create the schema of an empty database, else check it; True when it was created."""
    if current_revision(database) is None:
        upgrade(database)
        return True
    check(database)
    return False


def _refuse_newer(revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaMismatch(
            f"the database is newer than this version of feedzone (schema {revision} is unknown to it): "
            "upgrade feedzone"
        )
