"""An athlete with many rows leaves in small transactions: at once for everybody outside, and completely."""

from __future__ import annotations

import msgspec
import pytest
from store_makers import (
    OTHER,
    OWNER,
    Measured,
    Store,
    connecting,
    deauthorized,
    detail,
    event,
    fetched,
    retitled,
    spec,
    streams,
)

from feedzone.clock import StravaClock
from feedzone.domain.effect import PurgeAthlete
from feedzone.domain.ids import uuid7
from feedzone.domain.job import revoke_job
from feedzone.domain.outcome import Discard, Done
from feedzone.domain.quota.windows import ApiCall
from feedzone.errors import NotFound
from feedzone.queries.activities import ActivityFilter
from feedzone.queries.calendar import CalendarFilter
from feedzone.queries.read_models import read_models
from feedzone.services.erasures import apply_if_restored
from feedzone.store import batches, erasures, leaving, purge, removals
from feedzone.store.erasure_log import Erasure, ErasureLog, Mark
from feedzone.store.jobs.leaving_schedule import LeavingSchedule
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.quota.call_log import CallLog
from feedzone.store.reads import dashboard
from feedzone.store.schema.personal import ATHLETE_TABLES
from feedzone.store.schema.tables import (
    activity_changes,
    activity_streams,
    call_log,
    deletion_receipts,
    jobs,
    strava_activities,
    strava_athletes,
    webhook_events,
)
from feedzone.worker.wakeup import LocalWakeup

ACTIVITIES = range(1, 9)
AT_ONCE = 5
LEFT = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
OWN_ROWS = 6
"""The rows of the departure itself: athlete, receipt, removal, event, change and the change feed."""


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(batches, "AT_ONCE", AT_ONCE)


@pytest.fixture
async def full(store: Store) -> Store:
    """Two athletes with activities, streams, changes, events and jobs."""
    for athlete_id, first in ((OWNER, 0), (OTHER, 100)):
        for number in ACTIVITIES:
            ids = {"activity_id": first + number, "athlete_id": athlete_id}
            await store.apply(fetched(detail(**ids)), streams(**ids))
            await store.deliver(retitled("Canary", object_id=first + number, owner_id=athlete_id))
    return store


async def rows_of(store: Store, athlete_id: int) -> int:
    """Return how many rows a departure of the athlete removes."""
    return sum((await store.read(lambda c: dashboard.rows_by_table(c, athlete_id))).values())


def schedule(store: Store) -> LeavingSchedule:
    return LeavingSchedule(store.database, store.clock, LocalWakeup(), days=7)


async def test_no_transaction_of_a_departure_touches_many_rows(full, clock):
    before = await full.read(lambda c: dashboard.rows_by_table(c, OWNER))
    others = await rows_of(full, OTHER)
    measured = Measured(full.database)
    await measured.write(lambda c: purge.purge(c, LEFT, clock.now()))
    await removals.complete(measured, clock.now())
    assert max(measured.rows) <= AT_ONCE + OWN_ROWS
    assert len(measured.rows) >= sum(before.values()) // AT_ONCE
    assert (await rows_of(full, OWNER), await rows_of(full, OTHER)) == (1, others)  # the departure itself
    assert msgspec.json.decode((await full.row(deletion_receipts)).counts) == before
    (change,) = await full.rows(activity_changes, athlete_id=OWNER)
    assert (change.kind, change.old_value, change.new_value) == ("left", '"active"', '"deauthorized"')


async def test_the_end_of_a_deauthorization_removes_everything_in_small_transactions(full, clock):
    measured = Measured(full.database)
    worker = Store.over(measured, clock)
    await full.enqueue(spec(700))
    (job,) = [job for job in await worker.lease(limit=99) if job.object_id == 700]
    measured.rows.clear()
    assert await worker.queue.finish(job, Done((LEFT,)))
    assert max(measured.rows) <= AT_ONCE + OWN_ROWS
    assert await rows_of(full, OWNER) == 1


async def test_a_deadline_removes_everything_in_small_transactions(full, clock):
    past = {"status": "leaving", "leaves_at": clock.now(), "leaving_cause": "refused"}
    await full.write(
        lambda c: c.execute(strava_athletes.update().where(strava_athletes.c.id == OWNER).values(past))
    )
    await full.deliver(deauthorized())
    measured = Measured(full.database)
    assert await LeavingSchedule(measured, clock, LocalWakeup(), days=7).run() == 1
    assert max(measured.rows) <= AT_ONCE + OWN_ROWS
    (job,) = await full.rows(jobs, athlete_id=OWNER)
    assert (job.kind, '"revoke"' in job.hint) == (
        "revoke_athlete",
        True,
    )  # not the one that confirms the event
    assert await rows_of(full, OWNER) == 2  # the job that revokes the tokens, and the departure
    assert await full.read(lambda c: leaving.due(c, clock.now(), 9)) == []


