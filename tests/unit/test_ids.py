"""Identifiers are UUIDs of version 7 and sort in the order of their creation."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedzone.domain import ids
from feedzone.domain.ids import uuid7

NOW_MS = 1_795_000_000_000


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """Isolate the counter: ids of other tests do not matter here, nor these ids there."""
    monkeypatch.setattr(ids, "_last", 0)


def test_an_id_has_the_bits_of_version_7():
    for made in (uuid.UUID(uuid7(NOW_MS + step)) for step in range(50)):
        assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_an_id_contains_its_instant():
    assert uuid.UUID(uuid7(NOW_MS)).int >> 80 == NOW_MS


def test_ids_of_one_millisecond_keep_their_order():
    made = [uuid7(NOW_MS) for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, NOW_MS), min_size=2, max_size=20))
def test_ids_rise_even_when_the_clock_goes_back(instants):
    made = [uuid7(instant) for instant in instants]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_sort_the_same_as_text_and_as_numbers():
    made = [uuid7(NOW_MS + step % 3) for step in range(100)]
    assert [uuid.UUID(text) for text in sorted(made)] == sorted(uuid.UUID(text) for text in made)
