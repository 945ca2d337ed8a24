"""Gear comes from the profile. A missing list changes nothing, and a failure makes no dead letter."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from fakes import ATHLETE, NOON, STRANGER, FakeApi, job, unanswered

from feedzone.domain.effect import StoreGear
from feedzone.domain.gear import GearListing, GearRecord, gear_refresh
from feedzone.domain.job import Lane, PlainHint, decode_hint, encode_hint
from feedzone.domain.outcome import Done, Retry, Snooze
from feedzone.errors import (
    AppInactive,
    ApplicationPaused,
    NeedsScope,
    NotConnected,
    NotVisible,
    PermanentError,
    QuotaSpent,
    TokenRevoked,
    TransientError,
)
from feedzone.handlers.refresh_gear import RefreshGear
from feedzone.strava import payloads

CALL = "GET athlete"
BIKE = {
    "id": "b1",
    "primary": True,
    "name": "Slate",
    "nickname": "",
    "retired": False,
    "distance": 42000,
    "resource_state": 2,
}
LISTING = GearListing(ATHLETE, (GearRecord("b1", "bike", "Slate", None, True, False, 42000.0, "{}"),), ())


def read(**members: Any) -> GearListing:
    """The gear of a profile with these members."""
    return payloads.gear(msgspec.json.encode({"id": ATHLETE, "resource_state": 3} | members), CALL)


async def run(clock, answer: Any, **changes: Any):
    handler = RefreshGear(FakeApi(gear=answer), clock, random.Random(1), max_attempts=3)
    return await handler(job("refresh_gear", PlainHint(), **changes))


# Reading a profile


def test_bikes_and_shoes_are_read_as_they_are_listed():
    listing = read(bikes=[BIKE], shoes=[{"id": "g2", "name": "Nimbus", "nickname": "N", "retired": True}])
    (bike,), (shoe,) = listing.bikes, listing.shoes
    assert msgspec.structs.asdict(bike) | {"raw": ""} == {
        "id": "b1",
        "kind": "bike",
        "name": "Slate",
        "nickname": None,
        "is_primary": True,
        "retired": False,
        "distance": 42000.0,
        "raw": "",
    }
    assert msgspec.json.decode(bike.raw) == BIKE
    assert (shoe.id, shoe.kind, shoe.nickname, shoe.retired) == ("g2", "shoe", "N", True)
    assert (shoe.is_primary, shoe.distance) == (None, None)
    assert listing.kinds == ("bike", "shoe")


def test_an_entry_is_kept_byte_for_byte():
    body = b'{"id":5,"bikes":[ {"id":"b1",  "distance":1e3, "odd":"\xc3\xa9"} ]}'
    (bike,) = payloads.gear(body, CALL).bikes
    assert bike.raw == '{"id":"b1",  "distance":1e3, "odd":"é"}'
    assert bike.distance == 1000.0


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"bikes": None, "shoes": None},
        {"bikes": "none", "shoes": {}},
        {"bikes": [{"name": "without an id"}], "shoes": [None]},
        {"bikes": [{"id": None}], "shoes": [{"id": 7}]},
        {"resource_state": 2, "bikes": [], "shoes": []},
    ],
)
def test_a_missing_list_does_not_count_as_an_empty_one(members):
    """A grant without profile:read_all gets a summary: nothing in it says that a bike is gone."""
    listing = read(**members)
    assert (listing.bikes, listing.shoes, listing.kinds) == (None, None, ())


def test_a_profile_may_list_only_one_kind_of_gear():
    listing = read(bikes=[])
    assert (listing.bikes, listing.shoes, listing.kinds) == ((), None, ("bike",))


def test_only_a_field_of_an_unexpected_type_is_left_out():
    (bike,) = read(bikes=[BIKE | {"distance": "far", "primary": 1, "retired": None}]).bikes
    assert (bike.id, bike.name, bike.distance, bike.is_primary, bike.retired) == (
        "b1",
        "Slate",
        None,
        None,
        None,
    )


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"id":"x"}', b"\xff", b""])
def test_a_body_that_is_no_profile_is_an_outage(body):
    with pytest.raises(TransientError):
        payloads.gear(body, CALL)


def test_recorded_gear(recorded):
    listing = payloads.gear((recorded / "athlete.json").read_bytes(), CALL)
    assert listing.athlete_id > 0
    assert all(item.id[0] in "bg" and item.name for item in listing.items)


# The outcome


async def test_the_gear_of_the_profile_is_stored(clock):
    assert await run(clock, LISTING) == Done((StoreGear(LISTING),))


async def test_the_gear_of_another_athlete_is_not_stored(clock):
    outcome = await run(clock, msgspec.structs.replace(LISTING, athlete_id=STRANGER))
    assert isinstance(outcome, Done)
    assert outcome.effects == ()
    assert str(STRANGER) in outcome.note


@pytest.mark.parametrize(
    "waits", [QuotaSpent("read day", NOON + timedelta(hours=5)), ApplicationPaused(NOON + timedelta(hours=5))]
)
async def test_quota_and_a_switched_off_application_are_waited_for(clock, waits):
    outcome = await run(clock, waits, attempts=2)
    assert isinstance(outcome, Snooze)
    assert outcome.until > NOON + timedelta(hours=5)


PASSING = [TransientError(502), unanswered(), AppInactive(403)]


@pytest.mark.parametrize("error", PASSING)
async def test_a_failure_that_may_pass_is_tried_again(clock, error):
    assert isinstance(await run(clock, error), Retry)


@pytest.mark.parametrize("error", PASSING)
async def test_a_lasting_failure_waits_for_tomorrow_and_makes_no_dead_letter(clock, error):
    outcome = await run(clock, error, attempts=2)
    assert isinstance(outcome, Done)
    assert (outcome.effects, outcome.then) == ((), ())
    assert outcome.note.startswith("gear is left as it was")


@pytest.mark.parametrize(
    "error", [NotVisible(404), PermanentError(402), TokenRevoked(400), NotConnected(), NeedsScope(401)]
)
async def test_a_refusal_changes_nothing_and_makes_no_dead_letter(clock, error):
    outcome = await run(clock, error)
    assert isinstance(outcome, Done)
    assert outcome.effects == ()


def test_the_look_waits_for_everything_that_somebody_waits_for():
    spec = gear_refresh(ATHLETE)
    assert (spec.key, spec.athlete_id, spec.due_at) == (f"athlete:{ATHLETE}", ATHLETE, None)
    assert Lane.INTERACTIVE < Lane.RECONCILE < spec.lane < Lane.BACKFILL
    assert decode_hint(encode_hint(spec.hint)) == spec.hint
