"""A purge deletes an athlete's rows from every table, keeps a receipt, and affects no other athlete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import MetaData, Table, text
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
from structlog.testing import capture_logs

from feedzone.domain.athlete import TokenGrant
from feedzone.domain.effect import (
    AskForPhotos,
    ConfirmRevoke,
    CountFruitless,
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
from feedzone.store import athletes, events, purge, unknown_owners
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.quota import allowances
from feedzone.store.quota.call_log import CallLog
from feedzone.store.schema import personal, upgrade
from feedzone.store.schema.personal import ACTIVITY_TABLES, TOUCHED
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
"""The columns of the athlete's row that keep a value after the purge."""


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
    calls = CallLog(store.database, store.clock)
    calls.note(ApiCall(now, "live", athlete_id, "GET activities/{id}", 200, 200, {}, counted=True))
    await calls.flush()
    bike = GearRecord("b1", "bike", "Canary", None, None, None, None, "{}")
    await store.apply(StoreGear(GearListing(athlete_id, (bike,), ())))
    await store.apply(
        AskForPhotos(first, athlete_id, 1, Lane.RECHECK),
        StorePhotos(first, athlete_id, "present", '[{"caption":"Canary"}]'),
    )
    await store.write(lambda c: allowances.charge(c, athlete_id, 1, now))
    await store.fill(ACTIVITY_TABLES, activity_id=first, athlete_id=athlete_id)
    await store.apply(CountFruitless(athlete_id))
    await store.write(lambda c: unknown_owners.add(c, {athlete_id: 1}, now))
    dead, *_ = await store.lease(limit=1)
    await store.queue.finish(dead, Discard("500"))


@pytest.fixture
async def full(store, tokens):
    await fill(store, tokens, OWNER, 100)
    await fill(store, tokens, OTHER, 200)
    return store


async def everything(store: Store, athlete_id: int) -> dict[str, list]:
    """Return all rows of the athlete, by table."""
    rows_by_table = {}
    for table in metadata.sorted_tables:
        name = next((n for n in ("athlete_id", "owner_id") if n in table.c), None)
        if table is strava_athletes:
            name = "id"
        if name is not None:
            rows_by_table[table.name] = await store.rows(table, **{name: athlete_id})
    return rows_by_table


async def test_the_fixture_fills_every_table(full):
    """Otherwise the tests below would not cover a table that is added later."""
    assert {name for name, rows in (await everything(full, OWNER)).items() if not rows} == {
        "deletion_receipts",
        "removals",
    }


async def test_a_disconnected_athlete_has_no_rows_in_any_table(full):
    await full.apply(LEFT)
    left = await everything(full, OWNER)
    assert {name for name, rows in left.items() if rows} == {
        "strava_athletes",
        "deletion_receipts",
        "activity_changes",
        "athlete_allowances",
    }
    assert [change.kind for change in left["activity_changes"]] == ["left"]  # for readers of the feed
    assert "anary" not in repr(left)


async def test_only_the_id_of_the_athlete_stays(full):
    await full.apply(LEFT)
    row = await full.row(strava_athletes, id=OWNER)
    assert {name for name, value in row._mapping.items() if value} == IDENTITY
    assert (row.status, row.status_reason) == ("deauthorized", "disconnected")


async def test_other_athletes_are_not_affected(full):
    before = await everything(full, OTHER)
    await full.apply(LEFT)
    assert await everything(full, OTHER) == before


async def test_the_receipt_has_athlete_reason_confirmation_time_and_row_counts(full, clock):
    before = await everything(full, OWNER)
    clock.advance(minutes=1)
    await full.apply(LEFT)
    receipt = await full.row(deletion_receipts)
    assert (receipt.athlete_id, receipt.reason, receipt.cause) == (OWNER, "disconnected", "request")
    assert (receipt.confirmed_by, receipt.purged_at) == ("the operator", clock.now())
    expected = {name: len(rows) for name, rows in before.items()}
    # The call log keeps its rows, without the athlete.
    del expected["strava_athletes"], expected["deletion_receipts"], expected["call_log"]
    del expected["athlete_allowances"], expected["removals"]
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
    recorded = {(row.athlete_id, row.purged_at): row.revoked_at for row in await full.rows(deletion_receipts)}
    assert recorded == {
        (OWNER, clock.now() - timedelta(days=1)): None,
        (OWNER, clock.now()): clock.now(),
        (OTHER, clock.now()): None,
    }


async def test_receipts_are_listed_newest_first(full):
    await full.apply(LEFT, PurgeAthlete(OTHER, "disconnected", "request", "the operator"))
    assert [row.athlete_id for row in await full.read(purge.receipts)] == [OTHER, OWNER]
    only = await full.read(lambda c: purge.receipts(c, OWNER))
    assert [row.athlete_id for row in only] == [OWNER]


async def run_deauthorization(store, claim) -> str:
    """Deliver the event, and end its job as the handler does after Strava has confirmed it."""
    (receipt,) = await store.deliver(claim)
    for job in await store.lease(limit=99):
        if job.kind == "revoke_athlete":
            effect = PurgeAthlete(OWNER, "deauthorized", job.hint.cause, "401")
            assert await store.queue.finish(job, Done((effect,)))
    return receipt.event_id


async def test_the_deauthorization_event_stays_and_is_completed(full, clock):
    event_id = await run_deauthorization(full, deauthorized())
    recorded = await full.row(webhook_events, owner_id=OWNER)
    assert (recorded.id, recorded.status, recorded.processed_at) == (event_id, "completed", clock.now())
    assert recorded.event_data == deauthorized().raw
    receipt = await full.row(deletion_receipts)
    assert (receipt.cause, receipt.reason) == (f"event:{event_id}", "deauthorized")
    assert receipt.revoked_at == clock.now()  # Strava itself confirmed it


