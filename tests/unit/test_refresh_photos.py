"""Photos: placeholders are recognised and fetched again later, and no activity waits for them."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from fakes import ACTIVITY, ATHLETE, NOON, FakeApi, FakeRecords, encode, job, unanswered

from feedzone.domain.activity import ActivityRecord
from feedzone.domain.effect import AskForPhotos, StoreDetail, StorePhotos, StoreStreams
from feedzone.domain.freshness import PHOTO_RETRIES, next_photo_recheck
from feedzone.domain.job import Lane, PlainHint, RefreshHint, decode_hint, encode_hint
from feedzone.domain.outcome import Done, Retry, Snooze
from feedzone.domain.photos import Photo, StoredPhotos, photos_refresh
from feedzone.errors import (
    ApplicationPaused,
    NeedsScope,
    NotConnected,
    NotVisible,
    PermanentError,
    QuotaSpent,
    TransientError,
)
from feedzone.handlers.refresh_activity import RefreshActivity
from feedzone.handlers.refresh_photos import RefreshPhotos
from feedzone.strava import payloads

CALL = f"GET activities/{ACTIVITY}/photos"
REAL = Photo('{"unique_id":"a"}', ("https://images.test/a-2048x1536.jpg",))
PLACEHOLDER = Photo(
    '{"unique_id":"b"}', ("https://d3nn.test/assets/media/placeholder-photo@4x-13b0b44cfa82.png",)
)
EXPECTED = StoredPhotos("pending", None, stored=False)


def since(hours: float, *, stored: bool = False) -> StoredPhotos:
    """Return the row of photos that were first asked for these hours ago."""
    return StoredPhotos("pending", NOON - timedelta(hours=hours), stored)


async def run(
    clock, answers: Any, row: StoredPhotos | None = EXPECTED, *, enabled: bool = True, **changes: Any
):
    api = FakeApi(photos=answers)
    handler = RefreshPhotos(
        api, FakeRecords(photos=row), clock, random.Random(1), max_attempts=3, enabled=enabled
    )
    return await handler(job("refresh_photos", PlainHint(), **changes)), api


def stored(state: str, photos: str | None = None) -> StorePhotos:
    return StorePhotos(ACTIVITY, ATHLETE, state, photos)


def listed(*entries: object) -> list[Photo]:
    return payloads.photos(msgspec.json.encode(entries), CALL)


# Placeholders


def test_a_photo_is_read_with_its_text_as_received():
    body = b'[ {"unique_id":"a",  "urls":{"5000":"https://x.test/a.jpg"}, "odd":1e3} ]'
    (photo,) = payloads.photos(body, CALL)
    assert photo.raw == '{"unique_id":"a",  "urls":{"5000":"https://x.test/a.jpg"}, "odd":1e3}'
    assert (photo.urls, photo.real) == (("https://x.test/a.jpg",), True)


@pytest.mark.parametrize(
    "entry",
    [
        {"urls": {"1800": "https://d3nn.test/assets/media/placeholder-photo@4x-13b0b44.png"}},
        {"urls": {"0": "https://x.test/Placeholder.PNG"}},
        {"urls": {"100": "https://x.test/a.jpg", "600": "https://x.test/placeholder.png"}},
        {"urls": {"100": "https://x.test/a.jpg"}, "placeholder_image": True},
        {"urls": {"100": ""}},
        {"urls": {"100": None}},
        {"urls": {}},
        {"urls": None},
        {"urls": []},
        {},
        None,
        "photo",
    ],
)
def test_a_placeholder_is_recognised(entry):
    (photo,) = listed(entry)
    assert not photo.real


def test_an_empty_list_of_photos_is_valid():
    assert listed() == []


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"null", b"\xff", b""])
def test_a_body_that_is_no_list_is_an_outage(body):
    with pytest.raises(TransientError):
        payloads.photos(body, CALL)


# The outcome


async def test_real_photos_are_stored_with_one_call(clock):
    outcome, api = await run(clock, [[REAL, REAL]])
    assert outcome == Done((stored("present", '[{"unique_id":"a"},{"unique_id":"a"}]'),))
    assert api.calls == [("photos", ATHLETE, ACTIVITY)]


@pytest.mark.parametrize("photos", [[PLACEHOLDER], [REAL, PLACEHOLDER], [], NotVisible(404)])
async def test_photos_that_strava_still_processes_are_fetched_again_later(clock, photos):
    outcome, _ = await run(clock, [photos])
    again = photos_refresh(ATHLETE, ACTIVITY, Lane.RECHECK, NOON + PHOTO_RETRIES[0])
    assert outcome == Done((stored("pending"),), then=(again,))


async def test_the_delays_between_fetches_grow_for_a_day(clock):
    row, delays = EXPECTED, []
    while True:
        outcome, _ = await run(clock, [[PLACEHOLDER]], row)
        if not outcome.then:
            break
        row = StoredPhotos("pending", NOON, stored=False)
        delays.append(outcome.then[0].due_at - NOON)
        clock.advance(seconds=(outcome.then[0].due_at - clock.now()).total_seconds())
    assert delays == list(PHOTO_RETRIES)
    assert delays[-1] == timedelta(days=1)
    assert outcome == Done((stored("absent"),))


async def test_after_a_day_the_real_photos_are_stored_without_the_placeholders(clock):
    outcome, _ = await run(clock, [[PLACEHOLDER, REAL]], since(24))
    assert outcome == Done((stored("present", '[{"unique_id":"a"}]'),))


async def test_photos_that_are_stored_are_not_lost_to_an_answer_that_has_none(clock):
    outcome, _ = await run(clock, [[]], since(25, stored=True))
    assert outcome == Done((stored("present"),))


async def test_a_real_photo_that_comes_late_is_stored(clock):
    outcome, _ = await run(clock, [[REAL]], since(100))
    assert outcome.effects[0].state == "present"


@pytest.mark.parametrize(
    "waits", [QuotaSpent("read day", NOON + timedelta(hours=5)), ApplicationPaused(NOON + timedelta(hours=5))]
)
async def test_quota_and_a_switched_off_application_are_waited_for(clock, waits):
    outcome, _ = await run(clock, [waits], attempts=2)
    assert isinstance(outcome, Snooze)


@pytest.mark.parametrize("error", [TransientError(502), unanswered()])
async def test_a_failure_that_may_pass_is_tried_again(clock, error):
    assert isinstance((await run(clock, [error]))[0], Retry)


@pytest.mark.parametrize("attempts", [0, 2])
@pytest.mark.parametrize(
    "error", [TransientError(500), PermanentError(402), NeedsScope(401), NotConnected(), unanswered()]
)
async def test_no_failure_makes_a_dead_letter(clock, error, attempts):
    """Photos are optional. They are asked for again for a day; a failure says nothing about them."""
    outcome, _ = await run(clock, [error], since(2), attempts=attempts)
    if isinstance(outcome, Retry):
        assert attempts == 0
        return
    assert isinstance(outcome, Done)
    assert outcome.effects == (stored("pending"),)
    assert outcome.then[0].due_at == NOON + timedelta(hours=4)
    last, _ = await run(clock, [error], since(25), attempts=2)
    assert (last.effects, last.then) == ((), ())


@pytest.mark.parametrize(("row", "enabled"), [(None, True), (EXPECTED, False)])
async def test_photos_of_a_deleted_activity_or_without_the_setting_cost_no_call(clock, row, enabled):
    outcome, api = await run(clock, [[REAL]], row, enabled=enabled)
    assert (outcome, api.calls) == (Done(), [])


def test_after_a_day_there_is_no_next_recheck():
    assert next_photo_recheck(NOON, NOON) == NOON + timedelta(minutes=1)
    assert next_photo_recheck(NOON, NOON + timedelta(hours=23)) == NOON + timedelta(hours=24)
    assert next_photo_recheck(NOON, NOON + timedelta(hours=24)) is None


def test_the_hint_survives_its_way_through_the_queue():
    assert decode_hint(encode_hint(PlainHint())) == PlainHint()


# The job for photos


async def fetch(clock, *, fetch_photos: bool = True, streams: Any = b"{}", lane: Lane = Lane.LIVE, **columns):
    record = ActivityRecord(ACTIVITY, ATHLETE, "detail", {"manual": False} | columns, "{}")
    enabled = frozenset({"refresh_photos"} if fetch_photos else ())
    api = FakeApi(activity=[record], streams=[streams])
    handler = RefreshActivity(api, FakeRecords(), clock, random.Random(1), encode, enabled)
    return await handler(job("refresh_activity", RefreshHint(cause="event:e1"), lane=lane)), api


def asked_for(outcome) -> list[AskForPhotos]:
    return [effect for effect in outcome.effects if isinstance(effect, AskForPhotos)]


async def test_the_activity_is_complete_without_its_photos(clock):
    outcome, api = await fetch(clock, total_photo_count=2)
    assert api.call_names == ["activity", "streams"]
    kinds = [type(effect) for effect in outcome.effects]
    assert kinds == [StoreDetail, StoreStreams, AskForPhotos]
    assert asked_for(outcome) == [AskForPhotos(ACTIVITY, ATHLETE, 2, Lane.RECHECK)]


async def test_photos_of_a_backfill_come_behind_its_activities(clock):
    outcome, _ = await fetch(clock, lane=Lane.BACKFILL, total_photo_count=2)
    assert asked_for(outcome)[0].lane == Lane.BACKFILL


async def test_a_manual_activity_has_photos_too(clock):
    outcome, _ = await fetch(clock, manual=True, total_photo_count=1)
    assert len(asked_for(outcome)) == 1


async def test_the_job_for_photos_is_enqueued_even_when_the_streams_fail(clock):
    """The detail is not read again, so this is the only time that the number is seen."""
    outcome, _ = await fetch(clock, streams=TransientError(502), total_photo_count=1)
    assert isinstance(outcome, Retry)
    assert len(asked_for(outcome)) == 1


@pytest.mark.parametrize("columns", [{}, {"total_photo_count": None}])
async def test_an_activity_without_a_photo_count_has_no_job_for_photos(clock, columns):
    outcome, _ = await fetch(clock, **columns)
    assert asked_for(outcome) == []


async def test_without_the_setting_there_is_no_job_for_photos(clock):
    outcome, _ = await fetch(clock, fetch_photos=False, total_photo_count=3)
    assert asked_for(outcome) == []
