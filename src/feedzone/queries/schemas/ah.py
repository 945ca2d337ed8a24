"""What the page of an activity shows: plain values."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ...domain.activity_details import ActivityDetails
from ...domain.effect import StreamState
from .core import Activity, Attempt, Change, Event, Job


class StreamsHeld(Struct, frozen=True):
    """What is known of an activity's streams, without them."""

    state: StreamState
    channels: tuple[str, ...]
    samples: int
    fetched_at: datetime

    @property
    def are_here(self) -> bool:
        """They may be pending, too: older ones are shown until the new ones come."""
        return self.state != "absent" and self.samples > 0

    @property
    def version(self) -> str:
        """Differs when other streams have come."""
        return f"{self.fetched_at.timestamp():.6f}-{self.samples}"


class Call(Struct, frozen=True):
    """One call that asked for the activity."""

    sent_at: datetime
    lane: str
    endpoint: str
    status: int | None
    ms: int


class ActivityFile(Struct, frozen=True, kw_only=True):
    """An activity, and all that is known of what became of it; every list newest first."""

    id: int
    athlete_id: int
    athlete: str
    athlete_status: str | None
    operator_may_see: bool
    """Whether the athlete has agreed to that."""
    activity: Activity | None
    """Null: it was only heard of, and is not fetched yet."""
    detailed: bool
    deleted_at: datetime | None
    parts: ActivityDetails
    streams: StreamsHeld | None
    gear_names: dict[str, str]
    events: list[Event]
    calls: list[Call]
    changes: list[Change]
    jobs: list[Job]
    attempts: list[Attempt]
    cut: bool
    """Whether there was more than is told."""

    @property
    def is_deleted(self) -> bool:
        return self.activity is not None and self.activity.sync_status == "deleted"

    @property
    def gear(self) -> str | None:
        if self.activity is None or self.activity.gear_id is None:
            return None
        return self.gear_names.get(self.activity.gear_id) or self.parts.gear_name
