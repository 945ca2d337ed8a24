"""Recordings that change at Strava without an event: new samples arrive, lost channels and hidden maps go."""

from __future__ import annotations

import json

import pytest
from engine import DETAIL, STREAMS, ManualEngine, make_engine

from feedzone.queries.activities import ActivityQueries
from feedzone.sandbox import streams as sandbox_streams
from feedzone.store import stream_codec
from feedzone.store.schema.tables import activity_changes, activity_streams, strava_activities


@pytest.fixture
def engine(database, clock, tmp_path) -> ManualEngine:
    made, _ = make_engine(database, clock, tmp_path)
    return made


@pytest.fixture
async def ride(engine):
    """Return a stored ride with heart rate and track, of an athlete who connected days after it."""
    world = engine.world
    athlete = world.add_athlete(0)
    while not athlete.has_hr:
        athlete = world.add_athlete(0)
    spec = world.record(athlete.id, "Ride", 40, start=world.clock() - 5 * 86_400)
    engine.announced.clear()
    await engine.connect(athlete.id)
    await engine.advance_and_work(seconds=1)
    await engine.advance_and_work(hours=1)
    assert (await stored(engine, spec)).keys() >= {"latlng", "heartrate", "altitude"}
    return spec


async def stored(engine, spec) -> dict:
    """Return the stored samples by channel, as Strava sent them."""
    (row,) = await engine.rows(activity_streams, activity_id=spec.id)
    return {} if row.blob is None else stream_codec.decode(bytes(row.blob))


async def is_current(engine, spec) -> bool:
    """Return whether row and samples equal those at Strava."""
    world = engine.world
    motion = world.motion(spec)
    truth = sandbox_streams.build(motion, set(sandbox_streams.KEYS), world.stride(spec))
    here = {name: entry["data"] for name, entry in (await stored(engine, spec)).items()}
    (row,) = await engine.rows(strava_activities, id=spec.id)
    return here == truth and row.total_elevation_gain == world.totals(spec).gain


@pytest.mark.parametrize(
    "changes",
    [
        {"climb": 1.3},
        {"climb": 0.0},
        {"lost": ["heartrate"]},
        {"lost": ["temp", "cadence"]},
        {"lost": ["altitude"]},
        {"map_hidden": True},
        {"minutes": 25},
        {"minutes": 30, "climb": 2.0, "lost": ["heartrate"]},
    ],
    ids=str,
)
async def test_a_changed_recording_is_fetched_again_with_its_samples(engine, ride, changes):
    engine.world.alter(ride.id, **changes)
    assert not await is_current(engine, ride)
    requests = await engine.reconcile(ride.athlete_id)
    assert (requests[DETAIL], requests[STREAMS]) == (1, 1)
    assert await is_current(engine, ride)
    await engine.advance_and_work(minutes=16)  # Strava may have had the old samples: they are fetched twice
    assert engine.requests()[STREAMS] == 3
    assert sum((await engine.reconcile(ride.athlete_id)).values()) == 2  # the list, and nothing else


async def test_a_hidden_map_leaves_no_copy_of_the_track(engine, ride):
    (before,) = await engine.rows(strava_activities, id=ride.id)
    engine.world.alter(ride.id, map_hidden=True)
    engine.world.faults.stream_delay_s = 3600.0
    await engine.reconcile(ride.athlete_id)
    (row,) = await engine.rows(strava_activities, id=ride.id)
    (streams,) = await engine.rows(activity_streams, activity_id=ride.id)
    changes = await engine.rows(activity_changes, activity_id=ride.id)
    copies = repr([row._asdict(), [change._asdict() for change in changes]])
    assert (row.summary_polyline, row.start_lat, row.no_track) == (None, None, True)
    assert before.summary_polyline not in copies
    assert str(before.start_lat) not in copies
    assert json.loads(row.detail)["map"].get("polyline", "") == ""
    assert set(streams.channels.split(",")) == set(await stored(engine, ride))
    assert "latlng" not in streams.channels
    assert "heartrate" in streams.channels  # while Strava makes the others anew


async def test_a_map_that_is_shown_again_brings_the_track_back(engine, ride):
    engine.world.alter(ride.id, map_hidden=True)
    await engine.reconcile(ride.athlete_id)
    engine.world.alter(ride.id, map_hidden=False)
    await engine.reconcile(ride.athlete_id)
    assert await is_current(engine, ride)
    assert "latlng" in await stored(engine, ride)


async def test_samples_that_strava_still_sends_with_a_hidden_map_are_not_stored(engine, ride, monkeypatch):
    """The detail shows no track, whatever the streams show."""
    engine.world.alter(ride.id, map_hidden=True)
    shown = engine.world.motion(ride)
    detail, summary = engine.world.detail(ride), engine.world.summary(ride)
    engine.world.alter(ride.id, map_hidden=False)
    monkeypatch.setattr(engine.world, "detail", lambda _: detail)
    monkeypatch.setattr(engine.world, "summary", lambda _: summary)
    assert shown.lat is None
    await engine.reconcile(ride.athlete_id)
    assert "heartrate" in await stored(engine, ride)
    assert "latlng" not in await stored(engine, ride)


async def test_a_cropped_activity_keeps_its_samples_while_strava_makes_them_anew(engine, ride):
    old = await stored(engine, ride)
    engine.world.faults.stream_delay_s = 120.0
    engine.world.alter(ride.id, minutes=20)
    await engine.reconcile(ride.athlete_id)
    (row,) = await engine.rows(activity_streams, activity_id=ride.id)
    assert (row.state, await stored(engine, ride)) == ("pending", old)
    await engine.advance_and_work(minutes=1)
    await engine.advance_and_work(minutes=5)
    assert await is_current(engine, ride)


