"""An answer that shows no more calls than we have counted costs no look at the database."""

from __future__ import annotations

import pytest
from store_makers import call, usage

from feedzone.clock import StravaClock
from feedzone.domain.job import Lane
from feedzone.store.quota.budget import BudgetTable


@pytest.fixture
def budget(store, clock) -> BudgetTable:
    return BudgetTable(store.database, StravaClock(clock))


async def test_an_answer_that_counts_as_we_do_needs_no_transaction(store, budget, monkeypatch):
    await call(budget, read_15min=(100, 1), read_day=(1000, 1))  # the first call goes alone
    reservation = await budget.reserve(Lane.LIVE)

    async def refused(*_, **__):
        raise AssertionError("a transaction")

    with monkeypatch.context() as patch:
        patch.setattr(store.database, "read", refused)
        patch.setattr(store.database, "write", refused)
        assert await budget.answered(reservation, usage(read_15min=(100, 2), read_day=(1000, 2))) == 0
    assert await budget.answered(reservation, usage(read_15min=(100, 4), read_day=(1000, 4))) == 2
    assert await budget.answered(reservation, usage(read_15min=(100, 4), read_day=(1000, 4))) == 0


async def test_a_released_call_is_known_when_others_call(budget):
    """The count has fallen: an answer that shows as many calls as before includes one of somebody else."""
    await budget.reserve(Lane.LIVE)
    released, other = await budget.reserve(Lane.LIVE), await budget.reserve(Lane.LIVE)
    await budget.release(released)
    assert await budget.answered(other, usage(read_15min=(100, 3), read_day=(1000, 3))) == 1
