"""The figures of the world of the rate limit mean what they say, and so do its plans."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from feedzone.sandbox import Limits
from feedzone.sandbox.limits import Meter

from .quota.figures import error, figures, percentile
from .quota.plan import DAY_S, HOUR_S, QUARTER_S, Plan, takes, times, uploads
from .quota.record import Look, Others, Promise, Read, Record, Story


def test_athletes_upload_five_times_a_day_and_mostly_in_the_morning_and_evening():
    plan = Plan(days=28, warm_up_days=0)
    found, (begin, _, end) = uploads(1, plan), times(1, plan)
    days = (end - begin) / DAY_S
    assert len(found) / days / plan.athletes == pytest.approx(5, rel=0.05)
    by_hour = Counter(int(upload.at % DAY_S // HOUR_S) for upload in found)
    busiest = sum(count for _, count in by_hour.most_common(8))
    assert busiest > 0.6 * len(found)


def test_others_want_their_share_of_each_day_and_not_evenly():
    plan = Plan(days=2, warm_up_days=1, others=0.33)
    day = int(times(1, plan).end // DAY_S) - 1
    wanted = [take for take in takes(1, plan) if take.at // DAY_S == day]
    assert sum(take.calls for take in wanted) == pytest.approx(330, abs=20)
    by_window = Counter()
    for take in wanted:
        by_window[take.at // QUARTER_S] += take.calls
    assert max(by_window.values()) > 4 * 330 / 96


def test_others_take_no_more_than_there_is_and_want_the_rest_later_on_that_day():
    meter = Meter(Limits(200, 2000, 100, 1000))
    others = Others(meter)
    assert [others.take(0, 130), others.take(1, 5), others.take(QUARTER_S, 0)] == [100, 0, 35]
    meter.spend(QUARTER_S, calls=65)
    assert others.take(QUARTER_S, 7) == 0
    assert others.take(DAY_S, 1) == 1  # what was refused on another day is forgotten
    assert meter.usage(DAY_S)["read_daily"] == 1


def test_a_day_in_which_history_was_asked_for_late_could_not_be_spent_whole():
    record = Record(0, Plan(days=1), times(0, Plan(days=1)))
    midnight = record.times.end
    record.times = record.times._replace(asked=midnight - DAY_S - 2 * QUARTER_S + 60)
    asked = record.times.asked
    record.reads = [
        Read(asked - 5000, 200, ours=True, refused=False),
        Read(asked - 30, 10, ours=True, refused=False),
        Read(asked + 30, 80, ours=True, refused=False),
        Read(asked + 40, 1, ours=True, refused=True),
        Read(asked + QUARTER_S, 60, ours=False, refused=False),
    ]
    record.looks = [Look(midnight - DAY_S - 1, {1: 5}), Look(midnight - 1, {})]
    first, second = figures(record).days
    assert first == (first.number, False, 290, 60, 1, 210 + 190, True)
    assert second[1:] == (True, 0, 0, 0, 1000, False)


def test_an_upload_counts_against_us_unless_the_days_quota_was_gone():
    record = Record(0, Plan(days=1), times(0, Plan(days=1)))
    midnight = record.times.end - DAY_S
    record.times = record.times._replace(asked=midnight)
    record.reads = [Read(midnight + 1000 + n, 100, ours=True, refused=False) for n in range(10)]
    record.looks = [Look(midnight + 100, {1: 9}), Look(record.times.end - 1, {1: 5})]
    for number, (at, took) in enumerate(((100, 30), (200, 500), (2000, 40_000), (3000, 8), (4000, None))):
        delivered = midnight + at
        record.stories[number] = Story(
            number, delivered - 1, delivered, None if took is None else delivered + took
        )
    found = figures(record)
    assert [each.gone for each in found.latencies] == [False, False, True, False, True]
    assert found.percentile(0.99) == 500
    assert found.percentile(0.8, gone=True) == 40_000
    assert found.percentile(0.99, gone=True) == float("inf")


def test_an_athlete_waits_as_long_as_nothing_of_the_history_is_fetched_while_others_advance():
    record = Record(0, Plan(days=1), times(0, Plan(days=1)))
    midnight = record.times.end - DAY_S
    record.times = record.times._replace(asked=midnight)
    lefts = [(9, 9), (8, 9), (7, 9), (7, 9), (6, 8), (6, 8), (6, 8)]
    record.looks = [
        Look(midnight + n * HOUR_S, {1: first, 2: second}) for n, (first, second) in enumerate(lefts)
    ]
    waits = {wait.athlete_id: wait for wait in figures(record).waits}
    assert waits[1] == (1, 2, 6, 0)
    assert waits[2] == (2, 1, 8, 2 * HOUR_S)


def test_a_promise_may_be_wrong_by_a_window_and_is_judged_by_the_time_that_was_left():
    made = Promise(1, 3, made_at=0.0, told=10 * HOUR_S + QUARTER_S, kept_at=10 * HOUR_S)
    assert error(made) == 0
    assert error(replace(made, told=12 * HOUR_S + QUARTER_S)) == pytest.approx(0.2)
    assert error(replace(made, told=None)) == float("inf")


def test_the_99th_percentile_of_a_hundred_is_the_second_worst():
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([5.0], 0.99) == 5
    assert percentile([], 0.99) == 0


def test_a_day_is_gone_from_the_call_that_spent_it_until_midnight():
    record = Record(0, Plan(days=1), times(0, Plan(days=1)))
    midnight = record.times.end - DAY_S
    record.times = record.times._replace(asked=midnight)
    record.reads = [Read(midnight + 5, 1000, ours=True, refused=False)]
    record.looks = [Look(record.times.end - 1, {1: 9})]
    for number, at in enumerate((2, 6, DAY_S - HOUR_S - 30)):
        record.stories[number] = Story(number, midnight + at, midnight + at)
    assert [each.gone for each in figures(record).latencies] == [True, True, True]


def test_activities_done_are_counted_on_whole_days_alone():
    record = Record(0, Plan(days=2), times(0, Plan(days=2)))
    midnight = record.times.end - 2 * DAY_S
    record.looks = [Look(midnight + n * DAY_S - 1, {1: 9}) for n in range(3)]
    record.done = [midnight - 5, midnight + 5, midnight + 6, midnight + DAY_S]
    assert figures(record).done_a_day == 1.5