async def test_samples_that_never_come_again_do_not_replace_stored_ones(engine, ride):
    old = await stored(engine, ride)
    engine.world.faults.stream_delay_s = 1e9
    engine.world.alter(ride.id, minutes=20)
    await engine.reconcile(ride.athlete_id)
    for _ in range(60):
        await engine.advance_and_work(hours=1)
    (row,) = await engine.rows(activity_streams, activity_id=ride.id)
    assert (row.state, await stored(engine, ride)) == ("present", old)
    engine.world.faults.stream_delay_s = 0.0
    await engine.advance_and_work(days=4)
    await engine.reconcile(ride.athlete_id)
    assert await is_current(engine, ride)


async def test_old_rides_that_were_uploaded_just_before_connecting_get_their_samples(engine):
    """When an activity started says nothing about when Strava made its streams."""
    world = engine.world
    athlete = world.add_athlete(0)
    world.faults.stream_delay_s = 120.0
    rides = [
        world.record(athlete.id, "Ride", 30, start=world.clock() - days * 86_400) for days in range(2, 12)
    ]
    await engine.connect(athlete.id)
    await engine.work()
    assert {row.state for row in await engine.rows(activity_streams)} == {"pending"}
    await engine.advance_and_work(minutes=1)
    await engine.advance_and_work(minutes=5)
    assert all([await is_current(engine, spec) for spec in rides])


async def test_comparisons_ask_again_for_samples_that_should_be_there(engine):
    """After 1, 2, 4, ... days: an activity that really has none costs few calls."""
    world = engine.world
    athlete = world.add_athlete(0)
    world.faults.stream_delay_s = 1e9
    spec = world.record(athlete.id, "Ride", 30, start=world.clock() - 3 * 86_400)
    await engine.connect(athlete.id)
    for _ in range(30):
        await engine.advance_and_work(hours=1)
    assert [row.state for row in await engine.rows(activity_streams)] == ["absent"]
    asked = []
    for day in range(20):
        if (await engine.reconcile(athlete.id))[STREAMS]:
            asked.append(day)
        await engine.advance_and_work(hours=24)
    assert 2 <= len(asked) <= 4
    world.faults.stream_delay_s = 0.0
    await engine.advance_and_work(days=15)
    await engine.reconcile(athlete.id)
    assert await is_current(engine, spec)


async def test_a_person_who_asks_for_an_activity_gets_its_samples_anew(engine, ride):
    before = engine.requests()[STREAMS]
    await engine.app.athletes.refresh_activity(ride.id)
    await engine.work()
    assert engine.requests()[STREAMS] == before + 1


async def test_list_and_detail_that_disagree_for_good_are_fetched_once(engine, ride, monkeypatch):
    summary = engine.world.summary
    monkeypatch.setattr(
        engine.world, "summary", lambda spec: summary(spec) | {"max_speed": 99.0, "elev_low": -5.0}
    )
    fetched = [(await engine.reconcile(ride.athlete_id))[DETAIL] for _ in range(4)]
    assert fetched == [1, 0, 0, 0]
    engine.world.edit_silently(ride.id, workout_type=11)
    assert (await engine.reconcile(ride.athlete_id))[DETAIL] == 1
    (row,) = await engine.rows(strava_activities, id=ride.id)
    assert (row.workout_type, row.sync_status) == (11, "synced")


async def test_a_difference_that_comes_back_after_it_was_gone_is_fetched(engine, ride):
    for commute in (True, False, True, False, True):
        engine.world.edit_silently(ride.id, commute=commute)
        assert (await engine.reconcile(ride.athlete_id))[DETAIL] == 1
        (row,) = await engine.rows(strava_activities, id=ride.id)
        assert row.commute is commute


async def test_members_that_lists_never_have_are_no_lost_channels(engine, ride, monkeypatch):
    """Otherwise each activity would be fetched twice."""
    summary = engine.world.summary
    left_out = {"average_heartrate", "max_heartrate", "elev_high", "elev_low", "average_temp"}
    monkeypatch.setattr(
        engine.world,
        "summary",
        lambda spec: {name: value for name, value in summary(spec).items() if name not in left_out},
    )
    other = engine.world.record(ride.athlete_id, "Run", 30)
    await engine.deliver_announced()
    await engine.advance_and_work(minutes=2)
    (row,) = await engine.rows(strava_activities, id=other.id)
    assert row.average_heartrate is not None
    requests = await engine.reconcile(ride.athlete_id)
    await engine.work()
    assert requests[f"{DETAIL}"] <= 1  # the ride, whose older summary had these members


async def test_pages_and_exports_have_only_the_channels_that_strava_has(engine, ride):
    engine.world.alter(ride.id, lost=["heartrate"], map_hidden=True)
    await engine.reconcile(ride.athlete_id)
    queries: ActivityQueries = engine.app.queries.activities
    shown = await queries.streams(ride.id)
    pieces = engine.app.queries.export.pieces(ride.athlete_id)
    exported = {name: piece async for name, piece in pieces}
    assert b'"average_heartrate"' not in exported[f"activities/{ride.id}.json"]
    assert not {"heartrate", "latlng"} & stream_codec.decode(exported[f"streams/{ride.id}.parquet"]).keys()
    assert not {"heartrate", "latlng"} & shown.keys()
