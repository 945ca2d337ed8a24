"""The models of other limiters in bench/limiters.py behave as those limiters do."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import rivals
from bench.limiters import duration, row
from bench.rivals import Backoff, Clock, FixedSleep, Queue, Response, Strava, Stravalib, Task, stravalib_time

from feedzone.sandbox import Limits
from sim.quota.figures import figures
from sim.quota.plan import DAY_S, QUARTER_S, Plan, Take

MIDNIGHT = 20_000.0 * DAY_S
WEEK = Plan(days=2, warm_up_days=0.5, athletes=3, history_days=400, limits=Limits(60, 600, 30, 300))


def usage(short: int, day: int) -> dict[str, str]:
    return {"x-readratelimit-limit": "100,1000", "x-readratelimit-usage": f"{short},{day}"}


def slept(clock: Clock, policy: rivals.Policy, *responses: Response) -> list[float]:
    sleeps = []
    for response in responses:
        before = clock.now
        with stravalib_time(clock):
            policy(response)
        sleeps.append(clock.now - before)
    return sleeps


def test_stravalib_does_not_wait_until_a_window_is_full_and_then_sleeps_almost_to_its_end():
    clock = Clock(MIDNIGHT + 600.4)
    policy = Stravalib(clock, "high")
    assert slept(clock, policy, Response(200, usage(99, 99)), Response(200, usage(100, 100))) == [0, 299]
    assert clock.now == pytest.approx(MIDNIGHT + QUARTER_S - 0.6)  # too early: the next call is refused


def test_stravalib_spreads_calls_over_the_window_with_medium_and_over_the_day_with_low_priority():
    clock = Clock(MIDNIGHT + DAY_S / 2)
    (medium,) = slept(clock, Stravalib(clock, "medium"), Response(200, usage(10, 10)))
    assert medium == pytest.approx(899 / 90)
    clock = Clock(MIDNIGHT + DAY_S / 2)
    (low,) = slept(clock, Stravalib(clock, "low"), Response(200, usage(10, 10)))
    assert low == pytest.approx(DAY_S / 2 / 990, rel=0.01)


def test_stravalib_sleeps_through_the_day_after_a_429_that_arrives_past_midnight():
    clock = Clock(MIDNIGHT + 0.1)
    (wait,) = slept(clock, Stravalib(clock, "high"), Response(429, usage(5, 1000)))
    assert wait == pytest.approx(DAY_S, abs=2)


def test_stravalib_on_time_sleeps_until_just_after_the_window():
    clock = Clock(MIDNIGHT + 600.4)
    policy = rivals.StravalibOnTime(clock, "high")
    assert slept(clock, policy, Response(200, usage(99, 99)))[0] == 0
    slept(clock, policy, Response(200, usage(100, 100)))
    assert clock.now == pytest.approx(MIDNIGHT + QUARTER_S + 0.5)
    clock.now = MIDNIGHT - 600
    slept(clock, policy, Response(200, usage(5, 1000)))
    assert clock.now == pytest.approx(MIDNIGHT + 0.5)


def test_stravalib_does_not_wait_after_streams_because_they_have_no_headers():
    clock = Clock(MIDNIGHT)
    assert slept(clock, Stravalib(clock, "high"), Response(200, {})) == [0]


def test_fixed_sleep_waits_after_every_call_and_longer_after_a_429():
    clock = Clock(0)
    assert slept(clock, FixedSleep(clock, 0.5), Response(200, {}), Response(429, {})) == [0.5, 900]


def test_backoff_doubles_up_to_15_minutes_and_restarts_after_a_success():
    clock = Clock(0)
    policy = Backoff(clock, random.Random(1))
    waits = slept(clock, policy, *[Response(429, {})] * 13, Response(200, {}), Response(429, {}))
    for wait, longest in zip(waits, [2**n for n in range(10)] + [900] * 3 + [0, 1], strict=True):
        assert longest / 2 <= wait <= longest


def test_strava_refuses_and_counts_calls_over_the_limit_and_other_clients_use_their_share():
    clock, reads = Clock(MIDNIGHT), []
    strava = Strava(WEEK, [Take(MIDNIGHT + 1, 28)], clock, reads)
    responses = [strava.call(streams=True)]
    clock.sleep(2)
    responses += [strava.call(), strava.call(streams=True)]
    assert [response.status for response in responses] == [200, 200, 429]
    assert [bool(response.headers) for response in responses] == [False, True, True]
    assert strava.meter.usage(clock.now)["read_daily"] == 31
    assert Counter((read.own, read.refused) for read in reads) == {
        (True, False): 2,
        (False, False): 1,
        (True, True): 1,
    }


def test_new_activities_go_first_and_a_refused_task_returns_to_the_front_of_its_lane():
    backfill = [Task(0, 2, ["detail"]) for _ in range(2)]
    recheck, first, second = Task(5, 1, ["detail"]), Task(6, 0, ["detail"]), Task(7, 0, ["detail"])
    queue = Queue([*backfill, first, recheck, second])
    assert queue.get(1) is backfill[0]
    queue.put_back(backfill[0])
    assert [queue.get(10) for _ in range(6)] == [first, second, recheck, *backfill, None]


@pytest.mark.parametrize(
    "policy",
    [
        lambda clock: Stravalib(clock, "medium"),
        lambda clock: FixedSleep(clock, 1.0),
        lambda clock: Backoff(clock, random.Random(1)),
    ],
)
def test_a_limiter_never_exceeds_the_limits_and_stores_what_it_fetched(policy):
    record = rivals.run(1, WEEK, policy)
    results = figures(record)
    windows, answered = Counter(), 0
    for read in record.reads:
        if not read.refused:
            windows[read.at // QUARTER_S] += read.calls
            answered += read.calls
    assert max(windows.values()) <= WEEK.limits.read_short
    assert [day.own for day in results.days if day.own > WEEK.limits.read_daily] == []
    assert 0 < 2 * len([at for at in record.done if at < record.times.end]) <= answered
    assert all(s.detail_at >= s.delivered_at for s in record.stories.values() if s.detail_at)
    assert all(s.streams_at >= s.happened_at + 40 for s in record.stories.values() if s.streams_at)


def test_without_a_quota_shortage_a_new_activity_is_fetched_as_soon_as_it_is_ready():
    ample = Plan(
        days=1, warm_up_days=0, athletes=1, history_days=30_000, limits=Limits(9**9, 9**9, 9**9, 9**9)
    )
    results = figures(rivals.run(1, ample, lambda clock: FixedSleep(clock, 1.0)))
    assert results.refused_in_window == {}
    assert results.percentile(0.99) < 15
    assert 40 <= results.percentile(0.99, streams=True) < 120


def test_durations_have_a_readable_unit():
    texts = [duration(seconds) for seconds in (8.2, 85.0, 600.0, 72_000.0, float("inf"))]
    assert texts == ["8 s", "85 s", "10 min", "20.0 h", "never"]


def test_a_row_shows_mean_and_worst_of_the_complete_days_after_the_first():
    record = rivals.run(1, WEEK, lambda clock: FixedSleep(clock, 1.0))
    days = [day for day in figures(record).days if day.full][1:]
    assert len(days) == 1
    cells = row("x", record).strip("| ").split(" | ")
    assert cells[0] == "x"
    assert cells[1].endswith(f"({min(day.share for day in days):.1%})")
    assert cells[2].endswith(f"({max(day.refused for day in days)})")
