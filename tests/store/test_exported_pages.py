"""An export reads page by page, and has each row once."""

from __future__ import annotations

import msgspec
import pytest
from store_makers import OWNER, detail, fetched, retitled, streams

from feedzone.clock import StravaClock
from feedzone.domain.effect import AskForPhotos, StorePhotos
from feedzone.domain.job import Lane
from feedzone.queries import export
from feedzone.queries.read_models import read_models
from feedzone.store.quota.budget import BudgetTable

NUMBERS = range(1, 6)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    monkeypatch.setattr(export, "DOCUMENTS", 2)
    monkeypatch.setattr(export, "CHANGES", 2)


async def test_every_row_is_exported_once_whatever_the_size_of_a_page(store, clock):
    for number in NUMBERS:
        ids = {"activity_id": number, "athlete_id": OWNER}
        await store.apply(
            fetched(detail(**ids)), streams(**ids), AskForPhotos(number, OWNER, 1, Lane.RECHECK)
        )
        await store.apply(StorePhotos(number, OWNER, "present", "[]"))
        await store.deliver(retitled("Canary", object_id=number))
    queries = read_models(store.database, clock, BudgetTable(store.database, StravaClock(clock)))
    pieces = [piece async for piece in queries.export.pieces(OWNER)]
    files: dict[str, list[bytes]] = {}
    for name, content in pieces:
        files.setdefault(name, []).extend(content.splitlines())
    exported = {
        name: [msgspec.json.decode(line) for line in files[name]]
        for name in ("activities.jsonl", "events.jsonl", "photos.jsonl", "changes.jsonl")
    }
    assert [row["id"] for row in exported["activities.jsonl"]] == [*NUMBERS]
    assert [row["event"]["object_id"] for row in exported["events.jsonl"]] == [*NUMBERS]
    assert [row["activity_id"] for row in exported["photos.jsonl"]] == [*NUMBERS]
    changes = [row["id"] for row in exported["changes.jsonl"]]
    assert changes == sorted(set(changes))
    names = [name for name, _ in pieces]
    for number in NUMBERS:
        assert names.count(f"activities/{number}.json") == names.count(f"streams/{number}.parquet") == 1
