"""All read models, built and introduced to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..domain.event import Refusals
from ..ports import Clock
from ..store.engine.database import Database
from ..store.quota.budget import BudgetTable
from .activities import ActivityQueries
from .activity_history import ActivityHistoryQueries
from .athletes import AthleteQueries
from .calendar import CalendarQueries
from .conflicts import ConflictQueries
from .dashboard import DashboardQueries
from .events import EventQueries
from .export import ExportQueries
from .jobs import JobQueries
from .quota import QuotaForecast
from .status import StatusQueries


@dataclass(frozen=True)
class ReadModels:
    """Answer questions about the database for pages, API, command line and metrics; change nothing in it.

    No answer holds a token, not even an encrypted one. Lists come in pages; a cursor is opaque, and only
    good for the list that returned it. Every method may raise StorageUnavailable.
    """

    athletes: AthleteQueries
    activities: ActivityQueries
    activity_history: ActivityHistoryQueries
    calendar: CalendarQueries
    events: EventQueries
    jobs: JobQueries
    conflicts: ConflictQueries
    quota: QuotaForecast
    status: StatusQueries
    dashboard: DashboardQueries
    export: ExportQueries


def read_models(
    database: Database,
    clock: Clock,
    budget: BudgetTable,
    *,
    seats: int | None = None,
    batch_size: int = 10,
    refusals: Callable[[], Refusals | None] = lambda: None,
) -> ReadModels:
    quota = QuotaForecast(database, clock, budget, batch_size=batch_size)
    athletes = AthleteQueries(database, clock, quota)
    status = StatusQueries(database, clock, quota, seats=seats, refusals=refusals)
    return ReadModels(
        athletes=athletes,
        activities=ActivityQueries(database),
        activity_history=ActivityHistoryQueries(database),
        calendar=CalendarQueries(database),
        events=EventQueries(database),
        jobs=JobQueries(database, clock),
        conflicts=ConflictQueries(database),
        quota=quota,
        status=status,
        dashboard=DashboardQueries(database, clock, status, quota),
        export=ExportQueries(database, athletes),
    )
