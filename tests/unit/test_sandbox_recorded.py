"""The sandbox's responses have the same fields and value types as recorded Strava responses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from feedzone.sandbox import Behaviour, World
from feedzone.sandbox.athletes import detailed_json, summary_json

RECORDED = os.environ.get("FEEDZONE_RECORDED", "")
pytestmark = pytest.mark.skipif(
    not RECORDED, reason="FEEDZONE_RECORDED names no folder of recorded responses"
)
SIZES = range(77_000, 79_000)
"""Recorded details of runs, in bytes without blanks."""


def recorded(name: str) -> Any:
    return msgspec.json.decode((Path(RECORDED) / f"{name}.json").read_bytes())


@pytest.fixture(scope="module")
def world() -> World:
    new_world = World(3, lambda: 1_795_000_000.0, behaviour=Behaviour(long_details=True))
    for _ in range(6):
        new_world.add_athlete(0)
    return new_world


def premium_runner(world: World) -> int:
    return next(a.id for a in world.athletes.values() if a.premium and a.has_hr)


def assert_like(simulated: dict[str, Any], real: dict[str, Any], missing_allowed: set[str]) -> None:
    assert set(real) - set(simulated) <= missing_allowed
    for key, value in real.items():
        if value is not None and simulated.get(key) is not None:
            types = (
                (int, float)
                if isinstance(value, int | float) and not isinstance(value, bool)
                else type(value)
            )
            assert isinstance(simulated[key], types), key


def test_a_list_row_has_the_recorded_fields(world: World) -> None:
    spec = world.record(premium_runner(world), "Run", 40)
    assert_like(world.summary(spec), recorded("activities_page")[0], set())


def test_a_detail_has_the_recorded_fields(world: World) -> None:
    detail = world.detail(world.record(premium_runner(world), "Run", 40))
    real = recorded("activity_run_detailed")
    assert_like(detail, real, set())
    for part in ("laps", "splits_metric", "splits_standard", "segment_efforts", "best_efforts"):
        assert_like(detail[part][0], real[part][0], set())
    assert_like(detail["segment_efforts"][0]["segment"], real["segment_efforts"][0]["segment"], set())
    assert_like(detail["similar_activities"], real["similar_activities"], set())
    assert_like(detail["similar_activities"]["trend"], real["similar_activities"]["trend"], set())
    assert detail["available_zones"] == real["available_zones"]
    assert len(msgspec.json.encode(detail)) in SIZES
    assert len(msgspec.json.encode(real)) in SIZES
    assert_like(detail["gear"], real["gear"], set())


def test_a_manual_activity_lacks_the_same_fields_as_a_recorded_one(world: World) -> None:
    spec = world.record(premium_runner(world), "Swim", 40, manual=True)
    simulated, real = world.summary(spec), recorded("activity_swim_detailed")
    assert_like(simulated, real, set())
    assert set(simulated["map"]) == set(real["map"])


def test_athletes_have_the_recorded_fields(world: World) -> None:
    athlete = world.athletes[premium_runner(world)]
    assert_like(detailed_json(athlete), recorded("athlete"), set())
    assert detailed_json(athlete)["shoes"]
    assert_like(detailed_json(athlete)["shoes"][0], recorded("athlete")["shoes"][0], set())
    exchange = next(e for e in recorded("exchanges") if e["case"] == "token_authorization_code")
    assert_like(summary_json(athlete), msgspec.json.decode(exchange["body"])["athlete"], set())


def test_photos_of_a_detail_have_the_recorded_fields(world: World) -> None:
    detail = world.detail(world.record(premium_runner(world), "Run", 40, photos=2))
    real = recorded("activity_run_detailed")["photos"]
    assert_like(detail["photos"], real, set())
    assert_like(detail["photos"]["primary"], real["primary"], set())


def decimals(rows: list[dict[str, Any]]) -> set[int]:
    ends = [value for row in rows for value in (row["start_latlng"] or [])]
    return {len(str(value).partition(".")[2]) for value in ends}


def test_places_are_as_exact_as_recorded(world: World) -> None:
    rows = [world.summary(world.record(premium_runner(world), "Run", n)) for n in range(20, 60)]
    real = recorded("activities_page")
    assert max(decimals(rows)) == max(decimals(real)) == 6
    assert {row["location_country"] for row in rows} == {row["location_country"] for row in real} == {None}
    manual = world.summary(world.record(premium_runner(world), "Swim", 40, manual=True))
    assert isinstance(
        manual["location_country"], type(recorded("activity_swim_detailed")["location_country"])
    )
