"""Many small worlds of every scenario, and proof that a seed decides everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .runner import report, run_seeds
from .scenario import small

TESTS = Path(__file__).parents[1]
SEEDS = int(os.environ.get("FEEDZONE_SIM_SEEDS", "60"))
CHUNK = 3
"""The largest number of worlds in one test, which takes a few seconds."""
SHARES = {
    "hostile": 0.28,
    "outage": 0.05,
    "calm": 0.07,
    "inactive": 0.15,
    "lost_refresh": 0.1,
    "shaky": 0.05,
    "narrow": 0.04,
    "crowd": 0.03,
    "lost_events": 0.05,
    "farewell": 0.05,
    "shared": 0.05,
    "forged": 0.05,
    "impostor": 0.03,
}


def chunks() -> list[tuple[str, int, int]]:
    """Return scenario, first seed and number of seeds of each test; every scenario has at least one."""
    tests = []
    for name, share in SHARES.items():
        count = max(1, round(SEEDS * share))
        tests += [(name, first, min(CHUNK, count - first)) for first in range(0, count, CHUNK)]
    return tests


@pytest.mark.parametrize(("name", "first", "count"), chunks())
def test_after_all_faults_our_rows_equal_stravas(name, first, count):
    results = run_seeds(small(name), list(range(first, first + count)))
    assert not [result.seed for result in results if result.divergences], "\n".join(
        report(result) for result in results if result.divergences
    )
    assert all(result.calls > 10 and result.jobs > 5 for result in results)


def digests(hash_seed: str, *seeds: int) -> list[str]:
    """Return the trace hashes of hostile seeds from a new interpreter."""
    code = (
        "from sim.runner import run_seeds\nfrom sim.scenario import small\n"
        f"for result in run_seeds(small('hostile'), {list(seeds)}): print(result.digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", code]
    completed = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    return completed.stdout.split()


def test_a_seed_gives_the_same_trace_in_any_process_and_after_any_other_seed():
    first, second = digests("1", 3, 4), digests("2", 4)
    assert len(first) == 2
    assert first[1:] == second
    assert first[0] != first[1]
