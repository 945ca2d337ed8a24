"""Rate limit headers as recorded and as odd as they come; windows by the wall clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedzone.domain.quota.windows import (
    DEFAULT_LIMITS,
    WINDOWS,
    Reading,
    parse_usage,
    window_end,
    window_start,
)

LIMIT, USAGE = "x-ratelimit-limit", "x-ratelimit-usage"
READ_LIMIT, READ_USAGE = "x-readratelimit-limit", "x-readratelimit-usage"
offsets = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(*(datetime(year, 1, 1) for year in (1971, 2100)), timezones=st.just(UTC) | offsets)  # noqa: DTZ001  (hypothesis adds it)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_reads_the_four_windows():
    usage = parse_usage(
        {LIMIT: "200,2000", USAGE: "68,211", READ_LIMIT: "100,1000", READ_USAGE: "67,210", "date": "x"}
    )
    assert usage == {
        "overall_15min": Reading(200, 68),
        "overall_day": Reading(2000, 211),
        "read_15min": Reading(100, 67),
        "read_day": Reading(1000, 210),
    }


def test_reads_the_recorded_headers(recorded):
    cases = msgspec.json.decode((recorded / "ratelimit_headers.json").read_bytes())
    usage = {
        case["case"]: parse_usage({name.lower(): value for name, value in case["headers"].items()})
        for case in cases
    }
    assert usage["athlete"]["read_day"] == Reading(1000, 210)
    assert usage["create_activity"]["overall_15min"] == Reading(200, 66)
    # Recorded as `","`: the limits are known, the usage is not.
    assert usage["create_activity"]["read_15min"] == Reading(100, None)
    assert usage["create_activity"]["read_day"] == Reading(1000, None)


def test_the_recorded_429_names_the_spent_window(recorded):
    cases = msgspec.json.decode((recorded / "exchanges.json").read_bytes())
    headers = next(case["headers"] for case in cases if case["status"] == 429)
    usage = parse_usage({name.lower(): value for name, value in headers.items()})
    assert usage == {"overall_15min": Reading(600, 600), "overall_day": Reading(30000, 30000)}


def test_without_headers_there_is_no_reading():
    assert parse_usage({}) == {}


@pytest.mark.parametrize(
    ("usage", "short", "day"),
    [
        ("68,211", 68, 211),
        (" 68 , 211 ", 68, 211),
        ("68.9,211.0", 68, 211),
        ("68,211,5", 68, 211),
        ("0,0", 0, 0),
        ("68,", 68, None),
        (",211", None, 211),
        ("68", 68, None),
        ("-1,211", None, 211),
        ("68,-0.5", 68, None),
        ("a,b", None, None),
        ("nan,inf", None, None),
        ("1e30,1", None, 1),
        (",", None, None),
        ("", None, None),
        ('","', None, None),
        ("68;211", None, None),
    ],
)
def test_a_value_that_makes_no_sense_is_left_out(usage, short, day):
    read = parse_usage({LIMIT: "200,2000", USAGE: usage})
    assert read == {"overall_15min": Reading(200, short), "overall_day": Reading(2000, day)}


@pytest.mark.parametrize("limit", ["0", "3.1", "0.5", "-3", "many"])
def test_a_limit_that_is_not_a_positive_integer_is_left_out(limit):
    assert parse_usage({LIMIT: f"{limit},2000", USAGE: "1,2"})["overall_15min"] == Reading(None, 1)


@given(st.dictionaries(st.sampled_from([LIMIT, USAGE, READ_LIMIT, READ_USAGE]), st.text()))
def test_no_header_text_raises_an_error(headers):
    for name, reading in parse_usage(headers).items():
        assert name in WINDOWS
        assert reading.limit is None or reading.limit > 0
        assert reading.used is None or reading.used >= 0


@pytest.mark.parametrize(
    ("name", "now", "start", "end"),
    [
        ("read_15min", "2026-11-03T12:14:59.999+00:00", "2026-11-03T12:00Z", "2026-11-03T12:15Z"),
        ("read_15min", "2026-11-03T12:15:00+00:00", "2026-11-03T12:15Z", "2026-11-03T12:30Z"),
        ("overall_15min", "2026-12-31T23:59:59+00:00", "2026-12-31T23:45Z", "2027-01-01T00:00Z"),
        ("overall_day", "2026-12-31T23:59:59+00:00", "2026-12-31T00:00Z", "2027-01-01T00:00Z"),
        ("read_day", "2028-02-28T12:00:00+00:00", "2028-02-28T00:00Z", "2028-02-29T00:00Z"),
        # Half past seven in the evening in New York is the next day in UTC.
        ("read_day", "2026-11-02T19:30:00-05:00", "2026-11-03T00:00Z", "2026-11-04T00:00Z"),
        ("read_15min", "2026-11-03T17:50:00+05:45", "2026-11-03T12:00Z", "2026-11-03T12:15Z"),
    ],
)
def test_windows_are_wall_clock_quarters_and_utc_days(name, now, start, end):
    assert (window_start(name, at(now)), window_end(name, at(now))) == (at(start), at(end))


@given(st.sampled_from(WINDOWS), moments)
def test_every_instant_is_in_exactly_one_window(name, now):
    start, end = window_start(name, now), window_end(name, now)
    assert start <= now < end
    assert start.utcoffset() == timedelta(0)
    assert window_start(name, start) == window_start(name, end - timedelta(microseconds=1)) == start
    assert window_start(name, end) == end


def test_a_new_application_has_a_limit_for_every_window():
    assert set(DEFAULT_LIMITS) == set(WINDOWS)
