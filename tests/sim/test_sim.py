"""Many small worlds, and the promise that a seed decides everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .runner import report, run_seeds
from .scenario import small

TESTS = Path(__file__).parents[1]
SEEDS = int(os.environ.get("FEEDZONE_SIM_SEEDS", "300"))
CHUNK = 10
SHARES = {
    "hostile": 0.37,
    "outage": 0.05,
    "calm": 0.07,
    "inactive": 0.15,
    "lost_refresh": 0.1,
    "shaky": 0.05,
    "narrow": 0.04,
    "crowd": 0.02,
    "deaf": 0.05,
    "farewell": 0.05,
    "shared": 0.05,
}


def chunks() -> list[tuple[str, int, int]]:
    """Scenario, first seed, number of seeds: small enough for the test workers to share evenly."""
    found = []
    for name, share in SHARES.items():
        count = max(1, round(SEEDS * share))
        found += [(name, first, min(CHUNK, count - first)) for first in range(0, count, CHUNK)]
    return found


@pytest.mark.parametrize(("name", "first", "count"), chunks())
def test_after_all_that_can_go_wrong_our_rows_equal_stravas_truth(name, first, count):
    results = run_seeds(small(name), list(range(first, first + count)))
    assert not [result.seed for result in results if result.divergences], "\n".join(
        report(result) for result in results if result.divergences
    )
    assert all(result.calls > 10 and result.jobs > 5 for result in results)


def digests(hash_seed: str, *seeds: int) -> list[str]:
    """The trace hashes of hostile seeds, in an interpreter of their own."""
    code = (
        "from sim.runner import run_seeds\nfrom sim.scenario import small\n"
        f"for result in run_seeds(small('hostile'), {list(seeds)}): print(result.digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=100)
    return done.stdout.split()


def test_a_seed_gives_the_same_trace_in_different_processes_and_whatever_ran_before_it():
    first, second = digests("1", 3, 4), digests("2", 4)
    assert len(first) == 2
    assert first[1:] == second
    assert first[0] != first[1]
