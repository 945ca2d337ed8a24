"""An athlete who may have left keeps all data until a deadline, unless they connect again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from store_makers import ACTIVITY, OTHER, OWNER, deauthorized, detail, fetched, streams

from feedzone.domain.athlete import TokenGrant
from feedzone.domain.effect import BeginLeaving, MarkAthlete, PurgeAthlete
from feedzone.domain.job import RevokeHint
from feedzone.domain.outcome import Done
from feedzone.store import athletes
from feedzone.store.handler_reads import SqlHandlerReads
from feedzone.store.jobs.leaving_schedule import LeavingSchedule
from feedzone.store.quota.breaker import Breaker
from feedzone.store.schema.tables import (
    activity_changes,
    deletion_receipts,
    jobs,
    strava_activities,
    strava_athletes,
)
from feedzone.store.tokens import TokenTable
from feedzone.vault import Vault
from feedzone.worker.wakeup import LocalWakeup

GRANT = TokenGrant("access", "refresh", datetime(2026, 11, 3, 18, tzinfo=UTC))


@pytest.fixture
def tokens(store, clock):
    return TokenTable(store.database, Vault([b"k" * 32]), clock)


@pytest.fixture
async def refused(store, tokens, clock):
    """A store whose OWNER has an activity, and tokens that Strava refuses since now."""
    now = clock.now()
    await store.write(lambda c: tokens.save_exchanged(c, OWNER, GRANT, now))
    await store.apply(fetched(detail()), streams())
    assert await tokens.mark(OWNER, 1, "needs_reauth", "refused")
    return store


def schedule(store, days=7):
    return LeavingSchedule(store.database, store.clock, LocalWakeup(), days=days)


async def owner(store):
    return await store.row(strava_athletes, id=OWNER)


async def hearsay(store, days=7):
    consent = (await owner(store)).connected_at
    until = store.clock.now() + timedelta(days=days)
    await store.apply(BeginLeaving(OWNER, "event:x", until, consent))


async def test_hearsay_deletes_nothing_and_sets_a_deadline(refused, clock):
    await hearsay(refused)
    row = await owner(refused)
    assert (row.status, row.leaves_at, row.leaving_cause) == (
        "leaving",
        clock.now() + timedelta(days=7),
        "event:x",
    )
    assert (await refused.row(strava_activities)).name == "Morning Ride"
    assert await refused.rows(deletion_receipts) == []


async def test_more_hearsay_moves_no_deadline(refused, clock):
    await hearsay(refused)
    first = (await owner(refused)).leaves_at
    clock.advance(days=3)
    await hearsay(refused, days=1)
    assert (await owner(refused)).leaves_at == first


@pytest.mark.parametrize("status", ["active", "needs_scope"])
async def test_hearsay_about_an_athlete_whose_tokens_work_sets_no_deadline(store, status):
    await store.apply(MarkAthlete(OWNER, status, "x"))
    await hearsay(store)
    assert (await owner(store)).status == status


async def test_at_the_deadline_the_data_is_deleted_with_a_receipt_and_the_tokens_are_revoked(refused, clock):
    await hearsay(refused)
    clock.advance(days=7, seconds=-1)
    assert await schedule(refused).run() == 0
    assert (await refused.row(strava_activities)).name == "Morning Ride"
    clock.advance(seconds=1)
    assert await schedule(refused).run() == 1
    row, receipt = await owner(refused), await refused.row(deletion_receipts)
    assert (row.status, row.leaves_at, row.leaving_cause, row.refused_at) == (
        "deauthorized",
        None,
        None,
        None,
    )
    assert await refused.rows(strava_activities) == []
    assert (receipt.reason, receipt.cause, receipt.revoked_at) == ("expired", "event:x", None)
    assert "deadline" in receipt.confirmed_by
    job = await refused.lease_one()
    assert isinstance(job.hint, RevokeHint)
    assert (job.hint.action, job.hint.sealed_token is not None) == ("revoke", True)
    (*_, left) = await refused.rows(activity_changes)
    assert (left.kind, left.athlete_id, left.cause) == ("left", OWNER, "event:x")
    assert await schedule(refused).run() == 0


async def test_a_new_consent_ends_the_deadline(refused, clock):
    await hearsay(refused)
    await refused.connect(OWNER)
    row = await owner(refused)
    assert (row.status, row.leaves_at, row.refused_at, row.leaving_cause) == ("active", None, None, None)
    clock.advance(days=8)
    assert await schedule(refused).run() == 0
    assert (await refused.row(strava_activities)).id == ACTIVITY


async def test_tokens_that_strava_accepts_again_end_the_deadline(refused, tokens):
    await hearsay(refused)
    assert await tokens.save_rotated(OWNER, 1, GRANT)
    row = await owner(refused)
    assert (row.status, row.leaves_at, row.refused_at) == ("active", None, None)


@pytest.mark.parametrize("days", [1, 7, 30])
async def test_refused_tokens_begin_a_deadline_that_ends_after_thirty_days(refused, clock, days):
    """The event of the departure may have been lost: nobody's data stays for ever."""
    clock.advance(days=30 - days, seconds=-1)
    assert await schedule(refused, days).run() == 0
    clock.advance(seconds=1)
    assert await schedule(refused, days).run() == 1
    row = await owner(refused)
    assert (row.status, row.leaving_cause) == ("leaving", "refused")
    assert row.leaves_at == row.refused_at + timedelta(days=30)
    clock.advance(days=days)
    assert await schedule(refused, days).run() == 1
    assert (await owner(refused)).status == "deauthorized"


