"""The table of `make bench`: medians, ratios, parts of goals, and what a quick run leaves out."""

from __future__ import annotations

import pytest
from bench.cases import QUICK, Case, cases
from bench.compare import plan
from bench.table import Goal, Line, far_below, rows, share

PEER_RATE = Goal("the peer's rate", lambda middle: middle["rate", "peer"])
OURS = Line("rate", "feedzone", PEER_RATE, more_is_better=True)
PEER = Line("rate", "peer")
TIME = Line("time", "feedzone", Goal("goal", lambda _: 10.0))


def test_figures_are_medians_with_their_ratio_to_the_first_line():
    figures = {OURS.key: [100.0, 900.0, 200.0], PEER.key: [800.0, 700.0, 1.0]}
    assert rows([OURS, PEER], figures) == [
        "| rate | feedzone | 200 | 1.00 | the peer's rate: 700 | 28% |",
        "|  | peer | 700 | 3.50 |  |  |",
    ]


def test_a_line_that_was_not_measured_is_left_out_and_lends_nobody_its_place():
    assert rows([OURS, PEER], {PEER.key: [700.0]}) == ["| rate | peer | 700 |  |  |  |"]
    assert share(OURS, {OURS.key: 5.0}) is None


@pytest.mark.parametrize(("value", "part"), [(5.0, 2.0), (10.0, 1.0), (40.0, 0.25)])
def test_a_smaller_time_reaches_more_of_its_goal(value, part):
    assert share(TIME, {TIME.key: value}) == part


def test_a_check_finds_what_is_below_half_of_its_goal():
    assert far_below([OURS, TIME], {OURS.key: [340.0], PEER.key: [700.0], TIME.key: [20.0]}) == [OURS]


def test_a_quick_run_is_one_round_of_the_cases_that_take_seconds():
    quick = [case.name for case in plan(cases(), QUICK.rounds, quick=True)]
    assert quick == [case.name for case in cases() if not case.once]
    assert QUICK.rounds == 1
    assert {case.name for case in cases() if case.once} == {
        "minute sqlite",
        "minute postgresql",
        "waiting sqlite",
        "waiting postgresql",
        "many",
    }


def test_rounds_alternate_between_the_cases():
    short, other, long = (Case(name, print, once=name == "long") for name in ("short", "other", "long"))
    order = plan([short, other, long], 2, quick=False)
    assert order == [short, other, short, other, long]
    assert plan([short, other, long], 2, quick=False, only=["ot", "lo"]) == [other, other, long]