@pytest.mark.parametrize("steps", [0, 1, 4, 6])
async def test_a_departure_that_a_crash_interrupts_goes_on_with_the_next_process(full, clock, steps):
    expected = await full.read(lambda c: dashboard.rows_by_table(c, OWNER))
    await full.apply(LEFT)
    for _ in range(steps):
        assert await full.write(lambda c: removals.step(c, clock.now()))
    assert await rows_of(full, OWNER) > 1
    assert await full.read(lambda c: purge.receipts(c)) == []  # a receipt proves that nothing is left
    clock.advance(days=1)
    assert await schedule(full).run() == 1
    assert await rows_of(full, OWNER) == 1
    (receipt,) = await full.read(lambda c: purge.receipts(c, OWNER))
    assert msgspec.json.decode(receipt.counts) == expected
    assert await schedule(full).run() == 0


async def test_nobody_can_read_what_is_not_removed_yet(full, clock):
    await full.apply(LEFT)
    left = {table: await full.rows(table, athlete_id=OWNER) for table in ATHLETE_TABLES}
    activity = left[strava_activities][0].id
    assert left[activity_streams]
    assert left[activity_changes]
    assert await full.rows(webhook_events, owner_id=OWNER)
    queries = read_models(full.database, clock, BudgetTable(full.database, StravaClock(clock)))
    page = await queries.activities.page(ActivityFilter())
    assert {item.athlete_id for item in page.items} == {OTHER}
    assert {item.athlete_id for item in (await queries.activities.changes()).items} == {OTHER}
    assert {item.owner_id for item in (await queries.events.page()).items} == {OTHER}
    for read in (queries.activities.get, queries.activities.streams, queries.activities.photos):
        with pytest.raises(NotFound):
            await read(activity)
    assert await queries.activity_history.get(activity) is None
    diary = await queries.calendar.get(OWNER, CalendarFilter(), clock.now().date())
    assert "Canary" not in repr(diary)
    export = [part async for part in queries.export.pieces(OWNER)]
    assert b"Canary" not in b"".join(content for _, content in export)
    assert not [name for name, _ in export if name.startswith("activities/")]


async def test_events_and_jobs_of_an_interrupted_departure_restore_nothing(full, clock):
    await full.enqueue(spec(1))
    running = [job for job in await full.lease(limit=99) if job.athlete_id == OWNER]
    await full.apply(LEFT)
    for job in running:
        await full.queue.finish(job, Done((fetched(detail(job.object_id)),)))
    (receipt,) = await full.deliver(event(object_id=777))
    assert receipt.verdict == "unknown_owner"
    await removals.complete(full.database, clock.now())
    assert await rows_of(full, OWNER) == 1
    row = await full.row(strava_athletes, id=OWNER)
    assert (row.status, row.last_synced_at, row.firstname) == ("deauthorized", None, None)


async def test_a_new_consent_waits_until_the_old_rows_are_gone_and_keeps_its_own(full, clock):
    await full.apply(LEFT)
    clock.advance(seconds=1)
    await connecting(full.database, clock).connect("code", "read,activity:read")
    assert await full.rows(strava_activities, athlete_id=OWNER) == []
    await full.apply(fetched(detail(1)))
    assert await schedule(full).run() == 0
    assert len(await full.rows(strava_activities, athlete_id=OWNER)) == 1
    assert (await full.row(strava_athletes, id=OWNER)).status == "active"
    assert len(await full.read(purge.receipts)) == 1


async def test_a_revocation_from_before_the_departure_goes_with_its_tokens(full):
    await full.enqueue(revoke_job(OWNER, "v1.12345678.x"))
    for job in await full.lease(100):
        await full.queue.finish(job, Discard("refused"))
    assert await full.rows(jobs, kind="revoke_athlete", state="dead")
    await full.apply(LEFT)
    await removals.complete(full.database, full.clock.now())
    assert await full.rows(jobs, kind="revoke_athlete") == []


async def test_calls_lose_the_name_of_the_athlete_in_small_transactions(full, clock):
    calls = CallLog(full.database, clock)
    for _ in range(3 * AT_ONCE):
        sent = ApiCall(clock.now(), "live", OWNER, "GET activities/{id}", 200, 200, {}, counted=True)
        calls.note(msgspec.structs.replace(sent, activity_id=5))
    await calls.flush()
    measured = Measured(full.database)
    await full.apply(LEFT)
    await removals.complete(measured, clock.now())
    assert max(measured.rows) <= AT_ONCE + OWN_ROWS
    assert {(call.athlete_id, call.activity_id) for call in await full.rows(call_log)} == {(None, None)}


async def test_a_departure_that_a_restored_backup_undid_is_applied_completely(full, clock, tmp_path):
    """The backup has the whole athlete; the log of erasures knows that they left."""
    name = (await full.write(erasures.identity)).database
    gone = Erasure(name, uuid7(1), clock.now(), OWNER, reason="disconnected", cause="request", counts="{}")
    ErasureLog(tmp_path).append([gone, Mark(name, 5, clock.now())])
    done = await apply_if_restored(full.database, tmp_path, 30, clock.now())
    assert done is not None
    assert done.athletes_removed == 1
    assert await full.rows(strava_activities, athlete_id=OWNER) == []
    assert len(await full.rows(strava_activities, athlete_id=OTHER)) == len(ACTIVITIES)
    assert await full.rows(removals.removals) == []