async def test_a_second_refusal_does_not_begin_the_thirty_days_again(refused, tokens, clock):
    first = (await owner(refused)).refused_at
    clock.advance(days=5)
    await tokens.mark(OWNER, 1, "needs_reauth", "refused again")
    assert (await owner(refused)).refused_at == first


async def test_an_athlete_who_was_refused_while_nothing_ran_still_gets_the_notice(refused, clock):
    clock.advance(days=90)
    assert await schedule(refused).run() == 1
    assert (await owner(refused)).leaves_at == clock.now() + timedelta(days=7)
    assert (await refused.row(strava_activities)).id == ACTIVITY


async def test_a_lost_key_begins_the_deadline_too(store, clock):
    """No refusal is known, but no token works either."""
    await store.apply(MarkAthlete(OWNER, "needs_reauth", "the key was lost"))
    clock.advance(days=24)
    await schedule(store).run()
    assert (await owner(store)).status == "leaving"


async def test_no_deadline_passes_while_strava_fails(refused, clock):
    """Nobody could connect again."""
    await hearsay(refused)
    breaker = Breaker(refused.database, clock)
    await breaker.fail("503")
    clock.advance(days=8)
    assert await schedule(refused).run() == 0
    await breaker.close()
    assert await schedule(refused).run() == 1


async def test_other_athletes_and_states_have_no_deadline(refused, clock):
    await refused.apply(MarkAthlete(OTHER, "needs_scope", "x"))
    clock.advance(days=400)
    await schedule(refused).run()
    assert (await refused.row(strava_athletes, id=OTHER)).status == "needs_scope"


@pytest.mark.parametrize("status", ["active", "needs_scope", "needs_reauth"])
async def test_no_job_ends_the_deadline_by_marking_the_athlete(refused, tokens, status):
    await hearsay(refused)
    await refused.apply(MarkAthlete(OWNER, status, "x"))
    await tokens.mark(OWNER, 1, status, "x")
    assert (await owner(refused)).status == "leaving"


async def test_handlers_read_the_state_of_the_access(refused, tokens, clock):
    reads = SqlHandlerReads(refused.database)
    access = await reads.access(OWNER)
    assert access is not None
    assert (access.status, access.refused_at, access.uncertain) == ("needs_reauth", clock.now(), False)
    assert (access.is_doubtful, access.refused_since(clock.now())) == (True, True)
    assert not access.refused_since(clock.now() + timedelta(seconds=1))
    await refused.write(
        lambda c: c.execute(strava_athletes.update().values(refresh_uncertain_at=clock.now()))
    )
    assert (await reads.access(OWNER)).uncertain
    assert await reads.access(999) is None


async def test_a_purge_ends_only_the_consent_that_it_is_about(store, clock):
    """Strava refused the old pair, and the athlete connected again before the purge committed."""
    consent = (await owner(store)).connected_at
    await store.deliver(deauthorized())
    job = await store.lease_one()
    clock.advance(seconds=1)
    await store.connect(OWNER)
    purge = PurgeAthlete(OWNER, "deauthorized", job.hint.cause, "refused", consent)
    assert await store.queue.finish(job, Done((purge,)))
    assert (await owner(store)).status == "active"
    assert await store.rows(deletion_receipts) == []
    assert await store.rows(jobs) == []


async def test_nobody_is_purged_twice(store):
    purge = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
    await store.apply(purge)
    await store.apply(msgspec.structs.replace(purge, cause="event:x", reason="deauthorized"))
    assert (await store.row(deletion_receipts)).reason == "disconnected"


async def test_the_next_deadline_is_a_sign_of_health(refused, clock):
    from feedzone.store.reads import health

    assert (await refused.read(lambda c: health.signs(c, clock.now()))).leaves_at is None
    await hearsay(refused)
    signs = await refused.read(lambda c: health.signs(c, clock.now()))
    assert signs.leaves_at == clock.now() + timedelta(days=7)
    assert (await refused.read(athletes.counts))["leaving"] == 1
