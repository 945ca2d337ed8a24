"""A machine whose clock was set back, and answers that agree with a known difference."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from feedzone.clock import StravaClock, TimedCache, is_recent


@pytest.mark.parametrize(("age_s", "recent"), [(-1, False), (0, True), (59, True), (60, False)])
def test_only_instants_of_the_past_minute_are_recent(clock, age_s, recent):
    at = clock.now() - timedelta(seconds=age_s)
    assert is_recent(at, clock.now(), timedelta(minutes=1)) is recent


def test_a_value_from_the_future_is_loaded_again(clock):
    """Otherwise it would stay for as long as the clock was set back."""
    cache: TimedCache[int] = TimedCache(timedelta(minutes=1))
    values = iter((1, 2, 3))
    assert cache.get(clock.now(), lambda: next(values)) == 1
    clock.advance(days=-300)
    assert cache.get(clock.now(), lambda: next(values)) == 2
    assert cache.get(clock.now(), lambda: next(values)) == 2


def test_a_value_that_cost_little_is_loaded_each_time(clock):
    cache: TimedCache[int] = TimedCache(timedelta(minutes=1), costly=lambda value: value > 1)
    values = iter((1, 2, 3))
    assert [cache.get(clock.now(), lambda: next(values)) for _ in range(3)] == [1, 2, 2]


def test_an_answer_that_agrees_with_the_known_difference_does_not_change_it(clock):
    strava = StravaClock(clock)

    def hear(took_s: float, written_after_s: float) -> None:
        sent = clock.now()
        clock.advance(seconds=took_s)
        written = sent + timedelta(seconds=60 + written_after_s)
        strava.observe(format_datetime(written.replace(microsecond=0), usegmt=True), sent, clock.now())

    hear(0, 0)
    known = strava.skew
    assert abs(known - timedelta(seconds=60)) <= timedelta(seconds=1)
    for written_after_s in (1, 5, 8):
        hear(9, written_after_s)
        assert strava.skew == known
