"""The erasure log remembers what was deleted, and deletes it again when a backup was restored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, update
from store_makers import (
    ACTIVITY,
    OTHER,
    OWNER,
    Store,
    deauthorized,
    detail,
    event,
    fetched,
    retitled,
    streams,
)

from feedzone.domain.effect import PurgeAthlete, Tombstone
from feedzone.domain.job import decode_hint, revoke_job
from feedzone.queries.paging import first_id
from feedzone.services import erasures as services
from feedzone.services.erasures import ErasureService, apply_if_restored
from feedzone.store import erasure_log
from feedzone.store.erasure_log import FILE, Erasure, ErasureLog, Mark
from feedzone.store.schema.tables import (
    activity_changes,
    deletion_receipts,
    jobs,
    metadata,
    strava_activities,
    strava_athletes,
    webhook_events,
)

DAYS = 30
STAYS, THEIRS = ACTIVITY + 1, ACTIVITY + 2
LEFT = PurgeAthlete(OTHER, "disconnected", "request", "the operator")
GONE = Tombstone(ACTIVITY, OWNER, "request")

Rows = dict[str, list[dict[str, Any]]]


async def backup(store: Store) -> Rows:
    return {
        table.name: [dict(row._mapping) for row in await store.rows(table)]
        for table in metadata.sorted_tables
    }


async def restore(store: Store, rows: Rows) -> None:
    def body(connection: Any) -> None:
        for table in metadata.sorted_tables:
            connection.execute(delete(table))
            if rows[table.name]:
                connection.execute(table.insert(), rows[table.name])

    await store.write(body)


@pytest.fixture
async def full(store, clock, tmp_path):
    """Two athletes with activities; the log has begun."""
    await store.apply(fetched(detail()), streams(), fetched(detail(STAYS)), fetched(detail(THEIRS, OTHER)))
    await store.deliver(retitled("Canary"))
    store.home, store.log = tmp_path, ErasureLog(tmp_path)
    store.service = ErasureService(store.database, tmp_path, clock, DAYS)
    await store.service.record()
    clock.advance(minutes=1)
    return store


async def applied(store: Store, **options: Any):
    return await apply_if_restored(store.database, store.home, DAYS, store.clock.now(), **options)


async def erase(store: Store) -> None:
    await store.apply(GONE, LEFT)
    assert await store.service.record() == 2
    store.clock.advance(minutes=1)


async def test_each_erasure_is_written_once_and_without_words(full):
    await erase(full)
    assert await full.service.record() == 0
    again = ErasureService(full.database, full.home, full.clock, DAYS)
    assert await again.record() == 0
    text = (full.home / FILE).read_text()
    entries = [msgspec.json.decode(line) for line in text.splitlines()]
    activities = [entry for entry in entries if "activity" in entry]
    assert [(entry["activity"], entry["athlete"]) for entry in activities] == [(ACTIVITY, OWNER)]
    assert not any(word in text for word in ("Canary", "Ride", "Ada", "Lovelace"))
    assert (full.home / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_erasure_that_commits_after_later_ones_is_written_too(full, restarted):
    await erase(full)
    begun = full.clock.now() - timedelta(minutes=5)
    late = {"id": first_id(begun), "activity_id": STAYS}
    change = {**(await full.row(activity_changes, kind="deleted"))._mapping, **late}
    await full.write(lambda c: c.execute(activity_changes.insert(), change))
    service = ErasureService(full.database, full.home, full.clock, DAYS) if restarted else full.service
    assert await service.record() == 1


async def test_many_erasures_are_written_page_by_page(full, monkeypatch):
    monkeypatch.setattr(services, "MOST", 1)
    await full.apply(GONE, Tombstone(STAYS, OWNER, "request"), LEFT)
    assert await full.service.record() == 3


async def test_without_a_commit_nothing_is_read_again(full, monkeypatch):
    """Each process asks every other second, and most of the time nothing was deleted."""
    reads, versions = [], iter("1122")

    def counted(read):
        return lambda *parameters: reads.append(read) or read(*parameters)

    async def next_version():
        return next(versions)

    monkeypatch.setattr(full.database, "data_version", next_version)
    monkeypatch.setattr(services, "READS", tuple(counted(read) for read in services.READS))
    service = ErasureService(full.database, full.home, full.clock, DAYS)
    await service.record()
    await full.apply(GONE, LEFT)
    before = len(reads)
    assert await service.record() == 0
    assert len(reads) == before
    assert await service.record() == 2
    full.clock.advance(hours=1)
    assert await service.record() == 0
    assert len(reads) == before + 2
    assert ErasureLog(full.home).read(service._name).generation >= 3, "the hourly mark needs no commit"


async def test_a_restored_backup_loses_again_what_had_been_deleted(full):
    before = await backup(full)
    await erase(full)
    receipt = await full.row(deletion_receipts)
    await restore(full, before)
    done = await applied(full)
    assert done is not None
    assert tuple(done) == (1, 1, 1)
    assert (await full.row(strava_athletes, id=OTHER)).status == "deauthorized"
    assert await full.rows(strava_activities, athlete_id=OTHER) == []
    alive = [row.id for row in await full.rows(strava_activities) if row.deleted_at is None]
    assert alive == [STAYS]
    assert "Canary" not in repr(await full.rows(webhook_events))
    kept = next(row for row in await full.rows(deletion_receipts) if row.id == receipt.id)
    assert (kept.purged_at, kept.counts) == (receipt.purged_at, receipt.counts)
    assert await applied(full) is None


async def test_everything_that_is_left_is_compared_and_every_token_is_refreshed(full):
    before = await backup(full)
    await erase(full)
    await restore(full, before)
    await applied(full)
    (comparison,) = await full.rows(jobs, kind="reconcile_athlete")
    hint = decode_hint(comparison.hint)
    assert (comparison.athlete_id, hint.full, hint.to_end) == (OWNER, True, True)
    rows = await full.rows(strava_athletes)
    assert {row.token_expires_at for row in rows if row.refresh_token_encrypted} <= {full.clock.now()}


async def test_a_database_that_is_as_new_as_its_log_stays_as_it_is(full):
    await erase(full)
    before = await backup(full)
    assert await applied(full) is None
    assert await backup(full) == before


async def test_a_backup_is_recognized_even_if_nothing_was_deleted_since(full):
    before = await backup(full)
    full.clock.advance(hours=1)
    await full.service.record()
    await restore(full, before)
    assert await applied(full) is not None


async def test_the_log_of_another_database_says_nothing_about_this_one(full):
    before = await backup(full)
    await erase(full)
    before["database_identity"][0]["database_id"] = "01a00000-0000-7000-8000-000000000000"
    await restore(full, before)
    assert await applied(full) is None
    assert tuple(await applied(full, force=True)) == (0, 0, 2)


async def test_what_was_deleted_before_the_backup_is_not_deleted_twice(full):
    await erase(full)
    before = await backup(full)
    full.clock.advance(hours=1)
    await full.service.record()
    await restore(full, before)
    assert tuple(await applied(full)) == (0, 0, 1)


async def test_what_came_back_by_itself_before_the_backup_stays(full):
    """An athlete who connected again, and an activity that Strava showed again."""
    await erase(full)
    await full.connect(OTHER)
    await full.apply(fetched(detail()))
    before = await backup(full)
    full.clock.advance(hours=1)
    await full.service.record()
    await restore(full, before)
    done = await applied(full)
    assert (done.athletes_removed, done.activities_removed) == (0, 0)
    assert (await full.row(strava_athletes, id=OTHER)).status == "active"


async def test_an_unproven_departure_of_the_backups_time_is_dropped(full):
    """With a dead token pair Strava would seem to confirm it."""
    await full.deliver(deauthorized(OWNER))
    before = await backup(full)
    await erase(full)
    await restore(full, before)
    await applied(full)
    assert await full.rows(jobs, kind="revoke_athlete", athlete_id=OWNER) == []
    assert (await full.row(strava_athletes, id=OWNER)).status == "active"
    assert {row.status for row in await full.rows(webhook_events, object_type="athlete")} == {"completed"}


async def test_a_revocation_that_waits_in_the_backup_still_reaches_strava(full):
    await full.apply(LEFT)
    await full.enqueue(revoke_job(OTHER, "v1.12345678.x"))
    before = await backup(full)
    full.clock.advance(hours=1)
    await full.service.record()
    await restore(full, before)
    await applied(full)
    assert len(await full.rows(jobs, kind="revoke_athlete", athlete_id=OTHER)) == 1


async def test_the_receipt_of_an_athlete_whom_the_backup_does_not_know_comes_back(full):
    before = await backup(full)
    await full.connect(999)
    await full.apply(PurgeAthlete(999, "disconnected", "request", "the operator"))
    receipt = await full.row(deletion_receipts)
    full.clock.advance(hours=1)
    await full.service.record()
    await restore(full, before)
    assert (await applied(full)).athletes_removed == 0
    assert (await full.row(deletion_receipts)).id == receipt.id


async def test_deadlines_of_the_backups_time_begin_again(full, clock):
    """Who was about to leave may have connected again since; who left is in the log."""
    long_ago = clock.now() - timedelta(days=40)
    states = {
        OWNER: {
            "status": "leaving",
            "leaves_at": long_ago,
            "leaving_cause": "refused",
            "refused_at": long_ago,
        },
        OTHER: {"status": "needs_reauth", "refused_at": long_ago},
    }
    for athlete, values in states.items():
        change = update(strava_athletes).where(strava_athletes.c.id == athlete).values(values)
        await full.write(lambda c, change=change: c.execute(change))
    assert (await applied(full, force=True)).athletes_removed == 0
    owner, other = [await full.row(strava_athletes, id=athlete) for athlete in (OWNER, OTHER)]
    assert (owner.status, owner.leaves_at, owner.refused_at) == ("active", None, None)
    assert (other.status, other.refused_at) == ("needs_reauth", clock.now())


@pytest.mark.parametrize("marks", [0, 3])
async def test_a_restore_under_a_running_process_is_noticed_by_its_next_entry(full, marks):
    before = await backup(full)
    for _ in range(marks):
        full.clock.advance(hours=1)
        await full.service.record()
    await erase(full)
    await restore(full, before)
    full.clock.advance(hours=1)
    await full.service.record()
    assert (await full.row(strava_athletes, id=OTHER)).status == "deauthorized"
    assert await applied(full) is None


async def test_a_line_that_a_crash_cut_short_costs_only_itself(full):
    await erase(full)
    path = full.home / FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"database":"x","id":"y","at":"2026-')
    name = msgspec.json.decode(whole.splitlines()[0])["database"]
    full.log.append([Mark(name, 99, full.clock.now())])
    memory = full.log.read(name)
    assert (memory.generation, len(memory.erasures)) == (99, 2)


async def test_the_marks_of_two_processes_may_come_in_any_order(full):
    name = msgspec.json.decode((full.home / FILE).read_bytes().splitlines()[0])["database"]
    full.log.append([Mark(name, 9, full.clock.now()), Mark(name, 8, full.clock.now())])
    assert full.log.read(name).generation == 9


async def test_a_log_that_grows_too_large_forgets_old_activities_and_no_departure(
    clock, tmp_path, monkeypatch
):
    monkeypatch.setattr(erasure_log, "MOST_BYTES", 20_000)
    log, now = ErasureLog(tmp_path), clock.now()
    log.append([Erasure("d", "athlete", now, 7, reason="disconnected")])
    for number in range(1000):
        log.append([Erasure("d", f"{number:04}", now, 7, number + 1)])
    memory = log.read("d")
    assert (tmp_path / FILE).stat().st_size <= 20_200
    remembered = [erasure.id for erasure in memory.erasures]
    newest = len(remembered) - 1
    assert remembered == [f"{number:04}" for number in range(1000 - newest, 1000)] + ["athlete"]
    assert newest > 50


async def test_an_event_of_a_deleted_activity_in_the_backup_leaves_no_title(full):
    await full.deliver(event(object_id=77), retitled("Canary seven", object_id=77))
    before = await backup(full)
    await full.apply(Tombstone(77, OWNER, "request"))
    await full.service.record()
    await restore(full, before)
    await applied(full)
    for _ in range(3):
        for job in await full.lease():
            if job.key == "activity:77":
                from feedzone.domain.outcome import Done

                await full.queue.finish(job, Done(note="not_visible"))
    assert "Canary seven" not in repr(await full.rows(webhook_events))
