"""Athletes as API, pages and command line see them, and which of them somebody asks for."""

from __future__ import annotations

from typing import Any

import msgspec

from ..domain.athlete import can_read_activities, parse_scopes, parse_sports
from ..store.engine.database import Row
from ..store.reads.inactivity import Signs
from .quota import Queue
from .schemas.core import Athlete, Progress


class AthleteFilter(msgspec.Struct, frozen=True):
    """Which athletes: of whom nothing has come for `idle_days`; the `quiet` ones, or the others."""

    idle_days: int | None = None
    quiet: bool | None = None


EVERYONE = AthleteFilter()


def athlete_view(row: Row[Any], counted: dict[str, int], signs: Signs, queue: Queue) -> Athlete:
    first = Progress(
        found=row.initial_sync_found,
        done=counted.get("synced", 0),
        failed=counted.get("failed", 0),
        pending=counted.get("pending", 0) + counted.get("syncing", 0),
        listed=row.initial_sync_listed,
        started_at=row.initial_sync_started_at,
        completed=row.initial_sync_completed,
        completed_at=row.initial_sync_completed_at,
        after=row.initial_sync_after,
    )
    scopes = parse_scopes(row.scopes)
    sports = parse_sports(row.wanted_sports)
    last = max(at for at in (row.connected_at, row.last_event_at, signs.latest_start) if at is not None)
    given: dict[str, Any] = {
        "scopes": sorted(scopes),
        "idle_since": last,
        "no_events_expected": not can_read_activities(scopes),
        "quiet": signs.quiet,
        "wanted_sports": None if sports is None else sorted(sports),
        "progress": first,
        "sync": queue.sync(row.id, counted),
    }
    same = {name: row._mapping[name] for name in Athlete.__struct_fields__ if name not in given}
    return Athlete(**same, **given)
