"""The figures and plans of the world of the rate limit are computed correctly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from feedzone.sandbox import Limits
from feedzone.sandbox.limits import Meter

from .quota.figures import error, figures, percentile
from .quota.plan import DAY_S, HOUR_S, QUARTER_S, Plan, takes, times, uploads
from .quota.record import Look, Others, Prediction, Read, Record, Story


def test_athletes_upload_five_times_a_day_and_mostly_in_the_morning_and_evening():
    plan = Plan(days=28, warm_up_days=0)
    planned, (begin, _, end) = uploads(1, plan), times(1, plan)
    days = (end - begin) / DAY_S
    assert len(planned) / days / plan.athletes == pytest.approx(5, rel=0.05)
    by_hour = Counter(int(upload.at % DAY_S // HOUR_S) for upload in planned)
    busiest = sum(count for _, count in by_hour.most_common(8))
    assert busiest > 0.6 * len(planned)


def test_another_program_wants_its_share_of_each_day_unevenly():
    plan = Plan(days=2, warm_up_days=1, others=0.33)
    day = int(times(1, plan).end // DAY_S) - 1
    takes_of_day = [take for take in takes(1, plan) if take.at // DAY_S == day]
    assert sum(take.calls for take in takes_of_day) == pytest.approx(330, abs=20)
    by_window = Counter()
    for take in takes_of_day:
        by_window[take.at // QUARTER_S] += take.calls
    assert max(by_window.values()) > 4 * 330 / 96


def test_another_program_repeats_refused_calls_later_on_the_same_day():
    meter = Meter(Limits(200, 2000, 100, 1000))
    others = Others(meter)
    assert [others.take(0, 130), others.take(1, 5), others.take(QUARTER_S, 0)] == [100, 0, 35]
    meter.spend(QUARTER_S, calls=65)
    assert others.take(QUARTER_S, 7) == 0
    assert others.take(DAY_S, 1) == 1  # calls refused on another day are forgotten
    assert meter.usage(DAY_S)["read_daily"] == 1


def test_less_than_the_quota_is_possible_on_a_day_with_a_late_backfill_request():
    record = Record(0, Plan(days=1), times(0, Plan(days=1)))
    midnight = record.times.end
    record.times = record.times._replace(backfill_at=midnight - DAY_S - 2 * QUARTER_S + 60)
    backfill_at = record.times.backfill_at
    record.reads = [
        Read(backfill_at - 5000, 200, own=True, refused=False),
        Read(backfill_at - 30, 10, own=True, refused=False),
        Read(backfill_at + 30, 80, own=True, refused=False),
        Read(backfill_at + 40, 1, own=True, refused=True),
        Read(backfill_at + QUARTER_S, 60, own=False, refused=False),
    ]
    record.looks = [Look(midnight - DAY_S - 1, {1: 5}), Look(midnight - 1, {})]
    first, second = figures(record).days
    assert first == (first.number, False, 290, 60, 1, 210 + 190, True)
    assert second[1:] == (True, 0, 0, 0, 1000, False)


def test_a_late_upload_counts_unless_the_days_quota_was_used_up():
    record = Record(0, Plan(days=1), times(0, Plan(days=1)))
    midnight = record.times.end - DAY_S
    record.times = record.times._replace(backfill_at=midnight)
    record.reads = [Read(midnight + 1000 + n, 100, own=True, refused=False) for n in range(10)]
    record.looks = [Look(midnight + 100, {1: 9}), Look(record.times.end - 1, {1: 5})]
    for number, (at, took) in enumerate(((100, 30), (200, 500), (2000, 40_000), (3000, 8), (4000, None))):
        delivered = midnight + at
        record.stories[number] = Story(
            number, delivered - 1, delivered, None if took is None else delivered + took
        )
    result = figures(record)
    assert [latency.gone for latency in result.latencies] == [False, False, True, False, True]
    assert result.percentile(0.99) == 500
    assert result.percentile(0.8, gone=True) == 40_000
    assert result.percentile(0.99, gone=True) == float("inf")


def test_an_athlete_waits_while_the_backfill_stands_still_and_others_advance():
    record = Record(0, Plan(days=1), times(0, Plan(days=1)))
    midnight = record.times.end - DAY_S
    record.times = record.times._replace(backfill_at=midnight)
    lefts = [(9, 9), (8, 9), (7, 9), (7, 9), (6, 8), (6, 8), (6, 8)]
    record.looks = [
        Look(midnight + n * HOUR_S, {1: first, 2: second}) for n, (first, second) in enumerate(lefts)
    ]
    waits = {wait.athlete_id: wait for wait in figures(record).waits}
    assert waits[1] == (1, 2, 6, 0)
    assert waits[2] == (2, 1, 8, 2 * HOUR_S)


def test_a_forecast_may_be_off_by_a_window_and_its_error_is_relative_to_the_remaining_time():
    prediction = Prediction(1, 3, made_at=0.0, expected_at=10 * HOUR_S + QUARTER_S, ended_at=10 * HOUR_S)
    assert error(prediction) == 0
    assert error(replace(prediction, expected_at=12 * HOUR_S + QUARTER_S)) == pytest.approx(0.2)
    assert error(replace(prediction, expected_at=None)) == float("inf")


def test_the_99th_percentile_of_a_hundred_is_the_second_worst():
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([5.0], 0.99) == 5
    assert percentile([], 0.99) == 0


def test_a_day_is_used_up_from_its_last_call_until_midnight():
    record = Record(0, Plan(days=1), times(0, Plan(days=1)))
    midnight = record.times.end - DAY_S
    record.times = record.times._replace(backfill_at=midnight)
    record.reads = [Read(midnight + 5, 1000, own=True, refused=False)]
    record.looks = [Look(record.times.end - 1, {1: 9})]
    for number, at in enumerate((2, 6, DAY_S - HOUR_S - 30)):
        record.stories[number] = Story(number, midnight + at, midnight + at)
    assert [latency.gone for latency in figures(record).latencies] == [True, True, True]


def test_completed_activities_are_counted_on_whole_days_only():
    record = Record(0, Plan(days=2), times(0, Plan(days=2)))
    midnight = record.times.end - 2 * DAY_S
    record.looks = [Look(midnight + n * DAY_S - 1, {1: 9}) for n in range(3)]
    record.done = [midnight - 5, midnight + 5, midnight + 6, midnight + DAY_S]
    assert figures(record).done_a_day == 1.5
