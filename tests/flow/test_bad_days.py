"""Strava fails, refuses or sends wrong data: nothing is lost or deleted, and health shows the cause."""

from __future__ import annotations

import pytest
from engine import DETAIL, make_engine
from sqlalchemy import select

from feedzone.services.conditions import conditions, problems
from feedzone.store.schema.tables import (
    job_attempts,
    jobs,
    metadata,
    strava_activities,
    strava_athletes,
    webhook_events,
)
from feedzone.telemetry import configure_logging
from feedzone.web.context import WebOptions

KINDS = ("error_500", "html_502", "status_597", "reset_before", "reset_after", "timeout_after")


@pytest.fixture
async def engine(sqlite_database, clock, tmp_path):
    made, (athlete,) = make_engine(sqlite_database, clock, tmp_path)
    await made.connect(athlete)
    await made.work()
    made.athlete = athlete
    return made


async def live_ids(engine) -> set[int]:
    return {row.id for row in await engine.rows(strava_activities, sync_status="synced")}


async def test_with_thirty_percent_faults_of_every_kind_everything_is_stored_in_the_end(engine):
    """Server errors, HTML, broken connections and timeouts."""
    engine.app = engine.process(
        queue_batch_size=1
    )  # one job at a time, so that the same faults hit the same calls
    specs = {engine.world.record(engine.athlete, minutes=2).id for _ in range(40)}
    await engine.deliver_announced()
    engine.world.faults.change(dict.fromkeys(KINDS, 0.05))
    for _ in range(12):
        await engine.advance_and_work(minutes=15)
    assert sum(engine.world.journal.by_status[status] for status in (0, 500, 502, 597)) > 30
    assert await live_ids(engine) == specs
    assert await engine.rows(jobs, state="dead") == []


async def test_an_activity_that_always_fails_keeps_its_errors_and_all_others_are_stored(engine):
    """One id always answers 500."""
    specs = [engine.world.record(engine.athlete, minutes=10, manual=True).id for _ in range(30)]
    poisoned = specs[7]
    engine.world.faults.poison.add(poisoned)
    await engine.deliver_announced()
    for _ in range(10):
        await engine.advance_and_work(minutes=15)
    assert await live_ids(engine) == set(specs) - {poisoned}
    (dead,) = await engine.rows(jobs, state="dead")
    assert dead.key == f"activity:{poisoned}"
    tries = await engine.rows(job_attempts, job_id=dead.id)
    assert len(tries) == engine.app.settings.max_sync_retries
    assert all("500 error" in item.error for item in tries)
    engine.world.faults.poison.clear()
    await engine.app.dead_letters.retry(dead.id)
    await engine.work()
    assert await live_ids(engine) == set(specs)


async def test_while_the_application_is_switched_off_nothing_is_deleted_and_health_is_red(engine):
    """Every call is answered 403, while deletes, deauthorizations and reconciliations come in."""
    specs = {engine.world.record(engine.athlete, minutes=10, manual=True).id for _ in range(5)}
    await engine.deliver_announced()
    await engine.work()
    before = await live_ids(engine)
    assert before == specs
    engine.world.faults.inactive = True
    forged = {"subscription_id": 120_475, "owner_id": engine.athlete, "event_time": 1_790_000_000}
    deletes = [
        forged | {"object_type": "activity", "object_id": item, "aspect_type": "delete", "updates": {}}
        for item in specs
    ]
    deauthorization = {"object_type": "athlete", "object_id": engine.athlete, "aspect_type": "update"}
    await engine.deliver(*deletes, forged | deauthorization | {"updates": {"authorized": "false"}})
    await engine.app.reconciliation.reconcile(engine.athlete)
    for _ in range(30):
        await engine.advance_and_work(hours=1)
    rows = await engine.rows(strava_activities)
    assert {row.id for row in rows if row.sync_status != "deleted"} == specs
    (athlete,) = await engine.rows(strava_athletes)
    assert athlete.status == "active"
    assert athlete.refresh_token_encrypted
    waiting = await engine.rows(jobs)
    assert {(job.state, job.attempts) for job in waiting} == {("queued", 0)}
    options = WebOptions("http://127.0.0.1:8000", is_local=True, strava_configured=True, session_key=b"")
    shown = problems(
        conditions(await engine.app.queries.status.pulse(), strava_configured=options.strava_configured)
    )
    assert "switched this application off" in next(item.text for item in shown if item.name == "Application")


async def test_150_jobs_survive_six_hours_of_a_switched_off_application(engine):
    """They use no attempt, at most seven calls probe Strava, and then everything is done in an hour."""
    made = {engine.world.record(engine.athlete, minutes=10, manual=True).id for _ in range(150)}
    engine.world.faults.inactive = True
    before = len(engine.calls)
    await engine.deliver_announced()
    for _ in range(6 * 60):
        await engine.work()
        engine.clock.advance(minutes=1)
    assert 1 <= len(engine.calls) - before <= 7
    waiting = await engine.rows(jobs)
    assert len(waiting) >= 150
    assert {(job.state, job.attempts) for job in waiting} == {("queued", 0)}
    engine.world.faults.inactive = False
    for _ in range(60):
        await engine.advance_and_work(minutes=1)
    assert {row.id for row in await engine.rows(strava_activities, sync_status="synced")} == made
    assert {row.status for row in await engine.rows(webhook_events)} == {"completed"}


