"""The plain values that jobs are made of: lanes, hints, keys, delays, scopes, and what they never show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fakes import ATHLETE, NOON, grant, job
from hypothesis import given
from hypothesis import strategies as st

from feedzone import errors
from feedzone.domain.activity import ActivityRecord, StoredActivity
from feedzone.domain.athlete import REQUESTED_SCOPES, TokenRow, can_read_activities, parse_scopes
from feedzone.domain.backoff import CAP_S, FIRST_S, NOT_READY_FOR_S, not_ready_delay_s, retry_delay_s
from feedzone.domain.job import (
    BackfillHint,
    Lane,
    ReconcileHint,
    RefreshHint,
    RevokeHint,
    activity_key,
    athlete_key,
    decode_hint,
    encode_hint,
)
from feedzone.errors import ApiError, Fault, QuotaSpent, StorageUnavailable, TransportFailure

HINTS = [
    RefreshHint(),
    RefreshHint(cause="recheck", streams_only=True),
    ReconcileHint(days=30),
    ReconcileHint(days=7, full=False),
    ReconcileHint(days=30, since=0, before=1700000000, missing=2),
    RefreshHint("delete", verified=True, cause="event:e1", detail_version=3),
    RevokeHint("confirm", verified=True, cause="event:e1"),
    RevokeHint("revoke", sealed_token="v1.abc"),
    BackfillHint(before=2**40),
    BackfillHint(before=2, after=1, page=9, found=1600),
    BackfillHint(before=2, page=9, listed_at=1700000000),
]
jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_survives_its_storage(hint):
    assert decode_hint(encode_hint(hint)) == hint


def test_live_work_goes_first_and_backfill_last():
    assert sorted(Lane) == [Lane.LIVE, Lane.INTERACTIVE, Lane.RECONCILE, Lane.RECHECK, Lane.BACKFILL]


@pytest.mark.parametrize("key", [activity_key(2**63 - 1), athlete_key(2**63 - 1)])
def test_a_key_holds_the_id_it_is_about(key):
    assert job(key=key).object_id == 2**63 - 1


def test_an_athlete_and_an_activity_of_one_number_are_two_objects():
    assert activity_key(7) != athlete_key(7)


@given(st.integers(1, 100), jitters)
def test_a_retry_waits_longer_each_time_and_never_beyond_the_cap(attempt, jitter):
    assert 0 < retry_delay_s(attempt, jitter) <= CAP_S
    assert retry_delay_s(attempt, 0) <= retry_delay_s(attempt + 1, 0)
    assert retry_delay_s(attempt, 0) / 2 <= retry_delay_s(attempt, jitter) <= retry_delay_s(attempt, 0)


def test_the_first_retry_comes_soon():
    assert retry_delay_s(1, 0) == FIRST_S


def test_the_delays_of_an_activity_that_is_not_ready_grow_and_end():
    ages, age = [], 0.0
    while (delay := not_ready_delay_s(age)) is not None:
        ages.append(age := age + delay)
    assert ages[:5] == [5, 10, 20, 40, 80]
    assert NOT_READY_FOR_S <= ages[-1] < 2 * NOT_READY_FOR_S
    assert len(ages) < 15


@given(st.floats(-60, NOT_READY_FOR_S, exclude_max=True))
def test_a_clock_that_went_back_does_not_make_it_busy(age):
    assert not_ready_delay_s(age) >= 5


@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("read,activity:read_all", {"read", "activity:read_all"}),
        ("read activity:read_all", {"read", "activity:read_all"}),
        (" read, activity:read ,", {"read", "activity:read"}),
        ("", set()),
        (None, set()),
    ],
)
def test_scopes_are_read_with_either_separator(text, scopes):
    assert parse_scopes(text) == scopes


@pytest.mark.parametrize(
    ("text", "readable"),
    [("read", False), ("activity:write", False), ("read,activity:read", True), ("activity:read_all", True)],
)
def test_activities_need_one_of_two_scopes(text, readable):
    assert can_read_activities(parse_scopes(text)) is readable


def test_we_ask_for_both_activity_scopes_and_read():
    assert {"read", "activity:read", "activity:read_all"} <= set(REQUESTED_SCOPES)


def test_no_token_is_shown_by_accident():
    pair = grant("canary", NOON)
    row = TokenRow(ATHLETE, pair.access_token, pair.refresh_token, NOON, 1, "active", None, None)
    assert "canary" not in f"{pair!r}{pair}{row!r}{row}{[row]}"


@pytest.mark.parametrize(
    ("columns", "manual", "started"),
    [
        ({}, False, None),
        ({"manual": None, "start_date": None}, False, None),
        ({"manual": True, "start_date": NOON}, True, NOON),
        ({"manual": 1, "start_date": "soon"}, False, None),
    ],
)
def test_a_record_knows_its_start_and_whether_it_is_manual(columns, manual, started):
    record = ActivityRecord(1, 2, "detail", columns, "{}")
    assert (record.manual, record.start_date) == (manual, started)


@pytest.mark.parametrize(
    ("status", "live"),
    [("pending", True), ("syncing", True), ("synced", True), ("failed", True), ("deleted", False)],
)
def test_only_a_tombstone_is_not_live(status, live):
    assert StoredActivity(1, 2, status, manual=False, stream_state=None).live is live


@pytest.mark.parametrize("error", [StorageUnavailable, TransportFailure, errors.SettingsError])
def test_the_docstring_is_the_message_where_none_is_given(error):
    assert str(error("")) == error.__doc__.strip().splitlines()[0]
    assert str(error("said")) == "said"


def test_an_api_error_says_call_status_and_faults():
    fault = Fault("PushSubscription", "callback url", "not verifiable")
    error = ApiError(400, "Bad Request", (fault,), shape="5 bytes", call="POST push_subscriptions")
    assert (
        str(error) == "POST push_subscriptions 400 Bad Request (PushSubscription/callback url/not verifiable)"
    )
    assert str(ApiError(502, shape="600 bytes, markup")) == "502 (600 bytes, markup)"
    assert str(ApiError(500)) == "500"


def test_spent_quota_says_until_when():
    error = QuotaSpent("read_15min", datetime(2026, 11, 3, 12, 15, tzinfo=UTC))
    assert error.until - NOON == timedelta(minutes=15)
    assert "read_15min" in str(error)
