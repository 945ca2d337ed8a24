"""What is said of the rate limit: the windows, what spent them, and when what waits will be done."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from ...domain.quota.windows import WindowName


class QuotaWindow(Struct, frozen=True):
    """A rate limit window of Strava's: `used` of `quota` calls, until it begins anew at `ends_at`."""

    window: WindowName
    used: int
    quota: int
    starts_at: datetime
    ends_at: datetime
    latched: Annotated[bool, Meta(description="Strava answered 429: closed until it ends")]


class SyncOutlook(Struct, frozen=True):
    """How far the sync of an athlete's window is, and when it will be done."""

    activities_done: int
    activities_total: Annotated[int, Meta(description="listed so far")]
    calls_needed: Annotated[int, Meta(description="0: nothing is left to fetch")]
    done_at: Annotated[
        datetime | None,
        Meta(description="null: nothing is left, or it cannot be told: not all is listed yet, no quota"),
    ]


class QueueOutlook(Struct, frozen=True):
    """What everything that waits will cost, as far as it is known, and when it will be done."""

    calls_needed: int
    done_at: Annotated[
        datetime | None, Meta(description="null: nothing waits, or the quota will never suffice")
    ]


class AthleteCalls(Struct, frozen=True):
    """The calls made for an athlete."""

    athlete_id: Annotated[int | None, Meta(description="null: for nobody, or for who has left")]
    calls: int


class HourCalls(Struct, frozen=True):
    """The calls of the hour that began then."""

    hour: datetime
    calls: int


class Spent(Struct, frozen=True):
    """The calls of today (UTC) that count, from the journal; the last seconds may be missing."""

    calls: int
    by_lane: dict[str, int]
    by_athlete: Annotated[list[AthleteCalls], Meta(description="the most first, 20 at most")]
    by_hour: list[HourCalls]
    unexplained: Annotated[
        int, Meta(description="reads that Strava counts and the journal does not know: another program's")
    ]


class Budget(Struct, frozen=True):
    """What may be called, and what spent it today."""

    now: datetime
    windows: list[QuotaWindow]
    spent: Spent
    queue: QueueOutlook


class WholeHistory(Struct, frozen=True):
    """What all of an athlete's history would cost. How much there is, Strava does not say before it is
    listed: so many years at the pace of what we hold.

    `done_at` comes after all that waits already.
    """

    athlete_id: int
    years: float
    held: Annotated[int, Meta(description="activities that we hold")]
    activities: Annotated[
        int, Meta(description="that are still to come, as far as one can tell; 0: all is here")
    ]
    calls: int
    waiting_before: Annotated[int, Meta(description="calls of what waits already")]
    done_at: Annotated[datetime | None, Meta(description="null: the quota will never suffice")]


class WhatIf(Struct, frozen=True):
    """What the first sync of so many more athletes, each with so many activities, would cost.

    `done_at` comes after all that waits already.
    """

    athletes: int
    activities: int
    calls: int
    waiting_before: Annotated[int, Meta(description="calls of what waits already")]
    done_at: Annotated[datetime | None, Meta(description="null: the quota will never suffice")]
