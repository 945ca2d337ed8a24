"""One impossible value costs only itself, and alike on both databases."""

from __future__ import annotations

import random
import string

import msgspec
import pytest
from store_makers import ACTIVITY, OWNER, fetched

from feedzone.domain.effect import StorePage
from feedzone.domain.job import backfill_job
from feedzone.store.schema.tables import strava_activities
from feedzone.strava import payloads

RANDOM = random.Random(4)
LONG = "".join(RANDOM.choices(string.ascii_letters, k=20_000))
"""PostgreSQL compresses a text before it measures it: this one stays long."""

BODY = {
    "id": ACTIVITY,
    "athlete": {"id": OWNER},
    "name": "Ride",
    "sport_type": "Ride",
    "type": "Ride",
    "start_date": "2026-11-03T06:00:00Z",
    "start_date_local": "2026-11-03T07:00:00Z",
    "distance": 1000.5,
}

IMPOSSIBLE = [
    ("moving_time", "1e400", None),
    ("moving_time", "2147483648", None),
    ("moving_time", "-99999999999999999999999", None),
    ("distance", "1e400", None),
    ("distance", "-1e999", None),
    ("distance", "1e308", 1e308),
    ("max_speed", "123456789012345678901234567890", 123456789012345678901234567890.0),
    ("upload_id", "9223372036854775808", None),
    ("utc_offset", "1e30", None),
    ("total_photo_count", "4294967296", None),
    ("start_date", '"0000-01-01T00:00:00Z"', None),
    ("start_date", '"99999-01-01T00:00:00Z"', None),
    ("start_date", '"1000-01-01T00:00:00Z"', None),
    ("start_date_local", '"9999-12-31T23:59:59Z"', None),
    ("start_date", '"2026-02-30T00:00:00Z"', None),
    ("sport_type", msgspec.json.encode(LONG).decode(), None),
    ("gear_id", msgspec.json.encode(LONG).decode(), None),
    ("timezone", msgspec.json.encode(LONG).decode(), None),
    ("name", msgspec.json.encode(LONG).decode(), LONG),
    ("description", msgspec.json.encode("x\x00y").decode(), "xy"),
]


def body_with(name: str, value: str) -> bytes:
    members = {key: msgspec.json.encode(item).decode() for key, item in BODY.items()} | {name: value}
    return ("{" + ",".join(f'"{key}":{item}' for key, item in members.items()) + "}").encode()


@pytest.mark.parametrize(("name", "value", "expected"), IMPOSSIBLE, ids=lambda item: str(item)[:30])
async def test_a_detail_is_stored_without_its_impossible_value(store, name, value, expected):
    record = payloads.activity(body_with(name, value), "detail", "GET activities/7")
    await store.apply(fetched(record))
    row = await store.row(strava_activities)
    assert row._mapping[name] == expected
    assert (row.id, row.sync_status) == (ACTIVITY, "synced")
    kept = {key for key in ("name", "distance", "type") if key != name}
    assert {key: row._mapping[key] for key in kept} == {key: BODY[key] for key in kept}


@pytest.mark.parametrize(("name", "value", "expected"), IMPOSSIBLE, ids=lambda item: str(item)[:30])
async def test_a_list_is_stored_with_an_entry_that_has_an_impossible_value(store, name, value, expected):
    other = body_with("name", '"Run"').replace(str(ACTIVITY).encode(), b"5")
    page = b"[" + body_with(name, value) + b"," + other + b"]"
    records = tuple(payloads.activity_page(page, "GET athlete/activities", OWNER))
    jobs = tuple(backfill_job(OWNER, record.id, record.start_date) for record in records)
    await store.apply(StorePage(OWNER, records, jobs))
    stored = {row.id: row for row in await store.rows(strava_activities)}
    assert stored.keys() == {5, ACTIVITY}
    assert stored[ACTIVITY]._mapping[name] == expected
    assert stored[5].name == "Run"
