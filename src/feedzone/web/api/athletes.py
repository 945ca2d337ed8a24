"""Athletes: list, sync, reconcile, disconnect."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, post, put
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta, Struct

from ...errors import InvalidInput, NotFound
from ...queries.athletes import Athlete, AthleteFilter, AthletePage, GearPage, Receipt
from ...queries.quota import WholeHistory
from ..context import AthleteId, Parts
from .parameters import LIST, ONE, Accepted, Cursor, Limit

IdleDays = Annotated[
    int | None,
    QueryParameter(
        ge=1, le=36_500, description="only athletes without events and activities for this many days"
    ),
]
Quiet = Annotated[
    bool | None,
    QueryParameter(description="only athletes whose activities come without events; false: the others"),
]
Years = Annotated[
    float,
    QueryParameter(gt=0, le=100, description="length of the history: Strava does not say it before listing"),
]


class SyncRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How far back: the last `days`, or `all` of the history; neither: INITIAL_SYNC_DAYS."""

    days: Annotated[int, Meta(ge=1, le=36_500)] | None = None
    all: bool = False


class SportsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The sport types to fetch details and streams of, such as Ride; null: all."""

    only: list[Annotated[str, Meta(min_length=1, max_length=100)]] | None


@get("/athletes", responses=LIST, summary="Athletes, by id")
async def list_athletes(
    parts: Parts,
    idle_days: IdleDays = None,
    quiet: Quiet = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AthletePage:
    """`idle_days`: no event and no start of an activity since then, and connected before then."""
    return await parts.queries.athletes.page(limit, cursor, AthleteFilter(idle_days, quiet))


@get("/athletes/{athlete_id:int}", responses=ONE, summary="One athlete, with sync progress")
async def get_athlete(parts: Parts, athlete_id: AthleteId) -> Athlete:
    return await parts.queries.athletes.get(athlete_id)


@get("/athletes/{athlete_id:int}/gear", responses=ONE, summary="An athlete's bikes and shoes")
async def list_gear(parts: Parts, athlete_id: AthleteId) -> GearPage:
    """Read from the profile once a day; empty without the scope `profile:read_all`."""
    return await parts.queries.athletes.gear(athlete_id)


@get("/athletes/{athlete_id:int}/forecast", responses=ONE, summary="Cost of an athlete's full history")
async def get_whole_history(parts: Parts, athlete_id: AthleteId, years: Years = 5.0) -> WholeHistory:
    """The forecast starts after everything that is queued now. See `feedzone sync ATHLETE --all`."""
    return await parts.queries.quota.whole_history(athlete_id, years)


@post(
    "/athletes/{athlete_id:int}/sync",
    status_code=202,
    responses=ONE,
    summary="List activities, and fetch those that differ",
)
async def sync_athlete(
    parts: Parts, athlete_id: AthleteId, data: JSONBody[SyncRequest | None] = None
) -> Accepted:
    """The body is optional."""
    request = data or SyncRequest()
    if request.all and request.days is not None:
        raise InvalidInput("takes days or all, not both")
    await parts.athletes.sync(athlete_id, days=request.days, everything=request.all)
    return Accepted()


@put(
    "/athletes/{athlete_id:int}/sports",
    status_code=202,
    responses=ONE,
    summary="Choose sports to fetch fully; other activities are stored as summaries only",
)
async def keep_sports(parts: Parts, athlete_id: AthleteId, data: JSONBody[SportsRequest]) -> Accepted:
    """Activities of newly chosen sports that were stored as summaries are fetched."""
    await parts.athletes.keep_sports(athlete_id, data.only)
    return Accepted()


@post(
    "/athletes/{athlete_id:int}/verify", status_code=202, responses=ONE, summary="Reconcile with Strava now"
)
async def verify_athlete(parts: Parts, athlete_id: AthleteId) -> Accepted:
    await parts.reconciliation.reconcile(athlete_id)
    return Accepted()


@delete(
    "/athletes/{athlete_id:int}",
    status_code=200,
    responses=ONE,
    summary="Remove an athlete and all their data",
)
async def delete_athlete(parts: Parts, athlete_id: AthleteId) -> Receipt:
    """The data is deleted at once; a job revokes access at Strava. The receipt stays as proof."""
    await parts.athletes.disconnect(athlete_id)
    receipts = await parts.queries.athletes.receipts(athlete_id)
    if not receipts:
        raise NotFound(f"athlete {athlete_id} is not connected")
    return receipts[0]


HANDLERS = [
    list_athletes,
    get_athlete,
    list_gear,
    get_whole_history,
    sync_athlete,
    keep_sports,
    verify_athlete,
    delete_athlete,
]
