"""Write a migration from the difference between store/schema/ and the migrations so far."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script
from sqlalchemy import Connection

from feedzone.store.engine.database import open_database
from feedzone.store.schema import migrate, upgrade


def write(title: str) -> None:
    """Write the next migration. Check it: Alembic takes a rename for a drop and an add."""
    revision = f"{int(upgrade.newest_revision()) + 1:04}"
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.set_main_option("path_separator", "os")

    def generate(connection: Connection) -> str:
        config.attributes["connection"] = connection
        script = command.revision(config, title, autogenerate=True, rev_id=revision)
        assert isinstance(script, Script)
        return script.path

    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{Path(folder) / 'feedzone.db'}")
        upgrade.upgrade(database)
        path = Path(database.run_sync(generate))
    if "op." not in path.read_text():
        path.unlink()
        sys.exit("the migrations build store/schema/ already: there is nothing to write")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('usage: make migration NAME="add the weather of an activity"')
    write(sys.argv[1])
