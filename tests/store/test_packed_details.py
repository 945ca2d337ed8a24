"""The detail of an activity is stored as received, and on SQLite compressed."""

from __future__ import annotations

import zlib

import msgspec
from sqlalchemy import text
from store_makers import Store, detail, fetched

from feedzone.store.schema.tables import strava_activities

RAW = msgspec.json.encode({"id": 7, "laps": [{"name": "é", "lap_index": n} for n in range(500)]}).decode()


async def test_a_detail_comes_back_as_received(store):
    await store.apply(fetched(msgspec.structs.replace(detail(), raw=RAW)))
    assert (await store.row(strava_activities)).detail == RAW


async def test_sqlite_stores_a_detail_that_any_program_can_unpack(sqlite_database, clock):
    store = Store.over(sqlite_database, clock)
    await store.apply(fetched(msgspec.structs.replace(detail(), raw=RAW)))
    packed = await store.read(lambda c: c.execute(text("SELECT detail FROM strava_activities")).scalar_one())
    assert zlib.decompress(packed).decode() == RAW
    assert len(packed) < len(RAW) / 5
