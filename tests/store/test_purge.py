"""An athlete who leaves is gone from every table; a receipt stays that proves it, and nobody else notices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from store_makers import (
    OTHER,
    OWNER,
    Store,
    deauthorized,
    detail,
    event,
    fetched,
    retitled,
    spec,
    streams,
)

from feedzone.domain.athlete import TokenGrant
from feedzone.domain.effect import (
    AskForPhotos,
    ConfirmRevoke,
    MarkAthlete,
    OpenConflict,
    PurgeAthlete,
    RecordRejectedClaim,
    StoreGear,
    StorePhotos,
    StoreReconciliation,
)
from feedzone.domain.gear import GearListing, GearRecord
from feedzone.domain.job import Lane, RevokeHint
from feedzone.domain.outcome import Discard, Done
from feedzone.domain.quota.windows import ApiCall
from feedzone.store import athletes, events, purge
from feedzone.store.quota.call_log import CallLog
from feedzone.store.schema.tables import (
    deletion_receipts,
    jobs,
    metadata,
    rejected_claims,
    strava_activities,
    strava_athletes,
    webhook_events,
)
from feedzone.store.tokens import TokenTable
from feedzone.vault import Vault

GRANT = TokenGrant("access-canary", "refresh-canary", datetime(2026, 11, 3, 18, tzinfo=UTC))
LEFT = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
IDENTITY = {"id", "status", "status_reason", "token_generation", "connected_at", "updated_at"}
"""What the athlete's row still says after the athlete has left."""


@pytest.fixture
def tokens(store, clock):
    return TokenTable(store.database, Vault([b"k" * 32]), clock)


async def fill(store: Store, tokens: TokenTable, athlete_id: int, first: int) -> None:
    """Rows of the athlete in every table that can have them."""
    now = store.clock.now()
    await store.write(lambda c: tokens.save_exchanged(c, athlete_id, GRANT, now))
    await store.write(lambda c: athletes.begin_sync(c, athlete_id, now, now))
    await store.apply(fetched(detail(first, athlete_id)), streams(activity_id=first, athlete_id=athlete_id))
    await store.apply(fetched(detail(first, athlete_id, name="Canary")))
    await store.deliver(
        event(object_id=first + 1, owner_id=athlete_id),
        retitled("Canary two", object_id=first, owner_id=athlete_id),
    )
    await store.apply(
        StoreReconciliation(athlete_id, True, (), ()), OpenConflict(athlete_id, (first, first + 7), stored=2)
    )
    journal = CallLog(store.database, store.clock)
    journal.note(ApiCall(now, "live", athlete_id, "GET activities/{id}", 200, 200, {}, counted=True))
    await journal.flush()
    bike = GearRecord("b1", "bike", "Canary", None, None, None, None, "{}")
    await store.apply(StoreGear(GearListing(athlete_id, (bike,), ())))
    await store.apply(
        AskForPhotos(first, athlete_id, 1, Lane.RECHECK),
        StorePhotos(first, athlete_id, "present", '[{"caption":"Canary"}]'),
    )
    dead, *_ = await store.lease(limit=1)
    await store.queue.finish(dead, Discard("500"))


@pytest.fixture
async def full(store, tokens):
    await fill(store, tokens, OWNER, 100)
    await fill(store, tokens, OTHER, 200)
    return store


async def everything(store: Store, athlete_id: int) -> dict[str, list]:
    """All that any table says of the athlete."""
    found = {}
    for table in metadata.sorted_tables:
        name = next((n for n in ("athlete_id", "owner_id") if n in table.c), None)
        if table is strava_athletes:
            name = "id"
        if name is not None:
            found[table.name] = await store.rows(table, **{name: athlete_id})
    return found


async def test_the_makers_of_this_suite_fill_every_table(full):
    """Else the tests below would prove nothing about a table that is added later."""
    assert {name for name, rows in (await everything(full, OWNER)).items() if not rows} == {
        "deletion_receipts"
    }


async def test_nothing_of_who_leaves_is_left_in_any_table(full):
    """Trap 5."""
    await full.apply(LEFT)
    left = await everything(full, OWNER)
    assert {name for name, rows in left.items() if rows} == {"strava_athletes", "deletion_receipts"}
    assert "anary" not in repr(left)


