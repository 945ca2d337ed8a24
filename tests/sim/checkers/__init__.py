"""The conditions that must hold at the end of a world.

Checkers share no code with the engine: they read the database with plain sqlite3, compare it with the
sandbox, and use the ledger of faults and actions. Each yields its divergences, one line each.
"""

from __future__ import annotations

import sqlite3

from feedzone.sandbox import World

from ..ledger import Ledger
from . import (
    acknowledged,
    dead_letters,
    disconnects,
    equality,
    forgeries,
    gear,
    invariants,
    limits,
    photos,
    samples,
    spending,
    tokens,
    waiting,
)
from .evidence import Evidence

CHECKERS = (
    equality.check,
    samples.check,
    gear.check,
    photos.check,
    acknowledged.check,
    limits.check,
    disconnects.check,
    tokens.check,
    dead_letters.check,
    waiting.check,
    forgeries.check,
    spending.check,
    invariants.check,
)


def check_all(
    rows: sqlite3.Connection, world: World, ledger: Ledger, start: float, now: float, window_days: int
) -> list[str]:
    """Return the divergences of all checkers."""
    evidence = Evidence(rows, world, ledger, now, window_days, start)
    return [line for check in CHECKERS for line in check(evidence)]
