"""The page of an activity: its contents, and a true history."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from activity_world import RUN, detail, furnish, stream_set, write
from browsing import words
from web_world import World, web_world

from feedzone.domain.activity import ActivityRecord
from feedzone.domain.effect import StoreDetail, StoreStreams, Tombstone
from feedzone.domain.gear import GearListing, GearRecord
from feedzone.domain.job import JobSpec, Lane, RefreshHint
from feedzone.domain.quota.windows import ApiCall
from feedzone.store import gear
from feedzone.store.engine.database import Database
from feedzone.store.jobs import lifecycle
from feedzone.store.quota.call_log import CallLog
from feedzone.store.stream_codec import encode
from feedzone.strava.payloads import activity


@pytest.fixture
async def world(world: World) -> World:
    await world.connect()
    return world


async def page(world: World, path: str = f"/activities/{RUN}", **cookies: str) -> str:
    async with world.browser(cookies=cookies) as browser:
        answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    return words(answer.text)


async def test_an_activity_is_shown_with_its_figures_in_the_readers_units(world: World) -> None:
    await furnish(world)
    text = await page(world)
    for said in (
        "Run · Ada Lovelace Secret title Monday, 2 November 2026, 22:00 (America/Los Angeles)",
        "Distance 10.00 km",
        "Moving time 46:10",
        "Average pace 4:37 /km",
        "Elevation gain 120 m",
        "Average cadence 168 steps/min",
        "Visible to Followers",
        "Device Watch 9",
        "Along &lt;b&gt;the&lt;/b&gt; canal",
        "View on Strava",
    ):
        assert said in text
    text = await page(world, feedzone_units="imperial")
    for said in ("Distance 6.21 mi", "Average pace 7:26 /mi", "Elevation gain 394 ft"):
        assert said in text


async def test_a_ride_shows_speed_and_a_swim_shows_pace_per_hundred_metres(world: World) -> None:
    await write(world, detail(sport_type="Ride"))
    assert "Average speed 13.0 km/h" in await page(world)
    await write(world, detail(sport_type="Swim", average_speed=0.8))
    assert "Average pace 2:05 /100 m" in await page(world)


async def test_a_hidden_start_is_marked_as_hidden(world: World) -> None:
    await write(world, detail(start_date_local="2026-11-02T00:00:01Z"))
    assert "Monday, 2 November 2026, time hidden by the athlete" in await page(world)


async def test_laps_and_splits_are_tables_and_the_last_split_shows_its_distance(world: World) -> None:
    await furnish(world)
    text = await page(world)
    assert "1 4:37 4:36 150" in text
    assert "0.43 2:00 4:39 152" in text
    assert "Sprint 5.00 23:05 4:37" in text


async def test_gear_has_the_name_that_the_athlete_gave_it(world: World) -> None:
    await furnish(world)
    assert "Gear g1" in await page(world)
    shoes = GearRecord("g1", "shoe", "Pebble Runner", None, True, False, 1.0, "{}")
    told = GearListing(42, (), (shoes,))
    await world.database.write(lambda c: gear.store(c, told, world.clock.now()))
    assert "Gear Pebble Runner" in await page(world)


async def test_without_scripts_there_are_the_track_and_the_range_of_each_channel(world: World) -> None:
    await furnish(world)
    async with world.browser() as browser:
        text = (await browser.get(f"/activities/{RUN}")).text
    assert re.search(r'class="sketch" viewBox="0 0 \d+ \d+".*<path d="M\d', text)
    assert text.count('<div class="plot">') == 3
    assert "Heart rate min 120 · avg 151 · max 179 bpm" in words(text)
    assert " style=" not in text
    assert not re.search(r"\son\w+=", text)
    assert '<a class="on-strava" href="https://www.strava.com/activities/5001"' in text


async def test_scripts_get_the_same_curves_as_numbers(world: World) -> None:
    await furnish(world)
    async with world.browser(cookies={"feedzone_units": "imperial"}) as browser:
        plot = (await browser.get(f"/activities/{RUN}/curves")).json()
    assert list(plot["axes"]) == ["time", "distance"]
    assert plot["axes"]["distance"]["unit"] == "mi"
    by_name = {curve["name"]: curve for curve in plot["curves"]}
    assert (by_name["altitude"]["unit"], by_name["altitude"]["values"][0]) == ("ft", 1312.3)
    assert (by_name["velocity_smooth"]["label"], by_name["velocity_smooth"]["pace"]) == ("Pace", True)
    assert len(plot["track"]) == len(by_name["heartrate"]["values"]) == 60
    assert plot["track"][1] == [47.0001, 8.0001]


async def test_long_streams_are_reduced_without_losing_an_extreme(world: World) -> None:
    samples = 13_000
    beats = [140] * samples
    beats[7777] = 201
    long = {"time": {"data": list(range(samples))}, "heartrate": {"data": beats}}
    await write(world, detail(), stream_set(long))
    async with world.browser() as browser:
        answer = await browser.get(f"/activities/{RUN}/curves")
    curve = answer.json()["curves"][0]
    assert len(curve["values"]) <= 2100
    assert max(curve["values"]) == 201
    assert answer.json()["axes"]["time"]["values"][-1] == samples - 1


async def test_without_streams_the_track_comes_from_the_summary(world: World) -> None:
    await write(world, detail())
    async with world.browser() as browser:
        plot = (await browser.get(f"/activities/{RUN}/curves")).json()
        assert 'class="sketch"' in (await browser.get(f"/activities/{RUN}")).text
    assert plot["curves"] == []
    assert plot["track"][0] == [38.5, -120.2]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ([detail(manual=True), stream_set(state="absent")], "Entered manually: no recorded data."),
        ([detail(), stream_set(state="absent")], "Strava has no recorded data for this activity."),
        ([detail(), stream_set(state="pending")], "Strava is still processing the recorded data."),
        ([detail()], "The recorded data is not synced yet."),
        ([detail(), stream_set({"moving": {"data": [True, False]}})], "No curves for the recorded channels"),
    ],
    ids=["manual", "absent", "pending", "none", "nothing to draw"],
)
async def test_missing_curves_are_explained(world: World, what: list[Any], said: str) -> None:
    await write(world, *what)
    assert said in await page(world)


async def test_a_summary_is_shown_until_the_details_arrive(world: World) -> None:
    await world.store(RUN, level="summary", status="pending", name="From the list")
    text = await page(world)
    assert "From the list" in text
    assert "Summary only; the details are being fetched." in text


async def test_unreadable_streams_do_not_break_the_page(world: World) -> None:
    await write(world, detail(), StoreStreams(RUN, 42, "present", b"rubbish", ("time",), 3))
    text = await page(world)
    assert "Secret title" in text
    assert "The stored streams are unreadable" in text


async def test_the_history_lists_events_requests_and_changes_in_order(world: World) -> None:
    journal = CallLog(world.database, world.clock)
    event = await world.deliver(RUN)
    for endpoint, status in (("GET activities/{id}", 500), ("GET activities/{id}/streams", 404)):
        world.clock.pass_by(seconds=2)
        journal.note(ApiCall(world.clock.now(), "live", 42, endpoint, status, 230, {}, True, 1, RUN))
    journal.note(ApiCall(world.clock.now(), "live", 42, "GET activities/{id}", 200, 9, {}, True, 1, 7))
    await journal.flush()
    await furnish(world)
    world.clock.pass_by(seconds=2)
    update = await world.deliver(RUN, "update", title="New title")
    text = await page(world)
    steps = [
        "Webhook: created",
        "Fetching activity failed (500, 230 ms; webhooks)",
        "Fetching streams failed (404, 230 ms, not visible to feedzone; webhooks)",
        "First stored",
        "Streams stored (60 samples, 6 channels)",
        "Webhook: updated",
        "Queued to fetch activity",
    ]
    places = [text.find(step) for step in steps]
    assert -1 not in places, (places, text)
    assert places == sorted(places)
    assert "9 ms" not in text
    async with world.browser() as browser:
        html = (await browser.get(f"/activities/{RUN}")).text
    assert f'href="/events/{event}"' in html
    assert f'href="/events/{update}"' in html


async def test_changes_are_shown_with_labels_and_units(world: World) -> None:
    await furnish(world)
    world.clock.pass_by(hours=1)
    changed = {
        "distance": 9000.0,
        "gear_id": None,
        "sport_type": "TrailRun",
        "description": None,
        "commute": True,
    }
    await write(world, detail("reconciliation", **changed))
    text = await page(world)
    assert "Changed · check" in text
    for said in (
        "Distance: 10.00 km → 9.00 km",
        "Gear: g1 → none",
        "Sport: Run → Trail run",
        "Description: Along &lt;b&gt;the&lt;/b&gt; canal → none",
        "Commute: none → yes",
    ):
        assert said in text


async def test_a_failure_lists_its_attempts_and_can_be_retried(world: World) -> None:
    await furnish(world)
    await world.deliver(RUN, "update")
    world.clock.pass_by(seconds=10)
    letter = await world.dead_letter(RUN)
    text = await page(world)
    assert "Attempt 1 failed 500 from Strava" in text
    assert "Fetching activity failed for good (after 1 attempt) Retry" in text
    async with world.browser() as browser:
        assert f'action="/actions/jobs/{letter}/retry"' in (await browser.get(f"/activities/{RUN}")).text


async def test_an_announced_activity_has_a_page_before_it_is_fetched(world: World) -> None:
    await world.deliver(777)
    text = await page(world, "/activities/777")
    assert "Not fetched yet." in text
    assert "Webhook: created" in text


async def test_a_deleted_activity_shows_only_its_history(world: World) -> None:
    await furnish(world)
    world.clock.pass_by(minutes=3)
    await write(world, Tombstone(RUN, 42, "reconciliation"))
    text = await page(world)
    assert "Deleted activity" in text
    assert "Deleted; only its id is kept · check" in text
    assert "Secret" not in text
    assert "View on Strava" not in text
    async with world.browser() as browser:
        assert (await browser.get(f"/activities/{RUN}/curves")).status_code == 404
    world.clock.pass_by(minutes=3)
    await write(world, detail("request"))
    assert "Visible again · manual request" in await page(world)


async def test_the_next_follow_up_check_is_shown(world: World) -> None:
    await write(world, detail(), stream_set(state="pending"))
    again = JobSpec(
        "refresh_activity",
        f"activity:{RUN}",
        42,
        RefreshHint(cause="recheck", streams_only=True),
        0,
        Lane.LIVE,
        due_at=world.clock.now() + timedelta(minutes=5),
    )
    await world.database.write(lambda c: lifecycle.enqueue(c, [again], world.clock.now()))
    text = await page(world)
    assert "Next fetch 08:05. The curves appear here automatically." in text
    assert "08:05:00 Next fetch of activity (follow-up check)" in text


async def test_pages_link_to_the_activities_they_mention(world: World) -> None:
    await furnish(world)
    event = await world.deliver(RUN, "update")
    unknown = await world.deliver(778)
    await world.dead_letter(9)
    link = f'href="/activities/{RUN}"'
    async with world.browser() as browser:
        for path in ("/", "/events", f"/events/{event}"):
            assert link in (await browser.get(path)).text, path
        assert 'href="/activities/778"' in (await browser.get(f"/events/{unknown}")).text
        assert 'href="/activities/' in (await browser.get("/failures")).text


async def test_the_activity_bundle_is_small_and_loaded_only_by_its_page(world: World) -> None:
    await furnish(world)
    async with world.browser(headers={"Accept-Encoding": "gzip"}) as browser:
        text = (await browser.get(f"/activities/{RUN}")).text
        loads = set(re.findall(r'(?:src|href)="(/static/[^"]*)"', text))
        size = len(text.encode())
        for address in loads:
            answer = await browser.get(address)
            assert answer.status_code == 200
            size += int(answer.headers["content-length"])
        assert size < 150_000
        others = set(re.findall(r'(?:src|href)="(/static/[^"]*)"', (await browser.get("/")).text))
    assert {address.partition("-")[0] for address in loads - others} == {"/static/activity"}


@pytest.mark.parametrize("state", ["whole", "deleted", "heard of"])
async def test_the_page_is_read_from_both_databases(database: Database, state: str) -> None:
    async with web_world(database) as world:
        await world.connect()
        await world.deliver(RUN)
        if state != "heard of":
            await furnish(world)
        if state == "deleted":
            await write(world, Tombstone(RUN, 42, "reconciliation"))
        await page(world)


async def test_a_recorded_marathon_is_shown(world: World, recorded: Path) -> None:
    record = activity((recorded / "activity_run_detailed.json").read_bytes(), "detail", "GET activities/1")
    mine = ActivityRecord(record.id, 42, "detail", record.columns, record.raw)
    packed = encode((recorded / "activity_run_streams_distance.json").read_bytes())
    held = StoreStreams(record.id, 42, "present", packed.blob, packed.channels, packed.samples)
    await write(world, StoreDetail(mine, "backfill", None, complete=True), held)
    text = await page(world, f"/activities/{record.id}")
    for said in (
        "TCS NYC Marathon 2018",
        "Sunday, 4 November 2018, 09:53 (America/New York)",
        "Distance 42.27 km",
        "Moving time 3:38:05",
        "Average pace 5:15 /km",
        "Gear Adidas Supernova ST",
        "All 43: fastest",
        "No curves for the recorded channels: distance.",
    ):
        assert said in text
    async with world.browser() as browser:
        assert len((await browser.get(f"/activities/{record.id}/curves")).json()["track"]) > 500