async def test_of_the_athlete_the_bare_id_stays(full):
    await full.apply(LEFT)
    row = await full.row(strava_athletes, id=OWNER)
    assert {name for name, value in row._mapping.items() if value} == IDENTITY
    assert (row.status, row.status_reason) == ("deauthorized", "disconnected")


async def test_nobody_else_notices(full):
    before = await everything(full, OTHER)
    await full.apply(LEFT)
    assert await everything(full, OTHER) == before


async def test_the_receipt_says_who_why_when_how_it_is_known_and_how_much(full, clock):
    before = await everything(full, OWNER)
    clock.advance(minutes=1)
    await full.apply(LEFT)
    receipt = await full.row(deletion_receipts)
    assert (receipt.athlete_id, receipt.reason, receipt.cause) == (OWNER, "disconnected", "request")
    assert (receipt.confirmed_by, receipt.purged_at) == ("the operator", clock.now())
    expected = {name: len(rows) for name, rows in before.items()}
    # The journal keeps its rows, without the athlete.
    del expected["strava_athletes"], expected["deletion_receipts"], expected["call_log"]
    assert msgspec.json.decode(receipt.counts) == expected


async def test_a_disconnect_is_confirmed_by_strava_later(full, clock):
    await full.apply(LEFT)
    receipt = await full.row(deletion_receipts)
    assert (receipt.revoked_at, receipt.revoke_detail) == (None, None)
    clock.advance(minutes=5)
    await full.apply(ConfirmRevoke(OWNER, "revoked at Strava"))
    receipt = await full.row(deletion_receipts)
    assert (receipt.revoked_at, receipt.revoke_detail) == (clock.now(), "revoked at Strava")


async def test_the_confirmation_belongs_to_the_newest_receipt_of_that_athlete(full, clock):
    await full.apply(LEFT)
    await full.connect(OWNER)
    clock.advance(days=1)
    await full.apply(LEFT, PurgeAthlete(OTHER, "disconnected", "request", "the operator"))
    await full.apply(ConfirmRevoke(OWNER, "revoked at Strava"))
    told = {(row.athlete_id, row.purged_at): row.revoked_at for row in await full.rows(deletion_receipts)}
    assert told == {
        (OWNER, clock.now() - timedelta(days=1)): None,
        (OWNER, clock.now()): clock.now(),
        (OTHER, clock.now()): None,
    }


async def test_receipts_are_listed_newest_first(full):
    await full.apply(LEFT, PurgeAthlete(OTHER, "disconnected", "request", "the operator"))
    assert [row.athlete_id for row in await full.read(purge.receipts)] == [OTHER, OWNER]
    only = await full.read(lambda c: purge.receipts(c, OWNER))
    assert [row.athlete_id for row in only] == [OWNER]


async def run_deauthorization(store, said) -> str:
    """Deliver the event, and end its job the way the handler does once Strava has confirmed it."""
    (receipt,) = await store.deliver(said)
    for job in await store.lease(limit=99):
        if job.kind == "revoke_athlete":
            effect = PurgeAthlete(OWNER, "deauthorized", job.hint.cause, "401")
            assert await store.queue.finish(job, Done((effect,)))
    return receipt.event_id


async def test_the_event_that_said_so_stays_and_is_completed(full, clock):
    event_id = await run_deauthorization(full, deauthorized())
    told = await full.row(webhook_events, owner_id=OWNER)
    assert (told.id, told.status, told.processed_at) == (event_id, "completed", clock.now())
    assert told.event_data == deauthorized().raw
    receipt = await full.row(deletion_receipts)
    assert (receipt.cause, receipt.reason) == (f"event:{event_id}", "deauthorized")
    assert receipt.revoked_at == clock.now()  # it was Strava who said it


async def test_a_run_that_was_under_way_cannot_bring_anything_back(full):
    await full.enqueue(spec())
    under_way = [job for job in await full.lease() if job.athlete_id == OWNER]
    assert under_way
    await full.apply(LEFT)
    for job in under_way:
        assert not await full.queue.finish(job, Done((fetched(detail(job.object_id)),)))
    assert await full.rows(strava_activities, athlete_id=OWNER) == []


