"""Strava's JSON becomes typed columns, also where it is misleading or malformed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from feedzone.errors import TransientError
from feedzone.strava import payloads

SMALL = {"id": 7, "athlete": {"id": 3}}
CALL = "GET activities/7"


def read(level: str = "detail", **members: Any) -> dict[str, Any]:
    """The columns of an activity with these members."""
    return payloads.activity(msgspec.json.encode(SMALL | members), level, CALL).columns


def test_a_recorded_run_fills_its_columns(recorded):
    body = (recorded / "activity_run_detailed.json").read_bytes()
    run = payloads.activity(body, "detail", CALL)
    assert (run.id, run.level, run.manual) == (1946417534, "detail", False)
    assert run.raw == body.decode()
    assert run.start_date == datetime(2018, 11, 4, 14, 53, 46, tzinfo=UTC)
    expected = {
        "name": "TCS NYC Marathon 2018",
        "sport_type": "Run",
        "workout_type": 1,
        "distance": 42268.1,
        "moving_time": 13085,
        "elapsed_time": 13333,
        "total_elevation_gain": 270.9,
        "elev_low": -8.1,
        "average_speed": 3.17,
        "average_heartrate": 170.1,
        "calories": 3760.0,
        "perceived_exertion": None,
        "start_date_local": datetime(2018, 11, 4, 9, 53, 46),  # noqa: DTZ001  (wall time)
        "timezone": "America/New_York",
        "utc_offset": -18000,
        "start_hidden": False,
        "visibility": "everyone",
        "gear_id": "g3423618",
        "device_name": "Fitbit Ionic",
        "upload_id": 2082412856,
        "hide_from_home": False,
    }
    assert {name: run.columns.get(name, "absent") for name in expected} == expected
    assert run.columns["description"].startswith("Official time 3:42:02.")
    assert run.columns["summary_polyline"]


def test_a_recorded_ride_in_summer_time_has_its_offset(recorded):
    ride = payloads.activity((recorded / "activity_ride_detailed.json").read_bytes(), "detail", CALL).columns
    assert (ride["distance"], ride["trainer"], ride["average_temp"]) == (101529.0, True, 28)
    assert (ride["gear_id"], ride["start_lat"], ride["start_lng"]) == (None, 49.197681, 7.883777)
    assert (ride["timezone"], ride["utc_offset"]) == ("America/New_York", -14400)


def test_a_recorded_manual_swim_has_no_sensors(recorded):
    swim = payloads.activity((recorded / "activity_swim_detailed.json").read_bytes(), "summary", CALL)
    assert swim.manual
    assert swim.columns["start_date"] == datetime(2018, 4, 7, 0, 10, tzinfo=UTC)
    assert swim.columns["start_date_local"] == datetime(2018, 4, 6, 20, 10)  # noqa: DTZ001  (wall time)
    assert (swim.columns["distance"], swim.columns["summary_polyline"]) == (1874.5, None)
    assert not {"upload_id", "visibility", "description", "start_lat"} & set(swim.columns)


def test_a_recorded_page_lists_summaries(recorded):
    body = (recorded / "activities_page.json").read_bytes()
    page = payloads.activity_page(body, "GET athlete/activities page 1", 26462176)
    received = msgspec.json.decode(body)
    assert [record.id for record in page] == [entry["id"] for entry in received]
    assert {record.level for record in page} == {"summary"}
    assert {record.athlete_id for record in page} == {26462176}
    for record, entry in zip(page, received, strict=True):
        assert msgspec.json.decode(record.raw) == entry
        assert record.columns["distance"] == entry["distance"]
        assert not {"description", "calories"} & set(record.columns)


def test_absent_is_not_null():
    assert read("summary", name="x") == {"name": "x"}
    assert read("detail", name="x", description=None, gear_id=None) == {
        "name": "x",
        "description": None,
        "gear_id": None,
    }


def test_the_json_text_is_stored_as_received():
    body = b'{ "id": 7, "athlete": {"id": 3}, "kudos": 1.50, "new": {"a": [null]} }'
    assert payloads.activity(body, "detail", CALL).raw == body.decode()


@pytest.mark.parametrize("activity_id", [2**53 + 1, 2**63 - 1])
def test_ids_have_64_bits(activity_id):
    body = msgspec.json.encode({"id": activity_id, "athlete": {"id": activity_id}, "upload_id": activity_id})
    record = payloads.activity(body, "summary", CALL)
    assert (record.id, record.athlete_id, record.columns["upload_id"]) == (activity_id,) * 3


def test_an_unknown_sport_type_is_stored_unchanged():
    assert read(sport_type="UnderwaterPadel", type="Workout") == {
        "sport_type": "UnderwaterPadel",
        "type": "Workout",
    }


@pytest.mark.parametrize(
    ("utc", "wall", "offset"),
    [
        ("2026-07-01T12:00:00Z", "2026-07-01T08:00:00Z", -14400.0),
        ("2026-01-01T12:00:00Z", "2026-01-01T07:00:00Z", -18000.0),
        # The hour that occurs twice at the end of summer time: only the instant is unique.
        ("2026-11-01T05:30:00Z", "2026-11-01T01:30:00Z", -14400.0),
        ("2026-11-01T06:30:00Z", "2026-11-01T01:30:00Z", -18000.0),
    ],
)
def test_a_start_time_is_an_instant_a_wall_time_a_zone_and_an_offset(utc, wall, offset):
    columns = read(
        start_date=utc, start_date_local=wall, timezone="(GMT-05:00) America/New_York", utc_offset=offset
    )
    assert columns["start_date"] == datetime.fromisoformat(utc)
    assert columns["start_date"].tzinfo is UTC
    assert columns["start_date_local"] == datetime.fromisoformat(wall).replace(tzinfo=None)
    assert (columns["timezone"], columns["utc_offset"]) == ("America/New_York", int(offset))
    local = columns["start_date_local"].replace(tzinfo=UTC)
    assert (local - columns["start_date"]).total_seconds() == offset


@pytest.mark.parametrize(("wall", "hidden"), [("00:00:01", True), ("00:00:00", False), ("12:00:01", False)])
def test_a_hidden_start_time_differs_from_midnight(wall, hidden):
    assert read(start_date_local=f"2026-05-01T{wall}Z")["start_hidden"] is hidden


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("(GMT-05:00) America/New_York", "America/New_York"),
        ("(GMT+05:45) Asia/Katmandu", "Asia/Katmandu"),
        ("(GMT+00:00) GMT", "GMT"),
        ("Europe/Vienna", "Europe/Vienna"),
        ("", ""),
        ("(GMT", "(GMT"),
    ],
)
def test_the_zone_is_named_without_the_offset_that_ignores_summer(text, zone):
    assert read(timezone=text)["timezone"] == zone


@pytest.mark.parametrize(
    ("latlng", "place"),
    [([48.2, 16.4], (48.2, 16.4)), ([], (None, None)), (None, (None, None)), ([48.2], (None, None))],
)
def test_a_missing_position_may_be_empty_or_null(latlng, place):
    columns = read(start_latlng=latlng)
    assert (columns["start_lat"], columns["start_lng"]) == place


def test_indoor_rowing_has_no_position_and_no_track():
    """As a rowing machine uploads it; the streams come without `latlng`."""
    row = read(
        sport_type="Rowing",
        type="Rowing",
        trainer=True,
        manual=False,
        start_latlng=[],
        end_latlng=[],
        map={"id": "a7", "summary_polyline": "", "resource_state": 2},
        distance=5000.0,
        upload_id=2**53 + 1,
    )
    assert (row["trainer"], row["manual"], row["sport_type"]) == (True, False, "Rowing")
    assert (row["start_lat"], row["start_lng"], row["summary_polyline"]) == (None, None, None)
    assert (row["distance"], row["upload_id"]) == (5000.0, 2**53 + 1)


@pytest.mark.parametrize("hidden", [None, []])
def test_an_activity_that_starts_in_a_privacy_zone_keeps_its_visible_parts(hidden):
    """Strava hides the start and not the rest of the track; the visibility is stored."""
    ride = read(
        sport_type="Ride",
        start_latlng=hidden,
        map={"id": "a7", "summary_polyline": "_p~iF~ps|U_ulLnnqC"},
        private=False,
        visibility="followers_only",
        hide_from_home=True,
    )
    assert (ride["start_lat"], ride["start_lng"]) == (None, None)
    assert ride["summary_polyline"] == "_p~iF~ps|U_ulLnnqC"
    assert (ride["private"], ride["visibility"], ride["hide_from_home"]) == (False, "followers_only", True)


@pytest.mark.parametrize(
    ("members", "columns"),
    [
        ({"distance": "1874.5"}, {"distance": 1874.5}),
        ({"distance": 1874}, {"distance": 1874.0}),
        ({"moving_time": 12.0}, {"moving_time": 12}),
        ({"upload_id": None}, {"upload_id": None}),
        ({"workout_type": None}, {"workout_type": None}),
        ({"trainer": 1, "manual": "true"}, {"trainer": True, "manual": True}),
        ({"start_date": None, "timezone": None}, {"start_date": None, "timezone": None}),
        ({"map": None}, {"summary_polyline": None}),
        ({"map": {"id": "a7"}}, {"summary_polyline": None}),
        ({"map": {"summary_polyline": ""}}, {"summary_polyline": None}),
    ],
)
def test_unusual_but_clear_values_are_accepted(members, columns):
    assert read(**members) == columns


@pytest.mark.parametrize(
    "odd",
    [
        {"distance": "far"},
        {"distance": {"m": 3}},
        {"moving_time": 12.7},
        {"name": 5},
        {"start_date": "soon"},
        {"start_date": 1516126040},
        {"start_date": "9999-12-31T23:59:59-23:00"},
        {"start_date": "9999-12-31T23:59:59Z"},
        {"start_date": "0001-01-01T00:00:00Z"},
        {"start_date_local": "0001-01-01T00:00:00Z"},
        {"start_date_local": "9999-12-31T23:59:59Z"},
        {"start_date_local": ""},
        {"timezone": 1},
        {"utc_offset": "west"},
        {"start_latlng": "here"},
        {"start_latlng": ["a", "b"]},
        {"map": "none"},
        {"map": {"summary_polyline": 5}},
        {"private": "perhaps"},
    ],
)
def test_a_field_of_an_unexpected_type_is_left_out_and_the_others_stay(odd):
    body = msgspec.json.encode(SMALL | odd | {"sport_type": "Ride", "kilojoules": 3.5})
    record = payloads.activity(body, "detail", CALL)
    assert record.columns == {"sport_type": "Ride", "kilojoules": 3.5}
    assert record.raw == body.decode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>bad gateway</html>",
        b"null",
        b"5",
        b"[]",
        b'"id athlete"',
        b"{}",
        b'{"id":1}',
        b'{"id":1,"athlete":null}',
        b'{"id":null,"athlete":{"id":1}}',
        b'{"id":1,"athlete":{"id":1},"name":"\xff"}',
        b'{"id":1,"athlete":{"id":1},"unread":"\xff"}',
    ],
)
def test_a_successful_status_without_an_activity_is_an_outage(body):
    with pytest.raises(TransientError) as caught:
        payloads.activity(body, "detail", CALL)
    assert (caught.value.status, caught.value.call) == (200, CALL)


def test_a_page_keeps_entries_with_malformed_fields():
    body = b'[{"id":1,"athlete":{"id":2},"distance":"far"},{"id":2,"athlete":{"id":2}}]'
    assert [record.columns for record in payloads.activity_page(body, CALL, 2)] == [{}, {}]


def test_an_empty_page_is_empty():
    assert payloads.activity_page(b"[]", CALL, 2) == []


def test_a_grant_has_its_expiry_and_hides_its_tokens(recorded):
    cases = msgspec.json.decode((recorded / "exchanges.json").read_bytes())
    received = next(case["body"] for case in cases if case["case"] == "token_refresh_token")
    grant = payloads.grant(msgspec.json.decode(received))
    assert (grant.access_token, grant.refresh_token) == ("new-access-token", "new-refresh-token")
    assert grant.expires_at == datetime(2018, 11, 23, 2, 29, 59, tzinfo=UTC)
    assert "new-" not in repr(grant)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**70, 1e300])
def test_a_number_that_fits_no_column_is_left_out_and_the_others_stay(number):
    """PostgreSQL would refuse the whole activity."""
    members = {"elapsed_time": number, "workout_type": number, "utc_offset": number}
    columns = read(name="Long", **members)
    assert columns["name"] == "Long"
    assert not columns.keys() & members.keys()