async def test_a_missing_scope_marks_the_athlete_keeps_the_token_and_causes_no_more_calls(engine):
    """No call is made until the athlete connects again."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    engine.world.grants.live[engine.athlete].scopes = frozenset({"read"})
    await engine.deliver_announced()
    before = len(engine.calls)
    for _ in range(20):
        await engine.advance_and_work(minutes=15)
    assert engine.requests(before)[DETAIL] == 1
    (athlete,) = await engine.rows(strava_athletes)
    assert athlete.status == "needs_scope"
    assert "activity:read" in athlete.status_reason
    assert athlete.refresh_token_encrypted
    engine.world.deauthorize(engine.athlete)
    engine.announced.clear()
    await engine.connect(engine.athlete)
    await engine.work()
    assert await live_ids(engine) == {spec.id}


async def test_a_token_lost_in_a_crash_is_reported_as_the_probable_reason(engine):
    """The process is killed after Strava's response and before the pair is stored."""
    engine.clock.advance(hours=7)
    line = engine.app.transport

    class KilledError(BaseException):
        """Stands for SIGKILL: not an Exception, so that no handler catches it."""

    def cut(request, answered):
        if answered and request.url.endswith("/token"):
            raise KilledError

    line.cut = cut
    engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    job = (await engine.app.queue.lease(1, "dead/1", 30))[0]
    with pytest.raises(KilledError):
        await engine.app.api.activity(job.athlete_id, job.object_id)
    engine.app = engine.process()
    for _ in range(4):
        engine.clock.advance(minutes=1)
        await engine.app.queue.rescue()
        await engine.work()
    (athlete,) = await engine.rows(strava_athletes)
    assert athlete.status == "needs_reauth"
    assert "got no response; Strava has probably rotated the token: connect again" in athlete.status_reason


async def test_disconnecting_deletes_at_once_and_retries_the_revocation_until_it_works(engine):
    """The local purge does not wait for Strava; the first revocation that works is the last."""
    engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    await engine.work()
    engine.world.faults.change({"html_502": 1.0})
    await engine.app.athletes.disconnect(engine.athlete)
    await engine.work()
    assert await engine.rows(strava_activities) == []
    (gone,) = await engine.rows(strava_athletes)
    assert (gone.status, gone.refresh_token_encrypted, gone.access_token_encrypted) == (
        "deauthorized",
        None,
        None,
    )
    assert engine.athlete in engine.world.grants.live
    for _ in range(3):
        await engine.advance_and_work(minutes=10)
    (waiting,) = await engine.rows(jobs)
    assert (waiting.kind, waiting.state, waiting.attempts) == ("revoke_athlete", "queued", 0)
    engine.world.faults.change({"html_502": 0.0})
    before = len(engine.calls)
    for _ in range(3):
        await engine.advance_and_work(minutes=10)
    assert engine.requests(before) == {"/oauth/revoke": 1}
    assert engine.athlete not in engine.world.grants.live
    (receipt,) = await engine.app.queries.athletes.receipts(engine.athlete)
    assert receipt.revoked_at is not None


@pytest.fixture
def log_everything(engine, capsys):
    """Log as the service does."""
    configure_logging("DEBUG", "json", engine.app.settings.secrets())


async def test_no_token_reaches_a_log_line_an_error_or_a_table(engine, log_everything, capsys):
    """Connect, refresh, fail in every way, and disconnect; then search for every token there ever was."""
    seen: set[str] = set()
    grant = engine.world.grants.live[engine.athlete]

    def remember(*_):
        seen.update((grant.access_token, grant.refresh_token))

    engine.app.transport.cut = remember
    engine.world.faults.change(dict.fromkeys(KINDS, 0.12) | {"token_calls_too": False})
    for _ in range(4):
        for _ in range(5):
            engine.world.record(engine.athlete, minutes=10, manual=True)
        await engine.deliver_announced()
        await engine.advance_and_work(hours=7)
    remember()
    errors = [row.error for row in await engine.rows(job_attempts)]
    engine.world.faults.change(dict.fromkeys(KINDS, 0.0))
    await engine.app.athletes.disconnect(engine.athlete)
    written = []
    for table in metadata.sorted_tables:
        rows = await engine.database.read(lambda c, t=table: c.execute(select(t)).all())
        written += [str(tuple(row)) for row in rows]
    await engine.work()
    logged = capsys.readouterr()
    assert len(seen) > 4
    assert "job_finished" in logged.err
    output = logged.err + logged.out + "\n".join(errors) + "\n".join(written)
    assert [token for token in seen if token in output] == []
    assert engine.app.settings.strava_client_secret.get_secret_value() not in output
    assert not any(token in str(call) for token in seen for call in engine.calls)


async def test_an_outage_of_strava_costs_few_calls_and_loses_nothing(engine):
    """Every call fails for two hours; minutes after that everything is stored."""
    specs = {engine.world.record(engine.athlete, minutes=2).id for _ in range(30)}
    engine.world.faults.change({"error_500": 1.0})
    await engine.deliver_announced()
    before = len(engine.calls)
    for _ in range(120):
        await engine.advance_and_work(minutes=1)
        await engine.retry_dead_letters()
    assert len(engine.calls) - before < 500
    assert "All requests to Strava have failed" in await health(engine)
    engine.world.faults.change({"error_500": 0.0})
    for _ in range(20):
        await engine.advance_and_work(seconds=30)
        await engine.retry_dead_letters()
    assert await live_ids(engine) == specs
    assert await engine.rows(jobs, state="dead") == []


async def health(engine) -> str:
    options = WebOptions("http://127.0.0.1", True, True, b"")
    return " ".join(
        check.text
        for check in conditions(
            await engine.app.queries.status.pulse(), strava_configured=options.strava_configured
        )
    )
