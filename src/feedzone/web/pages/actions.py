"""The operator's actions. Each responds at once with what it did.

Actions that remove something state that before, on a confirmation page or in the form.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Response, Router, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, PathParameter
from litestar.response import Redirect
from msgspec import Meta, Struct

from ...domain.wording import count, duration
from ...errors import FeedzoneError, StravaError
from ...services.dead_letters import UNDO_FOR
from ...services.subscription import ForeignSubscription, SubscriptionRefused, shown_url
from ..auth.access import operator
from ..context import AthleteId, HttpRequest, Parts
from ..rendering.filters import CAUSES
from ..rendering.flash import Notice, is_fragment, local_path, respond

Id = Annotated[UUID, PathParameter()]
FORM = Body(media_type=RequestEncodingType.URL_ENCODED)
Short = Annotated[str, Meta(max_length=1000)]


class SyncForm(Struct, frozen=True):
    history: Short = ""
    back: Short = "/athletes"


class BackForm(Struct, frozen=True):
    """`back`: the page with the form."""

    back: Short = "/athletes"


class ReasonForm(Struct, frozen=True):
    reason: Short = ""


class ClassForm(Struct, frozen=True):
    error_class: Short = ""


class ReplaceForm(Struct, frozen=True):
    replace: Short = ""


@post("/actions/subscription", status_code=200)
async def subscribe(request: HttpRequest, parts: Parts, data: Annotated[ReplaceForm, FORM]) -> Response[Any]:
    """Subscribe. Strava calls our webhook before it responds, so this must not block the server."""
    try:
        subscription, created = await parts.subscription.ensure(replace=data.replace == "yes")
    except (ForeignSubscription, SubscriptionRefused, StravaError) as problem:
        return respond(request, Notice(_reason(problem), "bad"), "/health")
    text = "Subscribed to webhooks" if created else "Already subscribed to webhooks"
    return respond(request, Notice(f"{text} (subscription {subscription.id})."), "/health")


def _reason(problem: FeedzoneError) -> str:
    if isinstance(problem, ForeignSubscription):
        return (
            f"Strava sends this application's webhooks to {shown_url(problem.existing.callback_url)} "
            "and allows only one subscription. Nothing was changed. "
            "To replace it: feedzone subscription ensure --replace."
        )
    if isinstance(problem, SubscriptionRefused):
        return f"Strava rejected the subscription. {problem.remedy}"
    return f"Strava is not available: {problem}"


@post("/actions/athletes/{athlete_id:int}/sync", status_code=200)
async def sync(
    request: HttpRequest, parts: Parts, athlete_id: AthleteId, data: Annotated[SyncForm, FORM]
) -> Response[Any]:
    everything = data.history == "all"
    await parts.athletes.sync(athlete_id, everything=everything)
    days = parts.athletes.initial_sync_days
    sync_range = "the full history" if everything else f"the last {days} days"
    text = f"Syncing {sync_range} of {await _name(parts, athlete_id)}."
    return respond(request, Notice(text), local_path(data.back, "/athletes"))


@post("/actions/athletes/{athlete_id:int}/verify", status_code=200)
async def verify(
    request: HttpRequest, parts: Parts, athlete_id: AthleteId, data: Annotated[BackForm, FORM]
) -> Response[Any]:
    await parts.reconciliation.reconcile(athlete_id)
    text = f"Check of {await _name(parts, athlete_id)} queued."
    return respond(request, Notice(text), local_path(data.back, "/athletes"))


async def _name(parts: Parts, athlete_id: int) -> str:
    return str((await parts.queries.athletes.names([athlete_id])).get(athlete_id, athlete_id))


@post("/actions/athletes/{athlete_id:int}/disconnect", status_code=200)
async def disconnect(request: HttpRequest, parts: Parts, athlete_id: AthleteId) -> Response[Any]:
    await parts.athletes.disconnect(athlete_id)
    receipt = (await parts.queries.athletes.receipts(athlete_id))[0]
    rows = count(sum(receipt.counts.values()), "row")
    text = (
        f"Athlete {athlete_id} disconnected: {rows} deleted. The receipt is below. Revoking access at Strava."
    )
    response = respond(request, Notice(text), "/athletes#receipts")
    if is_fragment(request):
        response.headers["HX-Redirect"] = "/athletes#receipts"
    return response


@post("/actions/jobs/{job_id:uuid}/retry", status_code=200)
async def retry(request: HttpRequest, parts: Parts, job_id: Id) -> Response[Any]:
    await parts.dead_letters.retry(str(job_id))
    return respond(request, Notice("Job queued again."), "/failures")


@post("/actions/failures/retry", status_code=200)
async def retry_class(request: HttpRequest, parts: Parts, data: Annotated[ClassForm, FORM]) -> Response[Any]:
    revived = await parts.dead_letters.retry_all(data.error_class or None)
    cause = f' with "{CAUSES[data.error_class][0]}"' if data.error_class in CAUSES else ""
    text = f"{count(revived, 'job')}{cause} queued again."
    return respond(request, Notice(text), "/failures")


@post("/actions/jobs/{job_id:uuid}/discard", status_code=200)
async def discard(
    request: HttpRequest, parts: Parts, job_id: Id, data: Annotated[ReasonForm, FORM]
) -> Response[Any]:
    await parts.dead_letters.discard(str(job_id), data.reason)
    undo_time = duration(UNDO_FOR.total_seconds())
    text = f"Job discarded; its events keep the reason. You can undo this for {undo_time}."
    return respond(request, Notice(text, undo=f"/actions/jobs/{job_id}/restore"), "/failures")


@post("/actions/jobs/{job_id:uuid}/restore", status_code=200)
async def restore(request: HttpRequest, parts: Parts, job_id: Id) -> Response[Any]:
    if await parts.dead_letters.restore(str(job_id)):
        return respond(request, Notice("Job restored."), "/failures")
    return respond(request, Notice("It is too late to undo this.", "warn"), "/failures")


@post("/actions/conflicts/{conflict_id:uuid}/{answer:str}", status_code=200)
async def decide(request: HttpRequest, parts: Parts, conflict_id: Id, answer: FromPath[str]) -> Response[Any]:
    if answer not in ("accept", "dismiss"):
        return Redirect("/failures#questions", status_code=303)
    checked = await parts.reconciliation.resolve(str(conflict_id), accept=answer == "accept")
    text = (
        f"Checking {count(checked, 'activity', 'activities')}; those that Strava no longer has are deleted."
        if answer == "accept"
        else "Activities kept. You will not be asked about them again."
    )
    return respond(request, Notice(text), "/failures")


def actions_router() -> Router:
    return Router(
        "/",
        route_handlers=[
            subscribe,
            sync,
            verify,
            disconnect,
            retry,
            retry_class,
            discard,
            restore,
            decide,
        ],
        opt=operator(),
        include_in_schema=False,
    )
