"""Activities of the sandbox are plausible, and their summaries agree with their streams."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import mean
from typing import Any

import msgspec
import pytest

from feedzone.sandbox import World
from feedzone.sandbox.history import Spec
from feedzone.sandbox.polyline import decode, encode
from feedzone.sandbox.streams import KEYS, build

NOW = 1_795_000_000.0


def make_world(seed: int = 7, athletes: int = 5, days: int = 200) -> World:
    world = World(seed, lambda: NOW)
    for _ in range(athletes):
        world.add_athlete(days)
    return world


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def one_of_each(world: World) -> list[Spec]:
    first: dict[str, Spec] = {}
    for spec in world.activities.values():
        if not spec.manual:
            first.setdefault(spec.shape, spec)
    return list(first.values())


def streams_of(world: World, spec: Spec) -> dict[str, list[Any]]:
    motion = world.motion(spec)
    assert motion is not None
    return build(motion, set(KEYS), world.stride(spec))


def metres(a: list[float], b: list[float]) -> float:
    mid = math.radians((a[0] + b[0]) / 2)
    return math.hypot((a[0] - b[0]) * 111_320, (a[1] - b[1]) * 111_320 * math.cos(mid))


def test_the_same_seed_makes_the_same_world_whatever_is_looked_at_first() -> None:
    one, other = make_world(3, 3, 90), make_world(3, 3, 90)
    ids = sorted(one.activities)
    backwards = {i: other.detail(other.activities[i]) for i in reversed(ids)}
    for i in ids:
        assert msgspec.json.encode(one.detail(one.activities[i])) == msgspec.json.encode(backwards[i])


def test_another_seed_makes_another_world() -> None:
    assert set(make_world(1, 1).activities) != set(make_world(2, 1).activities)


def test_every_kind_of_sport_occurs(world: World) -> None:
    shapes = {spec.shape for spec in one_of_each(world)}
    assert {"Ride", "Run", "Swim", "VirtualRide", "Walk", "Hike", "WeightTraining", "Rowing"} <= shapes
    assert any(spec.manual for spec in world.activities.values())
    assert {spec.visibility for spec in world.activities.values()} == {
        "everyone",
        "followers_only",
        "only_me",
    }


def test_distance_and_time_only_grow(world: World) -> None:
    for spec in one_of_each(world):
        found = streams_of(world, spec)
        assert all(a <= b for a, b in pairwise(found["distance"]))
        assert all(a < b for a, b in pairwise(found["time"]))
        assert len({len(channel) for channel in found.values()}) == 1


def test_the_summary_says_what_the_streams_say(world: World) -> None:
    for spec in one_of_each(world):
        found, summary = streams_of(world, spec), world.summary(spec)
        assert summary["distance"] == found["distance"][-1]
        assert summary["elapsed_time"] == found["time"][-1]
        moving = sum(b - a for (a, b), m in zip(pairwise(found["time"]), found["moving"], strict=False) if m)
        assert summary["moving_time"] == moving
        if "altitude" in found:
            assert summary["elev_high"] == max(found["altitude"])
            assert summary["elev_low"] == min(found["altitude"])
            climbed = sum(b - a for a, b in pairwise(found["altitude"]) if b > a)
            assert summary["total_elevation_gain"] == pytest.approx(climbed, rel=0.05, abs=8)
        if "velocity_smooth" in found:
            assert summary["max_speed"] == max(found["velocity_smooth"])
        for channel, name in (("heartrate", "heartrate"), ("cadence", "cadence"), ("watts", "watts")):
            if channel in found:
                assert summary[f"average_{name}"] == pytest.approx(mean(found[channel]), abs=0.5)
        if "heartrate" in found:
            assert summary["max_heartrate"] == max(found["heartrate"])


def test_the_track_is_as_long_as_the_distance_and_leads_home(world: World) -> None:
    for spec in one_of_each(world):
        found, summary = streams_of(world, spec), world.summary(spec)
        if "latlng" not in found:
            assert summary["start_latlng"] == []
            continue
        track = found["latlng"]
        assert sum(metres(a, b) for a, b in pairwise(track)) == pytest.approx(summary["distance"], rel=0.03)
        assert metres(track[0], track[-1]) < max(600, summary["distance"] * 0.05)
        assert summary["start_latlng"] == track[0]
        assert summary["end_latlng"] == track[-1]
        assert all(round(lat, 6) == lat and round(lng, 6) == lng for lat, lng in track)


def test_a_place_has_one_height_however_it_is_reached(world: World) -> None:
    heights: dict[tuple[float, float], list[float]] = {}
    athlete = next(iter(world.athletes))
    for spec in world.visible(athlete, private_too=True)[:60]:
        if not spec.manual and "latlng" in (found := streams_of(world, spec)):
            for (lat, lng), height in zip(found["latlng"], found["altitude"], strict=True):
                heights.setdefault((round(lat, 5), round(lng, 5)), []).append(height)
    crossings = [found for found in heights.values() if len(found) > 1]
    assert crossings
    assert max(max(found) - min(found) for found in crossings) < 3


def test_polylines_decode_to_the_track(world: World) -> None:
    for spec in one_of_each(world):
        drawn = world.detail(spec)["map"]
        if not drawn["summary_polyline"]:
            continue
        track = streams_of(world, spec)["latlng"]
        for text in (drawn["polyline"], drawn["summary_polyline"]):
            points = decode(text)
            assert encode(points) == text
            assert metres(list(points[0]), track[0]) < 2
            assert metres(list(points[-1]), track[-1]) < 2
        assert len(decode(drawn["summary_polyline"])) < 200


def test_splits_and_laps_add_up_to_the_activity(world: World) -> None:
    for spec in one_of_each(world):
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


def test_local_time_wears_a_z_and_only_utc_offset_knows_about_summer(world: World) -> None:
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