async def test_events_of_who_has_left_cause_nothing(full):
    await full.apply(LEFT)
    (receipt,) = await full.deliver(event(object_id=777))
    assert receipt.verdict == "ignored"
    assert await full.rows(jobs, athlete_id=OWNER) == []


async def test_no_later_finding_revives_who_has_left(full):
    await full.apply(LEFT)
    await full.apply(
        MarkAthlete(OWNER, "active", "a probe worked"), MarkAthlete(OWNER, "needs_reauth", "401")
    )
    assert (await full.row(strava_athletes, id=OWNER)).status == "deauthorized"


async def test_leaving_ends_the_token_generation(full, tokens):
    before = (await full.row(strava_athletes, id=OWNER)).token_generation
    assert await tokens.load(OWNER) is not None
    await full.apply(LEFT)
    assert await tokens.load(OWNER) is None
    assert (await full.row(strava_athletes, id=OWNER)).token_generation == before + 1


async def test_the_job_that_tells_strava_survives_with_its_sealed_token(full):
    """Pain 28: credentials are kept until the revocation is confirmed."""
    hint = RevokeHint(action="revoke", cause="request", sealed_token="v1.sealed")
    await full.apply(LEFT)
    await full.enqueue(spec(kind="revoke_athlete", key=f"athlete:{OWNER}", hint=hint))
    assert (await full.row(jobs, athlete_id=OWNER)).hint.count("v1.sealed") == 1


async def test_who_comes_back_is_connected_again_and_starts_from_nothing(full):
    await full.apply(LEFT)
    await full.connect(OWNER)
    row = await full.row(strava_athletes, id=OWNER)
    assert (row.status, row.status_reason, row.firstname) == ("active", None, "Ada")
    assert (row.initial_sync_cursor, row.last_event_at, row.refresh_token_encrypted) == (None, None, None)
    assert len(await full.rows(deletion_receipts)) == 1


async def test_who_comes_back_before_strava_was_told_is_not_revoked_any_more(full):
    """Pain 40: to end the old pair then could end the new consent, too."""
    hint = RevokeHint(action="revoke", cause="request", sealed_token="v1.sealed")
    await full.apply(LEFT)
    await full.enqueue(spec(kind="revoke_athlete", key=f"athlete:{OWNER}", hint=hint))
    await full.write(lambda c: purge.forget_revoke(c, OWNER))
    assert await full.rows(jobs, kind="revoke_athlete") == []
    receipt = await full.row(deletion_receipts)
    assert receipt.revoked_at is None
    assert "connected again" in receipt.revoke_detail


async def test_an_athlete_without_any_data_can_leave_too(store):
    await store.apply(LEFT)
    assert set(msgspec.json.decode((await store.row(deletion_receipts)).counts).values()) == {0}


async def test_who_leaves_leaves_the_sqlite_files_too_while_everything_runs_on(sqlite_database, clock):
    store = Store.over(sqlite_database, clock)
    await store.connect(OWNER)
    await store.connect(OTHER)
    await fill(store, TokenTable(sqlite_database, Vault([b"k" * 32]), clock), OWNER, 100)
    sealed = (await store.row(strava_athletes, id=OWNER)).refresh_token_encrypted
    others = PurgeAthlete(OTHER, "disconnected", "request", "the operator")
    (job, *_) = await store.lease()
    assert await store.queue.finish(job, Done((LEFT, others)))
    written = b"".join(path.read_bytes() for path in sqlite_database.path.parent.glob("feedzone.db*"))
    assert b"deletion_receipts" in written
    for canary in (b"Canary", b"Lovelace", sealed.encode()):
        assert canary not in written


async def test_a_forged_claim_is_counted_and_changes_nothing_else(full, clock):
    before = await everything(full, OWNER)
    await full.apply(
        RecordRejectedClaim("event:x", "delete"), RecordRejectedClaim("event:y", "deauthorization")
    )
    assert await everything(full, OWNER) == before
    assert await full.read(events.forged_count) == 2
    newest, _ = await full.read(lambda c: purge.forged(c, 10))
    assert (newest.claim, newest.cause, newest.noticed_at) == ("deauthorization", "event:y", clock.now())
    assert len(await full.rows(rejected_claims)) == 2
