"""A reservation that cannot be given back costs one call, and leaves no other caller waiting."""

from __future__ import annotations

import asyncio

import pytest

from feedzone.clock import StravaClock
from feedzone.domain.job import Lane
from feedzone.errors import StorageUnavailable
from feedzone.store.quota.budget import BudgetTable


@pytest.fixture
async def budget(database, clock) -> BudgetTable:
    """A budget whose first call of the quarter is answered, so that no call goes alone."""
    table = BudgetTable(database, StravaClock(clock))
    await table.answered(await table.reserve(Lane.LIVE), {})
    return table


@pytest.mark.parametrize(
    "failure", [StorageUnavailable("disk full"), OSError("broken pipe"), RuntimeError("a bug")]
)
@pytest.mark.parametrize("cancelled", [0, 1, 3])
async def test_a_cancelled_caller_whose_call_cannot_be_given_back_stops_nobody(
    budget, monkeypatch, failure, cancelled
):
    write, tasks = budget._database.write, []

    async def write_and_cancel(body, *, durable=True):
        answers = await write(body, durable=durable)
        tasks[cancelled].cancel()
        await asyncio.sleep(0)
        return answers

    async def fail(_reservation):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(budget._database, "write", write_and_cancel)
        patch.setattr(budget, "release", fail)
        tasks += [asyncio.create_task(budget.reserve(Lane.LIVE)) for _ in range(4)]
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers].count("Reservation") == 3
    assert isinstance(answers[cancelled], asyncio.CancelledError)
    await budget.reserve(Lane.LIVE)
    assert {window.used for window in await budget.windows()} == {6}  # one call too many stays counted


async def test_a_cancelled_caller_gives_its_call_back(budget, monkeypatch):
    write, tasks = budget._database.write, []

    async def write_and_cancel(body, *, durable=True):
        answers = await write(body, durable=durable)
        tasks[0].cancel()
        await asyncio.sleep(0)
        return answers

    monkeypatch.setattr(budget._database, "write", write_and_cancel)
    tasks += [asyncio.create_task(budget.reserve(Lane.LIVE)) for _ in range(4)]
    await asyncio.gather(*tasks, return_exceptions=True)
    while budget._granting is not None:
        await asyncio.sleep(0.001)
    assert {window.used for window in await budget.windows()} == {4}
