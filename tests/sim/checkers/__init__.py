"""What must be true when the world has come to rest.

Checkers are kept apart from the world: they read the database with plain sqlite3, ask the sandbox for its
truth, and know the ledger of what was done to the engine. Each returns its divergences, one line each.
"""

from __future__ import annotations

import sqlite3

from feedzone.sandbox import World

from ..ledger import Ledger
from . import (
    acknowledged,
    dead_letters,
    departures,
    equality,
    forgeries,
    gear,
    limits,
    photos,
    promises,
    tokens,
    waiting,
)
from .evidence import Evidence

CHECKERS = (
    equality.check,
    gear.check,
    photos.check,
    acknowledged.check,
    limits.check,
    departures.check,
    tokens.check,
    dead_letters.check,
    waiting.check,
    forgeries.check,
    promises.check,
)


def check_all(
    rows: sqlite3.Connection, world: World, ledger: Ledger, start: float, now: float, window_days: int
) -> list[str]:
    """Every divergence that any checker finds; none is what we want."""
    evidence = Evidence(rows, world, ledger, now, window_days, start)
    return [line for check in CHECKERS for line in check(evidence)]
