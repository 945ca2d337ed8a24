"""Activities of the sandbox are plausible, and their summaries agree with their streams."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import mean
from typing import Any

import msgspec
import pytest

from feedzone.sandbox import Behaviour, SandboxOptions, World
from feedzone.sandbox.history import ActivitySpec
from feedzone.sandbox.payloads import photos
from feedzone.sandbox.polyline import decode, encode
from feedzone.sandbox.streams import KEYS, build

NOW = 1_795_000_000.0


def make_world(seed: int = 7, athletes: int = 5, days: int = 200, *, long_details: bool = False) -> World:
    world = World(seed, lambda: NOW, behaviour=Behaviour(long_details=long_details))
    for _ in range(athletes):
        world.add_athlete(days)
    return world


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def first_of_each_sport(world: World) -> list[ActivitySpec]:
    first: dict[str, ActivitySpec] = {}
    for spec in world.activities.values():
        if not spec.manual:
            first.setdefault(spec.shape, spec)
    return list(first.values())


def streams_of(world: World, spec: ActivitySpec) -> dict[str, list[Any]]:
    motion = world.motion(spec)
    assert motion is not None
    return build(motion, set(KEYS), world.stride(spec))


def metres(a: list[float], b: list[float]) -> float:
    mid = math.radians((a[0] + b[0]) / 2)
    return math.hypot((a[0] - b[0]) * 111_320, (a[1] - b[1]) * 111_320 * math.cos(mid))


def test_the_same_seed_makes_the_same_world_in_any_order_of_reads() -> None:
    first, second = make_world(3, 3, 90), make_world(3, 3, 90)
    ids = sorted(first.activities)
    reverse_details = {i: second.detail(second.activities[i]) for i in reversed(ids)}
    for i in ids:
        assert msgspec.json.encode(first.detail(first.activities[i])) == msgspec.json.encode(
            reverse_details[i]
        )


def test_a_different_seed_makes_a_different_world() -> None:
    assert set(make_world(1, 1).activities) != set(make_world(2, 1).activities)


def test_every_kind_of_sport_occurs(world: World) -> None:
    shapes = {spec.shape for spec in first_of_each_sport(world)}
    assert {"Ride", "Run", "Swim", "VirtualRide", "Walk", "Hike", "WeightTraining", "Rowing"} <= shapes
    assert any(spec.manual for spec in world.activities.values())
    assert {spec.visibility for spec in world.activities.values()} == {
        "everyone",
        "followers_only",
        "only_me",
    }


def test_distance_and_time_only_grow(world: World) -> None:
    for spec in first_of_each_sport(world):
        channels = streams_of(world, spec)
        assert all(a <= b for a, b in pairwise(channels["distance"]))
        assert all(a < b for a, b in pairwise(channels["time"]))
        assert len({len(channel) for channel in channels.values()}) == 1


def test_the_summary_matches_the_streams(world: World) -> None:
    for spec in first_of_each_sport(world):
        channels, summary = streams_of(world, spec), world.summary(spec)
        assert summary["distance"] == channels["distance"][-1]
        assert summary["elapsed_time"] == channels["time"][-1]
        moving = sum(
            b - a for (a, b), m in zip(pairwise(channels["time"]), channels["moving"], strict=False) if m
        )
        assert summary["moving_time"] == moving
        if "altitude" in channels:
            assert summary["elev_high"] == max(channels["altitude"])
            assert summary["elev_low"] == min(channels["altitude"])
            climbed = sum(b - a for a, b in pairwise(channels["altitude"]) if b > a)
            assert summary["total_elevation_gain"] == pytest.approx(climbed, rel=0.05, abs=8)
        if "velocity_smooth" in channels:
            assert summary["max_speed"] == max(channels["velocity_smooth"])
        for channel, name in (("heartrate", "heartrate"), ("cadence", "cadence"), ("watts", "watts")):
            if channel in channels:
                assert summary[f"average_{name}"] == pytest.approx(mean(channels[channel]), abs=0.5)
        if "heartrate" in channels:
            assert summary["max_heartrate"] == max(channels["heartrate"])


def test_the_track_is_as_long_as_the_distance_and_returns_to_its_start(world: World) -> None:
    for spec in first_of_each_sport(world):
        channels, summary = streams_of(world, spec), world.summary(spec)
        if "latlng" not in channels:
            assert summary["start_latlng"] == []
            continue
        track = channels["latlng"]
        assert sum(metres(a, b) for a, b in pairwise(track)) == pytest.approx(summary["distance"], rel=0.03)
        assert metres(track[0], track[-1]) < max(600, summary["distance"] * 0.05)
        assert summary["start_latlng"] == track[0]
        assert summary["end_latlng"] == track[-1]
        assert all(round(lat, 6) == lat and round(lng, 6) == lng for lat, lng in track)


def test_a_place_has_the_same_altitude_in_every_activity(world: World) -> None:
    heights: dict[tuple[float, float], list[float]] = {}
    athlete = next(iter(world.athletes))
    for spec in world.visible(athlete, private_too=True)[:60]:
        if not spec.manual and "latlng" in (channels := streams_of(world, spec)):
            for (lat, lng), height in zip(channels["latlng"], channels["altitude"], strict=True):
                heights.setdefault((round(lat, 5), round(lng, 5)), []).append(height)
    crossings = [altitudes for altitudes in heights.values() if len(altitudes) > 1]
    assert crossings
    assert max(max(altitudes) - min(altitudes) for altitudes in crossings) < 3


def test_polylines_decode_to_the_track(world: World) -> None:
    for spec in first_of_each_sport(world):
        activity_map = world.detail(spec)["map"]
        if not activity_map["summary_polyline"]:
            continue
        track = streams_of(world, spec)["latlng"]
        for text in (activity_map["polyline"], activity_map["summary_polyline"]):
            points = decode(text)
            assert encode(points) == text
            assert metres(list(points[0]), track[0]) < 2
            assert metres(list(points[-1]), track[-1]) < 2
        assert len(decode(activity_map["summary_polyline"])) < 200


def test_splits_and_laps_add_up_to_the_activity(world: World) -> None:
    for spec in first_of_each_sport(world):
        detail = world.detail(spec)
        for parts in (detail["laps"], detail.get("splits_metric", detail["laps"])):
            assert sum(p["distance"] for p in parts) == pytest.approx(
                detail["distance"], abs=0.1 * len(parts)
            )
            assert sum(p["elapsed_time"] for p in parts) == detail["elapsed_time"]
            assert sum(p["moving_time"] for p in parts) == detail["moving_time"]


def test_a_manual_activity_has_no_streams_and_no_upload(world: World) -> None:
    spec = next(s for s in world.activities.values() if s.manual)
    summary = world.summary(spec)
    assert world.motion(spec) is None
    assert summary["upload_id"] is None
    assert summary["map"] == {"id": f"a{spec.id}", "resource_state": 2}


def test_local_time_ends_in_z_and_only_utc_offset_follows_daylight_saving(world: World) -> None:
    new_yorker = next(a for a in world.athletes.values() if a.city.name == "New York")
    summer = world.record(new_yorker.id, start=1_783_000_000)
    winter = world.record(new_yorker.id, start=1_768_000_000)
    rows = [world.summary(summer), world.summary(winter)]
    assert {row["timezone"] for row in rows} == {"(GMT-05:00) America/New_York"}
    assert [row["utc_offset"] for row in rows] == [-14400.0, -18000.0]
    assert rows[1]["start_date"] == "2026-01-09T23:06:40Z"
    assert rows[1]["start_date_local"] == "2026-01-09T18:06:40Z"


def test_ids_need_more_than_32_bits_and_are_unique(world: World) -> None:
    assert min(world.activities) > 2**31
    assert 1.5e10 < max(world.activities) < 1.8e10
    assert all(world.activities[i].id == i for i in world.activities)


@pytest.fixture(scope="module")
def long_world() -> World:
    return make_world(athletes=4, days=60, long_details=True)


@pytest.mark.parametrize("sport", ["Run", "TrailRun", "Ride", "GravelRide"])
@pytest.mark.parametrize("minutes", [45, 90, 240])
def test_long_details_of_runs_and_rides_have_the_recorded_size(
    long_world: World, sport: str, minutes: int
) -> None:
    for athlete in long_world.athletes:
        spec = long_world.record(athlete, sport, minutes)
        assert 77_000 < len(msgspec.json.encode(long_world.detail(spec))) < 79_000


def test_efforts_lie_inside_their_activity(long_world: World) -> None:
    for spec in first_of_each_sport(long_world):
        detail, channels = long_world.detail(spec), streams_of(long_world, spec)
        efforts = detail["segment_efforts"]
        assert bool(efforts) == ("latlng" in channels and "splits_metric" in detail)
        assert len({effort["id"] for effort in efforts}) == len(efforts)
        for effort in [*efforts, *detail.get("best_efforts", [])]:
            first, last = effort["start_index"], effort["end_index"]
            assert 0 <= first < last < len(channels["time"])
            covered = channels["distance"][last] - channels["distance"][first]
            assert effort["distance"] <= covered + 1
            assert effort["elapsed_time"] <= channels["time"][last] - channels["time"][first]
        for effort in efforts:
            assert metres(effort["segment"]["start_latlng"], channels["latlng"][effort["start_index"]]) < 60


def test_a_short_recording_crosses_few_segments(long_world: World) -> None:
    athlete = next(iter(long_world.athletes))
    counts = [
        len(long_world.detail(long_world.record(athlete, "Run", m))["segment_efforts"]) for m in (1, 2, 9)
    ]
    assert counts == sorted(counts)
    assert counts[0] < 5 < counts[2] < 30


def test_a_hidden_map_shows_no_segment(long_world: World) -> None:
    spec = long_world.record(next(iter(long_world.athletes)), "Run", 45)
    assert long_world.detail(spec)["segment_efforts"]
    long_world.alter(spec.id, map_hidden=True)
    assert long_world.detail(spec)["segment_efforts"] == []


def test_details_are_short_unless_asked_for(world: World) -> None:
    for spec in first_of_each_sport(world):
        assert world.detail(spec)["segment_efforts"] == []


def test_the_served_sandbox_has_long_details_and_the_simulated_world_has_not() -> None:
    assert SandboxOptions().behaviour.long_details
    assert not Behaviour().long_details


def test_photos_include_videos_and_placeholders_without_a_url(world: World) -> None:
    athlete = next(iter(world.athletes.values()))
    spec = world.record(athlete.id, "Run", photos=4)
    rows, waiting = (photos(spec, athlete, 5000, since) for since in (NOW, NOW - 1))
    assert [row["type"] for row in rows].count(2) == 1
    for row, before in zip(rows, waiting, strict=True):
        assert row["placeholder_image"] is before["placeholder_image"] is None
        assert row["urls"]["5000"].endswith(".jpg")
        if row["type"] == 2:
            assert row["video_url"].endswith(".m3u8")
            assert (before["video_url"], before["urls"]) == (None, {"5000": None})
        else:
            assert "placeholder" in before["urls"]["5000"]
