"""Webhook events, jobs and dead letters."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from litestar import get, post
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta, Struct

from ...domain.event import EventStatus
from ...errors import InvalidInput
from ...queries.events import EventPage
from ...queries.jobs import JobPage, JobState, JobStory
from ..context import Parts
from .parameters import LIST, ONE, Accepted, Cursor, Limit

JobId = Annotated[UUID, PathParameter(description="the id of a job")]
DeadLetterId = Annotated[UUID, PathParameter(description="the id of a dead letter")]
Status = Annotated[EventStatus | None, QueryParameter(description="only events in this status")]
# `state` is a reserved word of Litestar: as an argument it would be the application's state.
State = Annotated[JobState | None, QueryParameter(name="state", description="only jobs in this state")]


class DiscardRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the dead letter is discarded; stored with its events."""

    reason: Annotated[str, Meta(min_length=1, max_length=1000)]


class RetryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters: those of one `error_class`, or all."""

    error_class: Annotated[str, Meta(max_length=32)] | None = None


class Requeued(Struct, frozen=True):
    """The number of dead letters that will run again."""

    jobs: int


class Discarded(Struct, frozen=True):
    """The dead letter is discarded."""

    status: Literal["discarded"] = "discarded"


@get("/events", responses=LIST, summary="Webhook events, newest first")
async def list_events(
    parts: Parts, status: Status = None, limit: Limit = 50, cursor: Cursor = None
) -> EventPage:
    return await parts.queries.events.page(status, cursor, limit)


@get("/jobs", responses=LIST, summary="Jobs, oldest first; state=dead lists the dead letters")
async def list_jobs(parts: Parts, state_: State = None, limit: Limit = 50, cursor: Cursor = None) -> JobPage:
    return await parts.queries.jobs.page(state_, cursor, limit)


@get("/jobs/{job_id:uuid}", responses=ONE, summary="One job, with its failed attempts")
async def get_job(parts: Parts, job_id: JobId) -> JobStory:
    return await parts.queries.jobs.get(str(job_id))


@post("/jobs/{job_id:uuid}/retry", status_code=202, responses=ONE, summary="Run a dead letter again")
async def retry_job(parts: Parts, job_id: DeadLetterId) -> Accepted:
    await parts.dead_letters.retry(str(job_id))
    return Accepted()


@post("/jobs/retry", status_code=202, responses=LIST, summary="Run all dead letters of a class again")
async def retry_class(parts: Parts, data: JSONBody[RetryRequest]) -> Requeued:
    return Requeued(await parts.dead_letters.retry_all(data.error_class))


@post("/jobs/{job_id:uuid}/discard", status_code=200, responses=ONE, summary="Discard a dead letter")
async def discard_job(
    parts: Parts, job_id: DeadLetterId, data: JSONBody[DiscardRequest | None] = None
) -> Discarded:
    if data is None:
        raise InvalidInput('takes a body that says why: {"reason": "..."}')
    await parts.dead_letters.discard(str(job_id), data.reason)
    return Discarded()


HANDLERS = [list_events, list_jobs, get_job, retry_job, retry_class, discard_job]
