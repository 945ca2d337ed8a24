"""Record states of the database that are repaired before the end, and so leave no other trace.

All processes work through one connection. Its temporary triggers write into temporary tables, so a
transaction that is rolled back leaves no record.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from .loop import OWNER, VirtualLoop

TRIGGERS = """
CREATE TEMP TABLE seen_leases (at REAL, worker TEXT, holder TEXT, key TEXT, athlete_id INTEGER);
CREATE TEMP TABLE seen_arrivals (event_id TEXT PRIMARY KEY, at REAL);
CREATE TEMP TABLE seen_deletes (object_id INTEGER, at REAL);
CREATE TEMP TABLE seen_completions (
    at REAL, received REAL, object_id INTEGER, owner_id INTEGER, note TEXT, live INTEGER
);
CREATE TEMP TABLE seen_absent_streams (activity_id INTEGER);
CREATE TEMP TABLE seen_dead_letters (key TEXT, error TEXT);
CREATE TEMP TABLE seen_burials (at REAL, activity_id INTEGER);
CREATE TEMP TABLE seen_refusals (athlete_id INTEGER PRIMARY KEY, at REAL);
CREATE TEMP TABLE seen_departures (
    athlete_id INTEGER, at REAL, status TEXT, refused REAL, heard REAL, reason TEXT
);

CREATE TEMP TRIGGER see_burial AFTER UPDATE OF sync_status ON main.strava_activities
WHEN NEW.sync_status = 'deleted' AND OLD.deleted_at IS NULL AND OLD.created_at <> NEW.updated_at BEGIN
    INSERT INTO seen_burials VALUES (instant(), NEW.id);
END;

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
    INSERT INTO seen_dead_letters VALUES (NEW.key, NEW.last_error);
END;
CREATE TEMP TRIGGER see_refusal AFTER UPDATE OF status ON main.strava_athletes
WHEN NEW.status = 'needs_reauth' AND OLD.status <> 'needs_reauth' BEGIN
    INSERT OR REPLACE INTO seen_refusals VALUES (NEW.id, instant());
END;
CREATE TEMP TRIGGER see_departure AFTER UPDATE OF status ON main.strava_athletes
WHEN NEW.status = 'deauthorized' BEGIN
    INSERT INTO seen_departures SELECT NEW.id, instant(), OLD.status,
        (SELECT at FROM seen_refusals WHERE athlete_id = NEW.id), NULL, NULL;
END;
CREATE TEMP TRIGGER see_receipt AFTER INSERT ON main.deletion_receipts BEGIN
    UPDATE seen_departures SET reason = NEW.reason,
        heard = (SELECT min(r.at) FROM main.webhook_events e JOIN seen_arrivals r ON r.event_id = e.id
            WHERE e.job_id = (SELECT job_id FROM main.webhook_events WHERE 'event:' || id = NEW.cause))
    WHERE rowid = (SELECT max(rowid) FROM seen_departures WHERE athlete_id = NEW.athlete_id);
END;
CREATE TEMP TRIGGER see_event AFTER INSERT ON main.webhook_events BEGIN
    INSERT INTO seen_arrivals VALUES (NEW.id, instant());
END;
CREATE TEMP TRIGGER see_delete AFTER INSERT ON main.webhook_events
WHEN NEW.aspect_type = 'delete' AND NEW.object_type = 'activity' BEGIN
    INSERT INTO seen_deletes VALUES (NEW.object_id, instant());
END;
CREATE TEMP TRIGGER see_completion AFTER UPDATE OF status ON main.webhook_events
WHEN NEW.status = 'completed' AND NEW.object_type = 'activity' BEGIN
    INSERT INTO seen_completions SELECT instant(), r.at, NEW.object_id, NEW.owner_id, NEW.error_message,
        EXISTS (SELECT 1 FROM main.strava_activities WHERE id = NEW.object_id AND sync_status <> 'deleted')
        FROM seen_arrivals r WHERE r.event_id = NEW.id;
END;
CREATE TEMP TRIGGER see_absent_streams AFTER INSERT ON main.activity_streams WHEN NEW.state = 'absent' BEGIN
    INSERT INTO seen_absent_streams VALUES (NEW.activity_id);
END;
CREATE TEMP TRIGGER see_absent_streams_later AFTER UPDATE OF state ON main.activity_streams
WHEN NEW.state = 'absent' BEGIN
    INSERT INTO seen_absent_streams VALUES (NEW.activity_id);
END;
"""


class LeaseViolation(NamedTuple):
    """A job that a process ended although it did not hold its lease."""

    at: float
    worker: str
    holder: str | None
    key: str
    athlete_id: int


class CompletedEvent(NamedTuple):
    """An activity's event that became `completed`. Both times are virtual seconds."""

    at: float
    received: float
    object_id: int
    owner_id: int
    note: str | None
    live: int
    """Whether a row of the activity existed at that time, other than a tombstone."""


class Departure(NamedTuple):
    """A purge of an athlete. Times are virtual seconds."""

    athlete_id: int
    at: float
    status: str
    """The status before."""
    refused: float | None
    """When Strava last refused the tokens, so that the status became `needs_reauth`."""
    heard: float | None
    """When the first event of the job arrived that confirmed the departure."""
    reason: str


class Observations(NamedTuple):
    """All records of the witness."""

    lease_violations: tuple[LeaseViolation, ...] = ()
    completed_events: tuple[CompletedEvent, ...] = ()
    deletes: Mapping[int, float] = MappingProxyType({})
    """The time of the first stored delete event, by activity. Not all of them were answered with 200: a
    process may die between the commit and its answer."""
    absent_streams: frozenset[int] = frozenset()
    """Activities whose streams became `absent`."""
    dead_letters: tuple[tuple[str, str], ...] = ()
    """Key and last error of each job that became a dead letter."""
    burials: tuple[tuple[float, int], ...] = ()
    """When each activity with data became a tombstone, in virtual seconds; also if it was restored later."""
    departures: tuple[Departure, ...] = ()


class Witness:
    """Installs the triggers, and reads their records.

    `on_rescue` is called when the rescuer queues a leased job again.
    """

    def __init__(self, connection: sqlite3.Connection, loop: VirtualLoop) -> None:
        self._connection = connection
        self.on_rescue: Callable[[], None] = lambda: None
        connection.create_function("instant", 0, loop.time)
        connection.create_function("worker", 0, _worker)
        connection.create_function("holds", 1, _holds)
        connection.create_function("rescued", 0, lambda: self.on_rescue())
        connection.executescript(TRIGGERS)

    def observations(self) -> Observations:
        def rows(table: str) -> list[tuple]:  # type: ignore[type-arg]
            return self._connection.execute(f"SELECT * FROM temp.{table}").fetchall()

        return Observations(
            tuple(LeaseViolation(*row) for row in rows("seen_leases")),
            tuple(CompletedEvent(*row) for row in rows("seen_completions")),
            dict(reversed(rows("seen_deletes"))),
            frozenset(row[0] for row in rows("seen_absent_streams")),
            tuple(rows("seen_dead_letters")),
            tuple(rows("seen_burials")),
            tuple(Departure(*row) for row in rows("seen_departures")),
        )


def _worker() -> str:
    """Return the worker name with which the running process leases jobs."""
    return getattr(OWNER.get(), "worker", "")


def _holds(lease: str | None) -> int:
    return int(lease is not None and lease.startswith(f"{_worker()}/"))
