"""Demands and call counts that the tests of the reserve share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from feedzone.domain.quota.demand import EPOCH, QUARTERS, Counted, Demand

MIDNIGHT = datetime(2026, 11, 3, tzinfo=UTC)
NOON = MIDNIGHT + timedelta(hours=12)


def hourly(spread: float = 1.0, **calls: float) -> Demand:
    """Return a demand of these calls an hour for each lane, all day."""
    sums = {lane: tuple(rate / 4 * n for n in range(QUARTERS + 1)) for lane, rate in calls.items()}
    return Demand(sums, spread, day=(NOON - EPOCH).days)


def counted(*rows: tuple[int, int, str, int]) -> list[Counted]:
    """Return call counts. Each row: days ago, quarter of the day, lane, calls."""
    today = int(MIDNIGHT.timestamp()) // 900
    return [Counted(today - days * QUARTERS + quarter, lane, calls) for days, quarter, lane, calls in rows]
