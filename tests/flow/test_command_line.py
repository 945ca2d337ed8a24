"""The commands, as a new user runs them."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys

import aiohttp
import pytest

COMMAND = """
import sys
from feedzone.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *sys.modules)
"""
STOPPED_AT_ONCE = """
import asyncio, feedzone.app
def stopped():
    stop = asyncio.Event()
    stop.set()
    return stop
feedzone.app.stop_signals = stopped
"""
PAGES = {"litestar", "jinja2", "uvicorn", "segno", "feedzone.web"}
MIGRATIONS = {"alembic", "sqlalchemy.orm"}
POSTGRESQL = {"asyncpg", "sqlalchemy.dialects.postgresql", "sqlalchemy.ext.asyncio"}
STRAVA, STREAMS = {"aiohttp"}, {"pyarrow"}
ENGINE = {"feedzone.app", "sqlalchemy", "pydantic", "structlog"}


@pytest.mark.parametrize(
    ("words", "before", "unused"),
    [
        ("--help", "", PAGES | MIGRATIONS | POSTGRESQL | STRAVA | STREAMS | ENGINE),
        ("db check", "", PAGES | MIGRATIONS | POSTGRESQL | STRAVA | STREAMS | {"feedzone.app"}),
        ("athletes list", "", PAGES | MIGRATIONS | POSTGRESQL | STRAVA | STREAMS),
        ("work", STOPPED_AT_ONCE, PAGES | MIGRATIONS | POSTGRESQL),
    ],
)
async def test_a_command_does_not_load_modules_that_it_does_not_need(install, words, before, unused):
    feedzone = install("http://127.0.0.1:1")
    assert (await feedzone.run("db", "upgrade")).returncode == 0
    result = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", before + COMMAND, *words.split()],
        env=feedzone.env,
        cwd=feedzone.home,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = result.stdout.partition("loaded: ")[2].split()
    assert "feedzone.cli.main" in loaded
    assert unused.isdisjoint(loaded)


async def test_init_writes_settings_that_only_the_owner_reads_and_never_overwrites(install):
    feedzone = install("http://127.0.0.1:1")
    first = await feedzone.run("init")
    assert first.returncode == 0, first.stderr
    env = feedzone.home / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    text = env.read_text()
    again = await feedzone.run("init")
    assert again.returncode == 1
    assert "nothing was changed" in again.stderr
    assert env.read_text() == text


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("QUEUE_BATCH_SIZE", "many", "QUEUE_BATCH_SIZE: input should be a valid integer"),
        ("APP_URL", "feedzone.example.org", "APP_URL: set it to a URL such as https://"),
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL takes sqlite:///path or postgresql://"),
        ("TOKEN_ENCRYPTION_KEYS", "short", "TOKEN_ENCRYPTION_KEYS"),
        ("WEBHOOK_SIGNATURE", "sometimes", "WEBHOOK_SIGNATURE: input should be 'auto', 'off'"),
    ],
)
async def test_an_invalid_setting_stops_the_start_with_one_line_that_names_it(install, name, value, says):
    feedzone = install("http://127.0.0.1:1")
    feedzone.env[name] = value
    result = await feedzone.run("serve", "--port", str(feedzone.port))
    assert result.returncode == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


async def test_a_taken_port_is_named(sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    second = await feedzone.run("serve", "--port", str(feedzone.port))
    assert second.returncode == 2
    assert "Address already in use" in second.stderr


async def test_a_sync_shows_progress_and_the_result(sandbox, install):
    feedzone = install(sandbox.url)
    process = await feedzone.start("serve", "--port", str(feedzone.port), "--no-worker")
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    result = await feedzone.run("sync", str(athlete), "--all")
    assert result.returncode == 0, result.stderr
    total = len(sandbox.world.truth(athlete))
    assert f"{total} of {total} activities are up to date." in result.stdout
    listing = await feedzone.run("athletes", "list")
    assert "complete" in listing.stdout
    assert await process.stop() == 0


async def test_disconnect_asks_deletes_and_revokes_access(sandbox, install):
    feedzone = install(sandbox.url)
    process = await feedzone.start("serve", "--port", str(feedzone.port), "--no-worker")
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    refused = await feedzone.run("athletes", "disconnect", str(athlete))
    assert refused.returncode != 0
    result = await feedzone.run("athletes", "disconnect", str(athlete), "--yes")
    assert "is gone from this database" in result.stdout
    assert "revoked at Strava" in result.stdout
    assert athlete not in sandbox.world.grants.live
    unknown = await feedzone.run("athletes", "disconnect", str(athlete), "--yes")
    assert unknown.returncode == 1
    assert "is not connected" in unknown.stderr
    await process.stop()


async def test_ensure_replaces_a_foreign_subscription_only_on_request(sandbox, install):
    own, other = install(sandbox.url), install(sandbox.url)
    await own.start()
    await other.start()
    assert (await other.run("subscription", "ensure")).returncode == 0
    taken = sandbox.world.subscription
    refused = await own.run("subscription", "ensure")
    assert refused.returncode == 1
    assert other.url in refused.stderr
    assert "--replace" in refused.stderr
    assert sandbox.world.subscription is taken
    assert (await own.run("subscription", "ensure", "--replace")).returncode == 0
    assert sandbox.world.subscription.callback_url.startswith(own.url)
    shown = await own.run("subscription", "show")
    assert "ours" in shown.stdout
    assert "is deleted" in (await own.run("subscription", "delete")).stdout
    assert sandbox.world.subscription is None


async def test_a_failed_list_changes_nothing_at_strava(sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    await feedzone.run("subscription", "ensure")
    before = sandbox.world.subscription
    sandbox.world.faults.change({"html_502": 1.0})
    failed = await feedzone.run("subscription", "ensure", "--replace")
    sandbox.world.faults.change({"html_502": 0.0})
    assert failed.returncode == 1
    assert "502" in failed.stderr
    assert sandbox.world.subscription is before


async def test_a_subscription_without_a_server_is_refused_with_a_remedy(sandbox, install):
    feedzone = install(sandbox.url)
    result = await feedzone.run("subscription", "ensure")
    assert result.returncode == 1
    assert "not verifiable" in result.stderr
    assert "feedzone is not running" in result.stderr


async def test_the_doctor_finds_problems_until_they_are_fixed(sandbox, install):
    feedzone = install(sandbox.url)
    ill = await feedzone.run("doctor")
    assert ill.returncode == 1
    assert "does not answer" in ill.stdout
    await feedzone.start()
    await feedzone.run("subscription", "ensure")
    well = await feedzone.run("doctor")
    assert well.returncode == 0, well.stdout
    assert "answers the handshake" in well.stdout
    assert "bare host: 127.0.0.1" in well.stdout


async def test_the_doctor_reports_that_strava_switched_the_application_off(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    await feedzone.start()
    await feedzone.run("subscription", "ensure")
    await feedzone.connect(sandbox.world.add_athlete(history_days=3).id)
    sandbox.world.faults.inactive = True

    async def paused():
        _, status = await feedzone.api("status")
        return status["paused_since"]

    _, listing = await feedzone.api("athletes")
    await feedzone.api(f"athletes/{listing['items'][0]['id']}/sync", method="POST")
    await eventually(paused)
    result = await feedzone.run("doctor")
    assert result.returncode == 1
    assert "switched this application off" in result.stdout


async def test_a_dead_letter_can_be_listed_retried_and_discarded(sandbox, install, eventually):
    feedzone = install(sandbox.url, MAX_SYNC_RETRIES="1")
    await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    spec = sandbox.world.record(athlete)
    sandbox.world.faults.poison.add(spec.id)
    event = {
        "object_type": "activity",
        "object_id": spec.id,
        "aspect_type": "create",
        "owner_id": athlete,
        "subscription_id": 1,
        "event_time": 1_700_000_000,
    }
    async with aiohttp.ClientSession() as strava:
        await strava.post(f"{feedzone.url}/api/webhooks/strava", json=event)

    async def dead():
        _, response = await feedzone.api("jobs?state=dead")
        return response["items"]

    (job,) = await eventually(dead)
    listed = await feedzone.run("events", "list", "--failed")
    assert job["id"] in listed.stdout
    assert "500 error" in listed.stdout
    sandbox.world.faults.poison.clear()
    assert (await feedzone.run("events", "retry", job["id"])).returncode == 0

    async def alive():
        status, response = await feedzone.api(f"activities/{spec.id}")
        return status == 200 and response["sync_status"] == "synced"

    await eventually(alive)
    nothing = await feedzone.run("events", "discard", job["id"], "--reason", "gone")
    assert nothing.returncode == 1
    assert "no dead letter" in nothing.stderr


async def test_an_export_is_plain_files(sandbox, install):
    feedzone = install(sandbox.url)
    process = await feedzone.start("serve", "--port", str(feedzone.port), "--no-worker")
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    await feedzone.run("sync", str(athlete))
    result = await feedzone.run("export", str(athlete), "--to", "mine")
    assert result.returncode == 0, result.stderr
    files = sorted(path.suffix for path in (feedzone.home / "mine").iterdir())
    assert ".json" in files
    assert ".parquet" in files
    await process.stop()


async def test_checking_a_missing_database_does_not_create_it(install):
    feedzone = install("http://127.0.0.1:1")
    feedzone.env["DATABASE_URL"] = f"sqlite:///{feedzone.home}/typo/feedzone.db"
    result = await feedzone.run("db", "check")
    assert result.returncode == 1
    assert f"there is no {feedzone.home}/typo/feedzone.db: is DATABASE_URL right?" in result.stderr
    assert not (feedzone.home / "typo").exists()


async def test_files_that_feedzone_writes_are_readable_by_its_user_only(install):
    feedzone = install("http://127.0.0.1:1")
    assert (await feedzone.run("db", "upgrade")).returncode == 0
    assert stat.S_IMODE((feedzone.home / "feedzone.db").stat().st_mode) == 0o600


async def test_the_secret_in_the_callback_url_is_not_printed(sandbox, install):
    """The output of commands is copied into reports."""
    feedzone = install(sandbox.url, WEBHOOK_PATH_SECRET="path-secret-of-mine")
    await feedzone.start()
    results = [
        await feedzone.run(*words.split()) for words in ("subscription ensure", "subscription show", "doctor")
    ]
    assert [result.returncode for result in results[:2]] == [0, 0]
    for result in results:
        assert "/api/webhooks/strava/[hidden]" in result.stdout
        assert "path-secret-of-mine" not in result.stdout + result.stderr


async def test_a_table_in_a_pipe_has_one_line_per_row(sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete, "read")
    lines = (await feedzone.run("athletes", "list")).stdout.splitlines()
    assert len(lines) == 2
    assert " ".join(lines[0].split()) == "athlete name status backfill stored last event last sync"
    assert "needs_scope" in lines[1]
