"""Sees what happens in the database while it happens: what has healed by the end leaves no other trace.

Temporary triggers write into temporary tables of the one connection through which all processes work, so what
a rolled back transaction did was never seen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from .loop import OWNER, VirtualLoop

FIRST = """
CREATE TEMP TABLE seen_leases (at REAL, worker TEXT, holder TEXT, key TEXT, athlete_id INTEGER);
CREATE TEMP TABLE seen_receipts (event_id TEXT PRIMARY KEY, at REAL);
CREATE TEMP TABLE seen_deletes (object_id INTEGER, at REAL);
CREATE TEMP TABLE seen_answers (
    at REAL, received REAL, object_id INTEGER, owner_id INTEGER, note TEXT, live INTEGER
);
CREATE TEMP TABLE seen_absences (activity_id INTEGER);
CREATE TEMP TABLE seen_deaths (key TEXT, error TEXT);

CREATE TEMP TRIGGER see_job_deleted AFTER DELETE ON main.jobs
WHEN OLD.state <> 'dead' AND holds(OLD.lease_owner) = 0 BEGIN
    INSERT INTO seen_leases VALUES (instant(), worker(), OLD.lease_owner, OLD.key, OLD.athlete_id);
END;
CREATE TEMP TRIGGER see_job_given_back AFTER UPDATE OF state ON main.jobs
WHEN OLD.state = 'running' AND NEW.state <> 'running' AND holds(OLD.lease_owner) = 0
    AND (NEW.state = 'dead' OR NEW.due_at <> OLD.due_at) BEGIN
    INSERT INTO seen_leases VALUES (instant(), worker(), OLD.lease_owner, OLD.key, OLD.athlete_id);
END;
CREATE TEMP TRIGGER see_job_rescued AFTER UPDATE OF state ON main.jobs
WHEN OLD.state = 'running' AND NEW.state = 'queued' AND NEW.due_at = OLD.due_at BEGIN
    SELECT rescued();
END;
CREATE TEMP TRIGGER see_job_dead AFTER UPDATE OF state ON main.jobs WHEN NEW.state = 'dead' BEGIN
    INSERT INTO seen_deaths VALUES (NEW.key, NEW.last_error);
END;
CREATE TEMP TRIGGER see_event AFTER INSERT ON main.webhook_events BEGIN
    INSERT INTO seen_receipts VALUES (NEW.id, instant());
END;
CREATE TEMP TRIGGER see_delete AFTER INSERT ON main.webhook_events
WHEN NEW.aspect_type = 'delete' AND NEW.object_type = 'activity' BEGIN
    INSERT INTO seen_deletes VALUES (NEW.object_id, instant());
END;
CREATE TEMP TRIGGER see_answer AFTER UPDATE OF status ON main.webhook_events
WHEN NEW.status = 'completed' AND NEW.object_type = 'activity' BEGIN
    INSERT INTO seen_answers SELECT instant(), r.at, NEW.object_id, NEW.owner_id, NEW.error_message,
        EXISTS (SELECT 1 FROM main.strava_activities WHERE id = NEW.object_id AND sync_status <> 'deleted')
        FROM seen_receipts r WHERE r.event_id = NEW.id;
END;
CREATE TEMP TRIGGER see_absence AFTER INSERT ON main.activity_streams WHEN NEW.state = 'absent' BEGIN
    INSERT INTO seen_absences VALUES (NEW.activity_id);
END;
CREATE TEMP TRIGGER see_absence_later AFTER UPDATE OF state ON main.activity_streams
WHEN NEW.state = 'absent' BEGIN
    INSERT INTO seen_absences VALUES (NEW.activity_id);
END;
"""


class TakenLease(NamedTuple):
    """A job that a process ended although it did not hold its lease."""

    at: float
    worker: str
    holder: str | None
    key: str
    athlete_id: int


class Answer(NamedTuple):
    """An activity's event that was called completed; both times are virtual seconds."""

    at: float
    received: float
    object_id: int
    owner_id: int
    note: str | None
    live: int
    """Whether we held the activity, and not as a tombstone, from then on."""


class Sightings(NamedTuple):
    """What the witness has seen."""

    leases: tuple[TakenLease, ...] = ()
    answers: tuple[Answer, ...] = ()
    deletes: Mapping[int, float] = MappingProxyType({})
    """Activities of which a delete was stored, and when the first was. Not each of these was answered with
    200: a process may die between the commit and its answer."""
    absences: frozenset[int] = frozenset()
    """Activities whose streams were called absent."""
    deaths: tuple[tuple[str, str], ...] = ()
    """Jobs that were given up, and their last error."""


class Witness:
    """`on_rescue` is told when a job was queued again that somebody had leased."""

    def __init__(self, connection: sqlite3.Connection, loop: VirtualLoop) -> None:
        self._connection = connection
        self.on_rescue: Callable[[], None] = lambda: None
        connection.create_function("instant", 0, loop.time)
        connection.create_function("worker", 0, _worker)
        connection.create_function("holds", 1, _holds)
        connection.create_function("rescued", 0, lambda: self.on_rescue())
        connection.executescript(FIRST)

    def sightings(self) -> Sightings:
        def rows(table: str) -> list[tuple]:  # type: ignore[type-arg]
            return self._connection.execute(f"SELECT * FROM temp.{table}").fetchall()

        return Sightings(
            tuple(TakenLease(*row) for row in rows("seen_leases")),
            tuple(Answer(*row) for row in rows("seen_answers")),
            dict(reversed(rows("seen_deletes"))),
            frozenset(row[0] for row in rows("seen_absences")),
            tuple(rows("seen_deaths")),
        )


def _worker() -> str:
    """The name under which whoever acts now takes its leases."""
    return getattr(OWNER.get(), "worker", "")


def _holds(lease: str | None) -> int:
    return int(lease is not None and lease.startswith(f"{_worker()}/"))
