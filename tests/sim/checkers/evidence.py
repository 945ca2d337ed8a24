"""The data that checkers compare."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from feedzone.sandbox import World

from ..ledger import Ledger


@dataclass(frozen=True)
class Evidence:
    """The database, the sandbox, and the ledger of faults and actions. `now` is in epoch seconds."""

    rows: sqlite3.Connection
    world: World
    ledger: Ledger
    now: float
    window_days: int
    world_start: float

    def all(self, query: str, *values: object) -> list[sqlite3.Row]:
        return self.rows.execute(query, values).fetchall()

    def connected(self) -> list[int]:
        """Return the athletes connected at Strava and not disconnected by the operator."""
        return [
            athlete_id
            for athlete_id in sorted(self.world.athletes)
            if athlete_id in self.world.grants.live and athlete_id not in self.ledger.removed
        ]


def epoch(text: str) -> float:
    """Return a time of the database in epoch seconds."""
    return datetime.fromisoformat(text).timestamp()


def text(epoch_s: float) -> str:
    """Return epoch seconds as the database stores them."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
