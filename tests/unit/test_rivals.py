"""The bench of limiters (bench/limiters.py) is worth what its models of other people's limiters are."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import rivals
from bench.limiters import duration, row
from bench.rivals import Answer, Backoff, Clock, FixedSleep, Queue, Strava, Stravalib, Task, stravalib_time

from feedzone.sandbox import Limits
from sim.quota.figures import figures
from sim.quota.plan import DAY_S, QUARTER_S, Plan, Take

MIDNIGHT = 20_000.0 * DAY_S
WEEK = Plan(days=2, warm_up_days=0.5, athletes=3, history_days=400, limits=Limits(60, 600, 30, 300))


def usage(short: int, day: int) -> dict[str, str]:
    return {"x-readratelimit-limit": "100,1000", "x-readratelimit-usage": f"{short},{day}"}


def slept(clock: Clock, policy: rivals.Policy, *answers: Answer) -> list[float]:
    found = []
    for answer in answers:
        before = clock.now
        with stravalib_time(clock):
            policy(answer)
        found.append(clock.now - before)
    return found


def test_stravalib_goes_on_at_once_until_a_window_is_spent_and_then_sleeps_almost_to_its_end():
    clock = Clock(MIDNIGHT + 600.4)
    policy = Stravalib(clock, "high")
    assert slept(clock, policy, Answer(200, usage(99, 99)), Answer(200, usage(100, 100))) == [0, 299]
    assert clock.now == pytest.approx(MIDNIGHT + QUARTER_S - 0.6)  # too early: the next call is refused


def test_stravalib_of_medium_priority_spreads_calls_over_the_window_and_of_low_over_the_day():
    clock = Clock(MIDNIGHT + DAY_S / 2)
    (medium,) = slept(clock, Stravalib(clock, "medium"), Answer(200, usage(10, 10)))
    assert medium == pytest.approx(899 / 90)
    clock = Clock(MIDNIGHT + DAY_S / 2)
    (low,) = slept(clock, Stravalib(clock, "low"), Answer(200, usage(10, 10)))
    assert low == pytest.approx(DAY_S / 2 / 990, rel=0.01)


def test_stravalib_takes_a_refusal_of_yesterday_for_one_of_today_and_sleeps_through_it():
    clock = Clock(MIDNIGHT + 0.1)
    (wait,) = slept(clock, Stravalib(clock, "high"), Answer(429, usage(5, 1000)))
    assert wait == pytest.approx(DAY_S, abs=2)


def test_were_stravalib_to_wake_on_time_it_would_sleep_just_beyond_the_window():
    clock = Clock(MIDNIGHT + 600.4)
    policy = rivals.StravalibOnTime(clock, "high")
    assert slept(clock, policy, Answer(200, usage(99, 99)))[0] == 0
    slept(clock, policy, Answer(200, usage(100, 100)))
    assert clock.now == pytest.approx(MIDNIGHT + QUARTER_S + 0.5)
    clock.now = MIDNIGHT - 600
    slept(clock, policy, Answer(200, usage(5, 1000)))
    assert clock.now == pytest.approx(MIDNIGHT + 0.5)


def test_stravalib_learns_nothing_from_streams_which_have_no_headers():
    clock = Clock(MIDNIGHT)
    assert slept(clock, Stravalib(clock, "high"), Answer(200, {})) == [0]


def test_a_fixed_sleep_follows_every_call_and_a_longer_one_a_refusal():
    clock = Clock(0)
    assert slept(clock, FixedSleep(clock, 0.5), Answer(200, {}), Answer(429, {})) == [0.5, 900]


def test_backoff_doubles_up_to_a_quarter_of_an_hour_and_begins_anew_after_a_success():
    clock = Clock(0)
    policy = Backoff(clock, random.Random(1))
    waits = slept(clock, policy, *[Answer(429, {})] * 13, Answer(200, {}), Answer(429, {}))
    for wait, most in zip(waits, [2**n for n in range(10)] + [900] * 3 + [0, 1], strict=True):
        assert most / 2 <= wait <= most


def test_strava_refuses_what_is_over_the_window_and_counts_it_and_others_take_their_part():
    clock, reads = Clock(MIDNIGHT), []
    strava = Strava(WEEK, [Take(MIDNIGHT + 1, 28)], clock, reads)
    answers = [strava.call(streams=True)]
    clock.sleep(2)
    answers += [strava.call(), strava.call(streams=True)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [bool(answer.headers) for answer in answers] == [False, True, True]
    assert strava.meter.usage(clock.now)["read_daily"] == 31
    assert Counter((read.own, read.refused) for read in reads) == {
        (True, False): 2,
        (False, False): 1,
        (True, True): 1,
    }


def test_new_activities_go_first_and_what_was_refused_is_the_first_of_its_kind():
    history = [Task(0, 2, ["detail"]) for _ in range(2)]
    look, first, second = Task(5, 1, ["detail"]), Task(6, 0, ["detail"]), Task(7, 0, ["detail"])
    queue = Queue([*history, first, look, second])
    assert queue.get(1) is history[0]
    queue.back(history[0])
    assert [queue.get(10) for _ in range(6)] == [first, second, look, *history, None]


@pytest.mark.parametrize(
    "policy",
    [
        lambda clock: Stravalib(clock, "medium"),
        lambda clock: FixedSleep(clock, 1.0),
        lambda clock: Backoff(clock, random.Random(1)),
    ],
)
def test_a_rival_never_gets_more_out_of_a_window_than_strava_allows_and_stores_what_it_paid_for(policy):
    record = rivals.run(1, WEEK, policy)
    found = figures(record)
    windows, answered = Counter(), 0
    for read in record.reads:
        if not read.refused:
            windows[read.at // QUARTER_S] += read.calls
            answered += read.calls
    assert max(windows.values()) <= WEEK.limits.read_short
    assert [day.own for day in found.days if day.own > WEEK.limits.read_daily] == []
    assert 0 < 2 * len([at for at in record.done if at < record.times.end]) <= answered
    assert all(s.detail_at >= s.delivered_at for s in record.stories.values() if s.detail_at)
    assert all(s.streams_at >= s.happened_at + 40 for s in record.stories.values() if s.streams_at)


def test_a_rival_that_never_waits_for_quota_fetches_a_new_activity_as_soon_as_it_is_ready():
    roomy = Plan(
        days=1, warm_up_days=0, athletes=1, history_days=30_000, limits=Limits(9**9, 9**9, 9**9, 9**9)
    )
    found = figures(rivals.run(1, roomy, lambda clock: FixedSleep(clock, 1.0)))
    assert found.refused_in_window == {}
    assert found.percentile(0.99) < 15
    assert 40 <= found.percentile(0.99, streams=True) < 120


def test_durations_are_told_as_people_say_them():
    told = [duration(seconds) for seconds in (8.2, 85.0, 600.0, 72_000.0, float("inf"))]
    assert told == ["8 s", "85 s", "10 min", "20.0 h", "never"]


def test_a_row_tells_the_mean_and_the_worst_of_whole_days_but_the_first():
    record = rivals.run(1, WEEK, lambda clock: FixedSleep(clock, 1.0))
    days = [day for day in figures(record).days if day.full][1:]
    assert len(days) == 1
    cells = row("x", record).strip("| ").split(" | ")
    assert cells[0] == "x"
    assert cells[1].endswith(f"({min(day.share for day in days):.1%})")
    assert cells[2].endswith(f"({max(day.refused for day in days)})")
