"""The counters of the webhook's admission: who is counted together, for how long, and in how much memory."""

from __future__ import annotations

import pytest

from feedzone.ingest.admission import Admission, BoundedStorage, Limits, network_of

LIMITS = Limits(junk=3, unknown=2, athlete=4)


@pytest.fixture
def admission(clock) -> Admission:
    return Admission(clock, LIMITS)


def test_junk_is_limited_by_address_for_the_rest_of_a_minute(admission, clock):
    assert [admission.count_junk("192.0.2.1") for _ in range(3)] == [0, 0, 0]
    clock.advance(seconds=20)
    assert admission.count_junk("192.0.2.1") == 41
    assert admission.count_junk("192.0.2.2") == 0
    clock.advance(seconds=41)
    assert admission.count_junk("192.0.2.1") == 0


def test_events_of_unknown_athletes_are_limited_by_address(admission):
    for _ in range(2):
        assert admission.unknown_wait_s("192.0.2.1") == 0
        admission.count_unknown("192.0.2.1")
    assert admission.unknown_wait_s("192.0.2.1") > 0
    assert admission.unknown_wait_s("192.0.2.2") == 0


def test_the_events_of_one_athlete_crowd_only_that_athlete(admission, clock):
    assert [admission.crowds(1) for _ in range(6)] == [False] * 4 + [True] * 2
    assert not admission.crowds(2)
    clock.advance(minutes=1)
    assert not admission.crowds(1)


def test_a_club_ride_of_200_events_in_a_minute_is_no_crowd(clock):
    admission = Admission(clock)
    assert not any(admission.crowds(owner) for owner in range(50) for _ in range(4))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_a_sender_of_many_ipv6_addresses_is_one_sender(address, network):
    assert network_of(address) == network


def test_the_memory_is_bounded(clock):
    storage = BoundedStorage(clock, most=100)
    for number in range(10_000):
        storage.incr(f"key{number}", 60)
    assert (storage.get("key9900"), storage.get("key9899")) == (1, 0), "the oldest are forgotten"
    assert storage.reset() == 100


def test_a_clock_that_jumps_back_does_not_prolong_a_limit(admission, clock):
    while not admission.crowds(1):
        pass
    clock.advance(days=-1)
    assert not admission.crowds(1)


def test_a_counter_can_be_cleared(clock):
    storage = BoundedStorage(clock)
    storage.incr("key", 60, amount=5)
    assert (storage.get("key"), storage.check()) == (5, True)
    storage.clear("key")
    assert storage.get("key") == 0
