"""The HTTP API for other programs: /api/v1, with Authorization: Bearer API_KEY."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Router, delete, get, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta, Struct

from ..errors import InvalidInput, NotFound
from ..queries.athletes import AthleteFilter
from ..queries.insights import ActivityFilter
from ..queries.schemas.core import (
    ActivityDetail,
    ActivityPage,
    Athlete,
    AthletePage,
    ChangePage,
    ConflictPage,
    EventPage,
    EventStatus,
    GearPage,
    JobPage,
    JobState,
    JobStory,
    Photos,
    Receipt,
    Status,
    Streams,
)
from ..queries.schemas.quota import Budget, WhatIf, WholeHistory
from .auth.access import api
from .context import Parts
from .parsing import parse_moment
from .problems import problem_specs

LARGEST = 2**63 - 1

AthleteId = Annotated[int, PathParameter(ge=0, le=LARGEST, description="the athlete's id at Strava")]
ActivityId = Annotated[int, PathParameter(ge=0, le=LARGEST, description="the activity's id at Strava")]
JobId = Annotated[UUID, PathParameter(description="the id of a dead letter")]
AnyJobId = Annotated[UUID, PathParameter(description="the id of a job")]
ConflictId = Annotated[UUID, PathParameter(description="the id of a conflict")]
OfAthlete = Annotated[int | None, QueryParameter(ge=0, le=LARGEST, description="only this athlete's")]
OfSport = Annotated[str | None, QueryParameter(max_length=100, description="only this sport_type")]
OfStatus = Annotated[EventStatus | None, QueryParameter(description="only events in this status")]
# `state` is a word of Litestar's: as an argument it would be the application's state.
OfState = Annotated[JobState | None, QueryParameter(name="state", description="only jobs in this state")]
IdleDays = Annotated[
    int | None, QueryParameter(ge=1, le=36_500, description="only of whom nothing has come for so many days")
]
Quiet = Annotated[
    bool | None,
    QueryParameter(description="only those of whom no event comes; false: the others"),
]
MoreAthletes = Annotated[int, QueryParameter(ge=0, le=100_000, description="how many more athletes")]
OfEach = Annotated[int, QueryParameter(ge=0, le=100_000, description="how many activities each of them has")]
Years = Annotated[
    float, QueryParameter(gt=0, le=100, description="how far back it goes: Strava does not say so before")
]
Moment = Annotated[str | None, QueryParameter(max_length=64, description="ISO 8601 or epoch seconds")]
Since = Annotated[
    str | None, QueryParameter(max_length=64, description="ISO 8601, epoch seconds, or the id of a change")
]
Limit = Annotated[int, QueryParameter(ge=1, le=200, description="items a page")]
Cursor = Annotated[str | None, QueryParameter(max_length=200, description="next_cursor of the page before")]

LIST = problem_specs(400, 401, 503)
ONE = problem_specs(400, 401, 404, 503)


class SyncRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How far back: the last `days`, or `all` of the history; neither: INITIAL_SYNC_DAYS."""

    days: Annotated[int, Meta(ge=1, le=36_500)] | None = None
    all: bool = False


class SportsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The sport types to fetch details and streams of, such as Ride; null: all."""

    only: list[Annotated[str, Meta(min_length=1, max_length=100)]] | None


class DiscardRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the dead letter is given up; kept with its events."""

    reason: Annotated[str, Meta(min_length=1, max_length=1000)]


class Accepted(Struct, frozen=True):
    """It is queued; the worker does it next."""

    status: Literal["queued", "dismissed"] = "queued"


class RetryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters: those of one `error_class`, or all."""

    error_class: Annotated[str, Meta(max_length=32)] | None = None


class Requeued(Struct, frozen=True):
    """How many dead letters will run again."""

    jobs: int


class Discarded(Struct, frozen=True):
    """The dead letter is gone."""

    status: Literal["discarded"] = "discarded"


@get("/status", responses=problem_specs(401, 503), summary="Everything at a glance")
async def get_status(parts: Parts) -> Status:
    return await parts.insights.status()


@get("/budget", responses=problem_specs(401, 503), summary="The rate limit, and what spent it today")
async def get_budget(parts: Parts) -> Budget:
    return await parts.insights.foresight.budget()


@get("/budget/forecast", responses=LIST, summary="What more athletes would cost, and when all would be done")
async def get_forecast(parts: Parts, athletes: MoreAthletes = 1, activities: OfEach = 200) -> WhatIf:
    """After all that waits already."""
    return await parts.insights.foresight.what_if(athletes, activities)


@get(
    "/athletes/{athlete_id:int}/forecast",
    responses=ONE,
    summary="What all of an athlete's history would cost",
)
async def get_whole_history(parts: Parts, athlete_id: AthleteId, years: Years = 5.0) -> WholeHistory:
    """After all that waits already. See `feedzone sync ATHLETE --all`."""
    return await parts.insights.foresight.whole_history(athlete_id, years)


@get("/athletes", responses=LIST, summary="Athletes, by id")
async def list_athletes(
    parts: Parts,
    idle_days: IdleDays = None,
    quiet: Quiet = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AthletePage:
    """`idle_days`: no event and no start of an activity since then, and connected for as long."""
    return await parts.insights.athletes(limit, cursor, AthleteFilter(idle_days, quiet))


@get("/athletes/{athlete_id:int}", responses=ONE, summary="One athlete, with the progress of the sync")
async def get_athlete(parts: Parts, athlete_id: AthleteId) -> Athlete:
    return await parts.insights.athlete(athlete_id)


@get("/athletes/{athlete_id:int}/gear", responses=ONE, summary="An athlete's bikes and shoes")
async def list_gear(parts: Parts, athlete_id: AthleteId) -> GearPage:
    """Read once a day from the profile, which takes the scope `profile:read_all`; empty without."""
    return await parts.insights.gear(athlete_id)


@get("/activities", responses=LIST, summary="Activities, latest start first; deleted ones are left out")
async def list_activities(
    parts: Parts,
    athlete_id: OfAthlete = None,
    after: Moment = None,
    before: Moment = None,
    sport_type: OfSport = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ActivityPage:
    """`after` (from then on) and `before` (not any more) limit `start_date`."""
    which = ActivityFilter(
        athlete_id,
        None if after is None else parse_moment(after, "after"),
        None if before is None else parse_moment(before, "before"),
        sport_type,
    )
    return await parts.insights.activities(which, cursor, limit)


@get("/activities/{activity_id:int}", responses=ONE, summary="One activity, with what Strava sent for it")
async def get_activity(parts: Parts, activity_id: ActivityId) -> ActivityDetail:
    return await parts.insights.activity(activity_id)


@get(
    "/activities/{activity_id:int}/streams",
    responses=ONE,
    summary="The streams of an activity, in the shape Strava sends them (key_by_type)",
)
async def get_streams(parts: Parts, activity_id: ActivityId) -> Streams:
    """404 says whether they are pending (still to come) or absent (Strava has none)."""
    return await parts.insights.streams(activity_id)


@get("/activities/{activity_id:int}/photos", responses=ONE, summary="The photos of an activity")
async def list_photos(parts: Parts, activity_id: ActivityId) -> Photos:
    """Fetched where FETCH_PHOTOS is set. While they are pending, those of before are shown, if any."""
    return await parts.insights.photos(activity_id)


@get("/events", responses=LIST, summary="Webhook events, newest first")
async def list_events(
    parts: Parts, status: OfStatus = None, limit: Limit = 50, cursor: Cursor = None
) -> EventPage:
    return await parts.insights.events(status, cursor, limit)


@get("/jobs", responses=LIST, summary="Jobs, oldest first; state=dead lists the dead letters")
async def list_jobs(
    parts: Parts, state_: OfState = None, limit: Limit = 50, cursor: Cursor = None
) -> JobPage:
    return await parts.insights.jobs(state_, cursor, limit)


@get("/changes", responses=LIST, summary="The change feed: what changed in activities, oldest first")
async def list_changes(
    parts: Parts, since: Since = None, limit: Limit = 50, cursor: Cursor = None
) -> ChangePage:
    """To follow it, ask again with `since` set to the id of the last change you have."""
    return await parts.insights.changes(None if since is None else _since(since), cursor, limit)


def _since(text: str) -> Any:
    try:
        return str(UUID(text))
    except ValueError:
        return parse_moment(text, "since")


@post(
    "/athletes/{athlete_id:int}/sync", status_code=202, responses=ONE, summary="List and fetch what differs"
)
async def sync_athlete(
    parts: Parts, athlete_id: AthleteId, data: JSONBody[SyncRequest | None] = None
) -> Accepted:
    """The body is optional."""
    wanted = data or SyncRequest()
    if wanted.all and wanted.days is not None:
        raise InvalidInput("takes days or all, not both")
    await parts.athletes.sync(athlete_id, days=wanted.days, everything=wanted.all)
    return Accepted()


@put(
    "/athletes/{athlete_id:int}/sports",
    status_code=202,
    responses=ONE,
    summary="Which sports are fetched whole; of the others the summary is all that is kept",
)
async def keep_sports(parts: Parts, athlete_id: AthleteId, data: JSONBody[SportsRequest]) -> Accepted:
    """What is wanted from now on and was left a summary is fetched."""
    await parts.athletes.keep_sports(athlete_id, data.only)
    return Accepted()


@post(
    "/activities/{activity_id:int}/sync", status_code=202, responses=ONE, summary="Fetch one activity again"
)
async def sync_activity(parts: Parts, activity_id: ActivityId) -> Accepted:
    await parts.athletes.refresh_activity(activity_id)
    return Accepted()


@post("/jobs/{job_id:uuid}/retry", status_code=202, responses=ONE, summary="Run a dead letter again")
async def retry_job(parts: Parts, job_id: JobId) -> Accepted:
    await parts.dead_letters.retry(str(job_id))
    return Accepted()


@post("/jobs/{job_id:uuid}/discard", status_code=200, responses=ONE, summary="Give a dead letter up")
async def discard_job(parts: Parts, job_id: JobId, data: JSONBody[DiscardRequest | None] = None) -> Discarded:
    if data is None:
        raise InvalidInput('takes a body that says why: {"reason": "..."}')
    await parts.dead_letters.discard(str(job_id), data.reason)
    return Discarded()


@delete(
    "/athletes/{athlete_id:int}",
    status_code=200,
    responses=ONE,
    summary="Remove an athlete and all their data",
)
async def delete_athlete(parts: Parts, athlete_id: AthleteId) -> Receipt:
    """Gone here at once; Strava is told by a job. The receipt stays as proof."""
    await parts.athletes.disconnect(athlete_id)
    receipts = await parts.insights.receipts(athlete_id)
    if not receipts:
        raise NotFound(f"athlete {athlete_id} is not connected")
    return receipts[0]


@get("/jobs/{job_id:uuid}", responses=ONE, summary="One job, with the story of its attempts")
async def get_job(parts: Parts, job_id: AnyJobId) -> JobStory:
    return await parts.insights.job(str(job_id))


@post("/jobs/retry", status_code=202, responses=LIST, summary="Run all dead letters of a class again")
async def retry_class(parts: Parts, data: JSONBody[RetryRequest]) -> Requeued:
    return Requeued(await parts.dead_letters.retry_all(data.error_class))


@post("/athletes/{athlete_id:int}/verify", status_code=202, responses=ONE, summary="Compare with Strava now")
async def verify_athlete(parts: Parts, athlete_id: AthleteId) -> Accepted:
    await parts.reconciliation.verify(athlete_id)
    return Accepted()


@get("/conflicts", responses=LIST, summary="What feedzone did not dare to decide alone")
async def list_conflicts(parts: Parts) -> ConflictPage:
    return ConflictPage(await parts.insights.conflicts())


@post("/conflicts/{conflict_id:uuid}/accept", status_code=202, responses=ONE, summary="Let them go")
async def accept_conflict(parts: Parts, conflict_id: ConflictId) -> Accepted:
    await parts.reconciliation.resolve(str(conflict_id), accept=True)
    return Accepted()


@post("/conflicts/{conflict_id:uuid}/dismiss", status_code=200, responses=ONE, summary="Keep them")
async def dismiss_conflict(parts: Parts, conflict_id: ConflictId) -> Accepted:
    await parts.reconciliation.resolve(str(conflict_id), accept=False)
    return Accepted("dismissed")


def api_router() -> Router:
    return Router(
        "/api/v1",
        opt=api(),
        route_handlers=[
            get_status,
            get_budget,
            get_forecast,
            get_whole_history,
            list_athletes,
            get_athlete,
            list_gear,
            list_activities,
            get_activity,
            get_streams,
            list_photos,
            list_events,
            list_jobs,
            list_changes,
            sync_athlete,
            keep_sports,
            sync_activity,
            get_job,
            retry_job,
            retry_class,
            verify_athlete,
            list_conflicts,
            accept_conflict,
            dismiss_conflict,
            discard_job,
            delete_athlete,
        ],
        security=[{"api_key": []}],
        tags=["api"],
    )