async def test_a_running_job_cannot_restore_data(full):
    await full.enqueue(spec())
    under_way = [job for job in await full.lease() if job.athlete_id == OWNER]
    assert under_way
    await full.apply(LEFT)
    for job in under_way:
        assert not await full.queue.finish(job, Done((fetched(detail(job.object_id)),)))
    assert await full.rows(strava_activities, athlete_id=OWNER) == []


async def test_events_of_a_disconnected_athlete_are_ignored(full):
    await full.apply(LEFT)
    (receipt,) = await full.deliver(event(object_id=777))
    assert receipt.verdict == "unknown_owner"
    assert await full.rows(webhook_events, owner_id=OWNER) == []
    assert await full.rows(jobs, athlete_id=OWNER) == []


async def test_a_later_status_does_not_reconnect_the_athlete(full):
    await full.apply(LEFT)
    await full.apply(
        MarkAthlete(OWNER, "active", "a probe worked"), MarkAthlete(OWNER, "needs_reauth", "401")
    )
    assert (await full.row(strava_athletes, id=OWNER)).status == "deauthorized"


async def test_disconnecting_ends_the_token_generation(full, tokens):
    before = (await full.row(strava_athletes, id=OWNER)).token_generation
    assert await tokens.load(OWNER) is not None
    await full.apply(LEFT)
    assert await tokens.load(OWNER) is None
    assert (await full.row(strava_athletes, id=OWNER)).token_generation == before + 1


async def test_the_revocation_job_survives_with_its_encrypted_token(full):
    """The credentials are needed until Strava confirms the revocation."""
    hint = RevokeHint(action="revoke", cause="request", sealed_token="v1.sealed")
    await full.apply(LEFT)
    await full.enqueue(spec(kind="revoke_athlete", key=f"athlete:{OWNER}", hint=hint))
    assert (await full.row(jobs, athlete_id=OWNER)).hint.count("v1.sealed") == 1


async def test_an_athlete_can_connect_again_and_starts_from_scratch(full):
    await full.apply(LEFT)
    await full.connect(OWNER)
    row = await full.row(strava_athletes, id=OWNER)
    assert (row.status, row.status_reason, row.firstname) == ("active", None, "Ada")
    assert (row.initial_sync_cursor, row.last_event_at, row.refresh_token_encrypted) == (None, None, None)
    assert len(await full.rows(deletion_receipts)) == 1


async def test_connecting_again_cancels_a_pending_revocation(full):
    """Revoking the old pair could end the new consent."""
    hint = RevokeHint(action="revoke", cause="request", sealed_token="v1.sealed")
    await full.apply(LEFT)
    await full.enqueue(spec(kind="revoke_athlete", key=f"athlete:{OWNER}", hint=hint))
    await full.write(lambda c: purge.cancel_revoke(c, OWNER))
    assert await full.rows(jobs, kind="revoke_athlete") == []
    receipt = await full.row(deletion_receipts)
    assert receipt.revoked_at is None
    assert "connected again" in receipt.revoke_detail


async def test_an_athlete_without_data_can_disconnect(store):
    await store.apply(LEFT)
    assert set(msgspec.json.decode((await store.row(deletion_receipts)).counts).values()) == {0}


async def test_a_purge_also_removes_the_data_from_the_sqlite_files_of_a_running_process(
    sqlite_database, clock
):
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


VACUUMED = text("SELECT relname FROM pg_stat_user_tables WHERE vacuum_count > 0")


async def test_after_a_purge_postgresql_vacuums_the_touched_tables(new_postgres, clock):
    url = new_postgres()
    database = PostgresDatabase(url)
    upgrade.prepare(database)
    store = Store.over(database, clock)
    await store.connect(OWNER)
    await fill(store, TokenTable(database, Vault([b"k" * 32]), clock), OWNER, 100)
    (job, *_) = await store.lease()
    assert await store.queue.finish(job, Done((LEFT,)))
    await database.close()
    reopened = PostgresDatabase(url)
    vacuumed = set(await reopened.read(lambda c: c.execute(VACUUMED).scalars().all()))
    await reopened.close()
    assert vacuumed == {table.name for table in TOUCHED}
    assert {"strava_activities", "activity_streams", "webhook_events", "strava_athletes"} <= vacuumed


async def test_a_vacuum_that_fails_is_a_log_line_and_no_failure(postgres_store, monkeypatch):
    monkeypatch.setattr(personal, "TOUCHED", (Table("no_such_table", MetaData()),))
    with capture_logs() as lines:
        await postgres_store.database.erase_deleted()
        await postgres_store.database._vacuum.finish()
    assert [(line["event"], line["log_level"]) for line in lines] == [("vacuum_failed", "warning")]


async def test_a_forged_claim_is_counted_and_changes_nothing_else(full, clock):
    before = await everything(full, OWNER)
    await full.apply(
        RecordRejectedClaim("event:x", "delete"), RecordRejectedClaim("event:y", "deauthorization")
    )
    assert await everything(full, OWNER) == before
    assert await full.read(events.rejected_count) == 2
    newest, _ = await full.read(lambda c: purge.list_rejected(c, 10))
    assert (newest.claim, newest.cause, newest.noticed_at) == ("deauthorization", "event:y", clock.now())
    assert len(await full.rows(rejected_claims)) == 2
