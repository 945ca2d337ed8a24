"""What an operator can do on the pages. Each answers at once and says what it did; those that remove
something have said so before, on the page or in the form.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, Router, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, PathParameter
from litestar.response import Redirect
from msgspec import Meta, Struct

from ...domain.wording import count, duration
from ...errors import FeedzoneError, StravaError
from ...services.dead_letters import UNDO_FOR
from ...services.subscription import ForeignSubscription, SubscriptionRefused
from ..auth.access import operator
from ..context import Parts
from ..rendering.filters import CAUSES
from ..rendering.flash import Notice, is_fragment, local_path, told

Asked = Request[Any, Any, Any]
AthleteId = Annotated[int, PathParameter(ge=0, le=2**63 - 1)]
Id = Annotated[UUID, PathParameter()]
FORM = Body(media_type=RequestEncodingType.URL_ENCODED)
Short = Annotated[str, Meta(max_length=1000)]


class SyncForm(Struct, frozen=True):
    history: Short = ""
    back: Short = "/athletes"


class BackForm(Struct, frozen=True):
    """`back`: the page that the form stands on."""

    back: Short = "/athletes"


class ReasonForm(Struct, frozen=True):
    reason: Short = ""


class ClassForm(Struct, frozen=True):
    error_class: Short = ""


class ReplaceForm(Struct, frozen=True):
    replace: Short = ""


@post("/actions/subscription", status_code=200)
async def subscribe(request: Asked, parts: Parts, data: Annotated[ReplaceForm, FORM]) -> Response[Any]:
    """Strava calls back before it answers; the server goes on serving meanwhile."""
    try:
        subscription, created = await parts.subscription.ensure(replace=data.replace == "yes")
    except (ForeignSubscription, SubscriptionRefused, StravaError) as problem:
        return told(request, Notice(_said(problem), "bad"), "/health")
    text = "Subscribed: events come from now on" if created else "The subscription was there already"
    return told(request, Notice(f"{text} (subscription {subscription.id})."), "/health")


def _said(problem: FeedzoneError) -> str:
    if isinstance(problem, ForeignSubscription):
        existing = problem.existing
        return (
            f"Strava delivers this application's events to {existing.callback_url}, and allows "
            "one subscription. Nothing was changed. "
            "To take it over from there: feedzone subscription ensure --replace."
        )
    if isinstance(problem, SubscriptionRefused):
        return f"Strava refused. {problem.remedy}"
    return f"Strava cannot be asked: {problem}"


@post("/actions/athletes/{athlete_id:int}/sync", status_code=200)
async def sync(
    request: Asked, parts: Parts, athlete_id: AthleteId, data: Annotated[SyncForm, FORM]
) -> Response[Any]:
    everything = data.history == "all"
    await parts.athletes.sync(athlete_id, everything=everything)
    span = "whole history is" if everything else f"last {parts.athletes.initial_sync_days} days are"
    text = f"The {span} being listed; what differs is fetched. {await _name(parts, athlete_id)}"
    return told(request, Notice(text), local_path(data.back, "/athletes"))


@post("/actions/athletes/{athlete_id:int}/verify", status_code=200)
async def verify(
    request: Asked, parts: Parts, athlete_id: AthleteId, data: Annotated[BackForm, FORM]
) -> Response[Any]:
    await parts.reconciliation.reconcile(athlete_id)
    text = f"A comparison with Strava is queued. {await _name(parts, athlete_id)}"
    return told(request, Notice(text), local_path(data.back, "/athletes"))


async def _name(parts: Parts, athlete_id: int) -> str:
    return f"({(await parts.queries.athletes.names([athlete_id])).get(athlete_id, athlete_id)})"


@post("/actions/athletes/{athlete_id:int}/disconnect", status_code=200)
async def disconnect(request: Asked, parts: Parts, athlete_id: AthleteId) -> Response[Any]:
    await parts.athletes.disconnect(athlete_id)
    receipt = (await parts.queries.athletes.receipts(athlete_id))[0]
    rows = count(sum(receipt.counts.values()), "row")
    text = f"Athlete {athlete_id} is gone: {rows} were removed. The receipt is below; Strava is being told."
    answer = told(request, Notice(text), "/athletes#receipts")
    if is_fragment(request):
        answer.headers["HX-Redirect"] = "/athletes#receipts"
    return answer


@post("/actions/jobs/{job_id:uuid}/retry", status_code=200)
async def retry(request: Asked, parts: Parts, job_id: Id) -> Response[Any]:
    await parts.dead_letters.retry(str(job_id))
    return told(request, Notice("It runs again, with all its attempts."), "/failures")


@post("/actions/failures/retry", status_code=200)
async def retry_alike(request: Asked, parts: Parts, data: Annotated[ClassForm, FORM]) -> Response[Any]:
    revived = await parts.dead_letters.retry_all(data.error_class or None)
    alike = f' of "{CAUSES[data.error_class][0]}"' if data.error_class in CAUSES else ""
    text = f"{count(revived, 'job')}{alike} will run again."
    return told(request, Notice(text), "/failures")


@post("/actions/jobs/{job_id:uuid}/discard", status_code=200)
async def discard(
    request: Asked, parts: Parts, job_id: Id, data: Annotated[ReasonForm, FORM]
) -> Response[Any]:
    await parts.dead_letters.discard(str(job_id), data.reason)
    minute = duration(UNDO_FOR.total_seconds())
    text = f"Discarded; its events keep the reason. For {minute} you can take that back."
    return told(request, Notice(text, undo=f"/actions/jobs/{job_id}/restore"), "/failures")


@post("/actions/jobs/{job_id:uuid}/restore", status_code=200)
async def restore(request: Asked, parts: Parts, job_id: Id) -> Response[Any]:
    if await parts.dead_letters.restore(str(job_id)):
        return told(request, Notice("It is back among the failures."), "/failures")
    return told(request, Notice("It is too late to take that back.", "warn"), "/failures")


@post("/actions/conflicts/{conflict_id:uuid}/{answer:str}", status_code=200)
async def decide(request: Asked, parts: Parts, conflict_id: Id, answer: FromPath[str]) -> Response[Any]:
    if answer not in ("accept", "dismiss"):
        return Redirect("/failures#questions", status_code=303)
    asked = await parts.reconciliation.resolve(str(conflict_id), accept=answer == "accept")
    text = (
        f"Each of {count(asked, 'activity', 'activities')} is asked for; those that Strava denies go."
        if answer == "accept"
        else "They stay, and you will not be asked about them again."
    )
    return told(request, Notice(text), "/failures")


def actions_router() -> Router:
    return Router(
        "/",
        route_handlers=[
            subscribe,
            sync,
            verify,
            disconnect,
            retry,
            retry_alike,
            discard,
            restore,
            decide,
        ],
        opt=operator(),
        include_in_schema=False,
    )
