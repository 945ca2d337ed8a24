"""Places in lists: ids that stand for instants, and instants without an offset."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from feedzone.queries.paging import first_id
from feedzone.web.parsing import parse_instant

NOW = datetime(2026, 11, 3, 6, 0, tzinfo=UTC)
MS = timedelta(milliseconds=1)


def test_the_first_id_of_an_instant_lies_between_the_ids_before_and_those_after():
    before = int(NOW.timestamp() * 1000) - 1
    last = UUID(int=before << 80 | 0x7FFF << 64 | (2**64 - 1) ^ (1 << 62))
    assert (last.version, last.variant) == (7, "specified in RFC 4122")
    assert str(last) < first_id(NOW)
    assert first_id(NOW - MS) < str(last)
    assert first_id(NOW) < first_id(NOW + MS)


def test_the_first_id_is_the_smallest_uuid_of_version_7():
    first = UUID(first_id(NOW))
    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert first.int & (2**62 - 1) == 0
    assert (first.int >> 64) & 0xFFF == 0


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "UTC"])
def test_an_instant_without_an_offset_is_utc_wherever_feedzone_runs(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_instant("2026-11-03T06:00:00", "since") == NOW
        assert parse_instant("2026-11-03T08:00:00+02:00", "since") == NOW
    finally:
        monkeypatch.undo()
        time.tzset()
