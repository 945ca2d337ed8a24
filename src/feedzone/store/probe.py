"""Prove that an event can be stored, by storing something of its size."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, delete

from .schema.tables import storage_probes

PROBE_BYTES = 64 * 1024
"""An event, its job and their indexes need less: a disk without room for this is full."""


def write(connection: Connection) -> None:
    """Write a row and delete it again, so that no row remains and processes do not wait for each other."""
    key = secrets.token_hex(16)
    connection.execute(storage_probes.insert().values(id=key, filling=secrets.token_hex(PROBE_BYTES // 2)))
    connection.execute(delete(storage_probes).where(storage_probes.c.id == key))
