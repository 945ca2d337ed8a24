"""The parts of a detail without a typed column are read as far as possible."""

from __future__ import annotations

import pytest

from feedzone.domain.activity_details import ActivityDetails
from feedzone.strava.details import parts


@pytest.mark.parametrize(
    "detail",
    [
        "",
        "[]",
        "{}",
        '{"laps": 5, "map": [], "gear": "b1", "splits_metric": [{"split": "x"}]}',
        '{"laps": null}',
    ],
)
def test_missing_or_malformed_parts_are_left_out(detail):
    assert parts(detail) == ActivityDetails()


def test_a_malformed_part_does_not_hide_the_others():
    read = parts(
        '{"laps": [{"name": 7}], "splits_standard": [{"split": 1, "distance": 9}], "gear": {"name": "Old"}}'
    )
    assert (read.laps, read.gear_name, read.miles[0].distance) == ((), "Old", 9.0)


def test_a_recorded_run_has_its_laps_splits_gear_and_track(recorded):
    read = parts((recorded / "activity_run_detailed.json").read_text())
    assert (len(read.laps), len(read.kilometres), len(read.miles)) == (1, 43, 27)
    assert read.gear_name == "Adidas Supernova ST"
    assert len(read.polyline or "") > 1000
