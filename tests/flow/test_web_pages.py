"""The operator's pages. tests/browser checks their look."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from browsing import act, csrf_token, words
from web_world import REFRESH_TOKEN, World, web_world

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.job import Lane
from feedzone.domain.outcome import Retry
from feedzone.domain.quota.windows import Reservation
from feedzone.store import athletes, reconciliations, subscriptions
from feedzone.store.engine.database import Database

PAGES = ("/", "/athletes", "/events", "/failures", "/health")


async def page(world: World, path: str = "/", **cookies: str) -> str:
    """Return the visible text of a page."""
    async with world.browser(cookies=cookies) as browser:
        answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    return words(answer.text)


async def subscribe(world: World) -> None:
    await world.database.write(lambda c: subscriptions.remember(c, 1, "https://x.test", world.clock.now()))


async def test_an_empty_installation_says_how_to_begin(world: World) -> None:
    text = await page(world)
    assert "Getting started" in text
    assert "Welcome: 3 steps left." in text
    assert "Subscribe to webhooks" in text
    assert "Connect with Strava" in text
    assert "Strava application (done)" in text
    await subscribe(world)
    assert "Webhooks from Strava (done)" in await page(world)


async def test_a_healthy_installation_says_so_with_the_time_of_the_last_check(world: World) -> None:
    await subscribe(world)
    await world.connect()
    assert "0 of 1 athlete synced, the others are syncing." in await page(world)

    def done(connection: object) -> None:
        athletes.finish_listing(connection, 42, world.clock.now())  # type: ignore[arg-type]
        athletes.note_verified(connection, 42, world.clock.now(), everything=True)  # type: ignore[arg-type]

    await world.database.write(done)
    world.clock.pass_by(seconds=50)
    assert "Your athlete is synced, last check 50 s ago." in await page(world)


async def test_a_stalled_queue_is_reported_first(world: World) -> None:
    await subscribe(world)
    await world.connect()
    world.clock.pass_by(minutes=5, seconds=1)
    text = await page(world)
    assert "Work has been waiting for 5 min: is a worker running?" in text
    assert "feedzone work" in text


async def test_problems_are_shown_with_their_remedy(world: World) -> None:
    await subscribe(world)
    await world.connect()
    await world.dead_letter(1)
    await world.database.write(lambda c: athletes.mark(c, 42, "needs_reauth", "revoked", world.clock.now()))
    text = await page(world)
    assert "1 job needs attention. See dead letters" in text
    assert "1 athlete must connect again. See athletes" in text
    health = await page(world, "/health")
    assert "2 things need attention" in health
    assert "http://127.0.0.1:8000/connect?force=1" in health


@pytest.mark.parametrize(
    ("configured", "people", "told"),
    [
        (None, 7, None),
        (None, 8, "8 of 10 seats of the Strava application are taken"),
        (None, 11, None),
        (1, 1, "1 of 1 seat of the Strava application are taken"),
        (100, 79, None),
    ],
)
async def test_seats_are_counted_with_a_warning_before_they_run_out(
    world: World, configured: int | None, people: int, told: str | None
) -> None:
    """There are ten seats, unless the setting says otherwise or more athletes are connected."""
    world.parts.queries.status._seats = configured
    await subscribe(world)
    for number in range(people):
        world.desk.profile = AthleteProfile(42 + number, None, f"Ada {number}", None)
        await world.connect()
    text = await page(world)
    assert f"Seats taken: {people}" in text
    assert ("seats of the Strava" in text or "seat of the Strava" in text) is (told is not None)
    assert told is None or told in text
    await world.parts.athletes.disconnect(42)  # Strava has not been told yet
    assert f"Seats taken: {people}" in await page(world)


async def test_a_used_up_rate_limit_shows_its_reset(world: World) -> None:
    await subscribe(world)
    await world.connect()
    budget = world.parts.queries.quota._budget
    await budget.answered(await budget.reserve(Lane.LIVE), {})
    await budget.latch(Reservation(), {})
    text = await page(world)
    assert "The rate limit is used up: work continues in 15 min." in text
    assert "Reads, 15 min (resets 08:15 ) used up: 1 of 100" in text


async def test_activities_and_events_are_shown_as_they_are(world: World) -> None:
    await world.connect()
    await world.store(1, name="Évian <b>loop</b>", moving_time=5400)
    await world.store(2, status="failed", name=None, distance=None, start_date_local=None)
    await world.deliver(1, "update", private="false")
    text = await page(world)
    assert "Ada Lovelace updated an activity: Évian &lt;b&gt;loop&lt;/b&gt; Ride · 42.2 km · 1:30:00" in text
    assert "unnamed" in text
    assert "waiting" in text


async def test_times_and_units_are_the_readers(world: World) -> None:
    await world.connect()
    await world.store(1)
    await world.deliver(1)
    assert "42.2 km" in await page(world)
    assert "06:00" in await page(world)
    text = await page(world, feedzone_zone="America%2FNew_York", feedzone_units="imperial")
    assert "26.2 mi" in text
    assert "01:00" in text
    for nonsense in ("..%2F..%2Fetc%2Fpasswd", "Mars%2FBase"):
        assert "Times are in UTC." in await page(world, feedzone_zone=nonsense)


async def test_preferences_are_kept_by_the_browser(world: World) -> None:
    async with world.browser() as browser:
        await act(browser, "/preferences", theme="dark", back="/health")
        assert 'data-theme="dark"' in (await browser.get("/")).text
        await act(browser, "/preferences", theme="dark' onload='", units="imperial")
        assert 'data-theme="dark"' in (await browser.get("/")).text
        assert browser.cookies["feedzone_units"] == "imperial"


@pytest.mark.parametrize("path", [*PAGES, "/athletes/42/disconnect"])
async def test_pages_need_no_script_and_nothing_from_elsewhere(world: World, path: str) -> None:
    await world.connect()
    await world.dead_letter(1)
    async with world.browser() as browser:
        text = (await browser.get(path)).text
        assert REFRESH_TOKEN not in text
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', text):
            assert re.match(r"/(?!/)|#|https://www\.strava\.com/settings/api$", address), address
        assert " style=" not in text
        assert not re.search(r"\son\w+=", text)
        for address in set(re.findall(r'(?:src|href)="(/static/[^"]*)"', text)):
            answer = await browser.get(address)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]


async def test_what_pages_load_comes_compressed_and_is_small(world: World) -> None:
    await world.connect()
    async with world.browser() as browser:
        answer = await browser.get("/")
        size = len(answer.content)
        for address in set(re.findall(r'(?:src|href)="(/static/[^"]*)"', answer.text)):
            for encoding in ("br", "gzip"):
                packed = await browser.get(address, headers={"Accept-Encoding": encoding})
                assert packed.headers["content-encoding"] == encoding
                assert packed.headers["vary"] == "Accept-Encoding"
            size += int(packed.headers["content-length"])
            plain = await browser.get(address, headers={"Accept-Encoding": "identity"})
            assert "content-encoding" not in plain.headers
        assert size < 150_000
        assert (await browser.get("/static/manifest.json")).status_code == 404
        assert (await browser.get("/static/..%2fpages.py")).status_code == 404


async def test_a_wrong_address_shows_a_page_to_people(world: World) -> None:
    async with world.browser() as browser:
        for path in ("/nothing", "/events/00000000-0000-7000-8000-000000000001", "/athletes/7/disconnect"):
            answer = await browser.get(path)
            assert answer.status_code == 404
            assert answer.headers["content-type"].startswith("text/html")
            assert "Not Found" in answer.text


async def test_events_are_paged_and_filtered_by_status(world: World) -> None:
    await world.connect()
    for number in range(60):
        world.clock.pass_by(seconds=1)
        await world.deliver(number)
    async with world.browser() as browser:
        first = (await browser.get("/events")).text
        assert first.count('data-label="Event"') == 50
        older = re.search(r'href="(/events\?cursor=[^"]+)"', first).group(1)
        assert (await browser.get(older)).text.count('data-label="Event"') == 10
        assert "No events with this status." in (await browser.get("/events?status=failed")).text
        assert (await browser.get("/events?status=nonsense")).status_code == 400
        assert (await browser.get("/events?cursor=nonsense")).status_code == 400


async def test_an_event_is_shown_with_its_steps_and_as_received(world: World) -> None:
    await world.connect()
    await world.deliver(7, "update", title="Named <again>")
    async with world.browser() as browser:
        listing = (await browser.get("/events")).text
        text = (await browser.get(re.search(r'href="(/events/[0-9a-f-]+)"', listing).group(1))).text
    assert "&#34;object_id&#34;: 7" in text
    assert "Named &lt;again&gt;" in text
    assert "signature absent" in words(text)


async def test_a_failed_job_is_explained_and_can_be_retried(world: World) -> None:
    await world.connect()
    await world.deliver(1)
    letter = await world.dead_letter(1)
    text = await page(world, "/failures")
    assert "Unexpected error 1 job" in text
    assert "500 from Strava" in text
    assert "1 attempt" in text
    async with world.browser() as browser:
        said = await act(browser, f"/actions/jobs/{letter}/retry")
    assert "Job queued again." in said
    assert "No failed jobs." in said
    assert (await world.parts.queries.jobs.get(letter)).job.state == "queued"


async def test_a_temporary_failure_shows_its_next_automatic_retry(world: World) -> None:
    await world.connect()
    error = "GET activities/1 500 error"
    await world.dead_letter(1, Retry(error, kind="strava_error", http_status=500))
    text = await page(world, "/failures")
    assert "Strava returns 500 for this activity" in text
    due = world.clock.now() + timedelta(minutes=5)
    assert f"Next automatic retry {due:%H:%M}" in text
    world.clock.pass_by(minutes=6)
    assert "Next automatic retry soon" in await page(world, "/failures")


async def test_a_discarded_job_can_be_restored_for_a_minute(world: World) -> None:
    await world.connect()
    await world.deliver(1)
    letter = await world.dead_letter(1)
    before = (
        await world.parts.queries.jobs.get(letter),
        (await world.parts.queries.events.summaries(None, None, 9)).items,
    )
    async with world.browser() as browser:
        assert (await browser.get("/failures")).status_code == 200
        answer = await browser.post(
            f"/actions/jobs/{letter}/discard",
            data={"reason": " ", "_csrf_token": csrf_token(browser)},
        )
        assert answer.status_code == 400
        said = await act(browser, f"/actions/jobs/{letter}/discard", reason="a test ride")
        assert "Job discarded; its events keep the reason." in said
        event = (await world.parts.queries.events.summaries(None, None, 9)).items[0].event
        assert "a test ride" in (event.error_message or "")
        said = await act(browser, f"/actions/jobs/{letter}/restore")
        assert "Job restored." in said
        assert before == (
            await world.parts.queries.jobs.get(letter),
            (await world.parts.queries.events.summaries(None, None, 9)).items,
        )
        await act(browser, f"/actions/jobs/{letter}/discard", reason="a test ride")
        world.clock.pass_by(seconds=61)
        assert "too late" in await act(browser, f"/actions/jobs/{letter}/restore")
        assert (await world.parts.queries.jobs.page("dead")).items == []


async def test_a_discarded_job_of_a_disconnected_athlete_cannot_be_restored(world: World) -> None:
    await world.connect()
    letter = await world.dead_letter(1)
    await world.parts.dead_letters.discard(letter, "gone")
    await world.parts.athletes.disconnect(42)
    assert not await world.parts.dead_letters.restore(letter)
    assert (await world.parts.queries.jobs.page("dead")).items == []


async def test_all_failed_jobs_of_a_class_are_retried_together(world: World) -> None:
    await world.connect()
    letters = [await world.dead_letter(number) for number in (1, 2, 3)]
    async with world.browser() as browser:
        said = await act(browser, "/actions/failures/retry", error_class="other")
    assert '3 jobs with "Unexpected error" queued again.'.replace('"', "&#34;") in said
    assert [(await world.parts.queries.jobs.get(one)).job.state for one in letters] == ["queued"] * 3


async def test_disconnecting_first_shows_the_data_to_be_deleted(world: World) -> None:
    await world.connect()
    await world.store(1)
    await world.deliver(1)
    text = await page(world, "/athletes/42/disconnect")
    assert "Disconnect Ada Lovelace?" in text
    assert "activities 1" in text
    assert "events 1" in text
    async with world.browser() as browser:
        said = await act(browser, "/actions/athletes/42/disconnect")
    assert "Athlete 42 disconnected" in said
    assert "Receipt:" in said
    assert "Ada" not in said
    assert (await world.parts.queries.athletes.get(42)).status == "deauthorized"


async def test_syncs_start_from_the_page_and_are_confirmed(world: World) -> None:
    await world.connect()
    async with world.browser() as browser:
        said = await act(browser, "/actions/athletes/42/sync")
        assert "Syncing the last 30 days of Ada Lovelace." in said
        said = await act(browser, "/actions/athletes/42/sync", history="all")
        assert "Syncing the full history of Ada Lovelace." in said
        assert (await world.parts.queries.athletes.get(42)).progress.after is None
        assert "Check of Ada Lovelace queued." in await act(browser, "/actions/athletes/42/verify")
        kinds = {job.kind for job in (await world.parts.queries.jobs.page("queued")).items}
        assert kinds == {"backfill_athlete", "reconcile_athlete"}
        token = {"_csrf_token": csrf_token(browser)}
        assert (await browser.post("/actions/athletes/7/sync", data=token)).status_code == 404


async def test_conflicts_are_decided_on_the_page(world: World) -> None:
    await world.connect()
    await world.database.write(
        lambda c: reconciliations.open_conflict(c, 42, [1, 2, 3, 4], 40, world.clock.now())
    )
    text = await page(world, "/failures")
    assert "Strava no longer lists 4 of the 40 activities" in text
    question = (await world.parts.queries.conflicts.open())[0].id
    async with world.browser() as browser:
        said = await act(browser, f"/actions/conflicts/{question}/dismiss")
    assert "Activities kept." in said
    assert await world.parts.queries.conflicts.open() == []


async def test_an_action_in_an_open_page_answers_in_place(world: World) -> None:
    await world.connect()
    async with world.browser(headers={"HX-Request": "true"}) as browser:
        await browser.get("/athletes")
        token = {"x-csrftoken": csrf_token(browser)}
        answer = await browser.post("/actions/athletes/42/sync", headers=token)
        assert answer.status_code == 200
        assert "<html" not in answer.text
        assert "Syncing the last 30 days" in answer.text
        answer = await browser.post("/actions/athletes/7/sync", headers=token)
        assert (answer.status_code, answer.headers["hx-retarget"]) == (404, "#notices")
        assert "Athlete 7 is not connected. Nothing was changed." in answer.text


async def test_a_notice_is_shown_once(world: World) -> None:
    await world.connect()
    async with world.browser() as browser:
        assert "queued" in await act(browser, "/actions/athletes/42/verify")
        assert "queued" not in words((await browser.get("/athletes")).text)


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_read_from_both_databases(database: Database, path: str) -> None:
    async with web_world(database) as world:
        await world.connect()
        await world.store(1)
        await world.deliver(1)
        await world.dead_letter(2)
        await page(world, path)
