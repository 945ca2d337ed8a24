"""How many calls the jobs of a lane may make: those that go first, and those under way, keep theirs."""

from __future__ import annotations

import pytest

from feedzone.domain.job import Lane
from feedzone.store.jobs.queue import _calls
from feedzone.store.quota.budget import LaneLimit

LEFT = LaneLimit(40, lambda: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("lane", "first", "running", "calls"),
    [
        (Lane.BACKFILL, {}, {}, 10),
        (Lane.BACKFILL, {Lane.LIVE: 3, Lane.RECHECK: 2}, {}, 5),
        (
            Lane.RECHECK,
            {Lane.RECHECK: 4, Lane.BACKFILL: 9},
            {},
            10,
        ),  # neither its own nor lower lanes go first
        (Lane.RECHECK, {}, {Lane.RECHECK: 4, Lane.LIVE: 1, Lane.BACKFILL: 9}, 5),
        (Lane.INTERACTIVE, {Lane.LIVE: 3}, {}, 10),  # uploads have calls of their own: 40 - 3 are enough
        (Lane.INTERACTIVE, {Lane.LIVE: 35}, {}, 5),
        (Lane.INTERACTIVE, {Lane.LIVE: 35}, {Lane.INTERACTIVE: 2}, 3),
    ],
)
def test_what_goes_first_and_what_runs_leaves_fewer_calls(lane, first, running, calls):
    assert _calls(lane, 10, LEFT, first, running) == calls
