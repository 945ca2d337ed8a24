"""A call is counted in one statement while nobody else changes the windows, and never beyond the limit."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, event, update
from store_makers import call, usage

from feedzone.clock import StravaClock
from feedzone.domain.job import Lane
from feedzone.domain.quota.windows import WINDOWS, Reservation
from feedzone.errors import QuotaSpent, StravaFails
from feedzone.store.quota.breaker import Breaker
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.schema.tables import api_budget


@pytest.fixture
def budgets(database, clock):
    """The tables of two processes."""
    return [BudgetTable(database, StravaClock(clock)) for _ in range(2)]


async def used(budget):
    return {window.name: window.used for window in await budget.windows()}


@pytest.fixture
def statements():
    executed: list[str] = []

    def note(_c, _cursor, statement, *_):
        executed.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield executed
    event.remove(Engine, "before_cursor_execute", note)


async def test_a_call_is_one_statement_while_the_windows_are_as_this_process_left_them(budgets, statements):
    await call(budgets[0])
    await call(budgets[0])
    statements.clear()
    for lane in (Lane.LIVE, Lane.BACKFILL, Lane.LIVE):
        await budgets[0].reserve(lane)
    assert len(statements) == 3
    assert await used(budgets[0]) == dict.fromkeys(WINDOWS, 5)
    read_day = next(window for window in await budgets[0].windows() if window.name == "read_day")
    assert read_day.backfill_calls == 1


async def test_the_calls_of_two_processes_are_counted_together_up_to_the_limit(budgets):
    await call(budgets[0], read_15min=(20, 0), read_day=(1000, 0))
    for turn in range(19):
        await call(budgets[turn % 3 == 0], Lane.LIVE)
    assert (await used(budgets[0]))["read_15min"] == 20
    for budget in budgets:
        with pytest.raises(QuotaSpent):
            await budget.reserve(Lane.LIVE)


async def test_an_open_breaker_stops_a_process_that_knows_the_windows(budgets, database, clock):
    await call(budgets[0])
    await Breaker(database, clock).fail("Strava fails")
    with pytest.raises(StravaFails):
        await budgets[0].reserve(Lane.LIVE)


@pytest.mark.parametrize("column", ["used", "others", "history", "quota", "latched_until", "alone_until"])
async def test_any_change_by_another_process_is_seen(budgets, database, clock, statements, column):
    await call(budgets[0])
    await call(budgets[0])
    value = clock.now() if column.endswith("until") else 7
    one = update(api_budget).where(api_budget.c.window == "overall_day").values({column: value})
    await database.write(lambda c: c.execute(one))
    statements.clear()
    await budgets[0].reserve(Lane.LIVE)
    assert len(statements) == 3  # the one that finds the change, the locked read, and the count
    total = 8 if column == "used" else 3
    assert await used(budgets[0]) == dict.fromkeys(WINDOWS, 3) | {"overall_day": total}


async def test_a_latched_window_stays_closed_for_a_process_that_knows_the_windows(budgets):
    await call(budgets[0])
    await budgets[1].latch(Reservation(), usage(read_15min=(100, 100)))
    with pytest.raises(QuotaSpent):
        await budgets[0].reserve(Lane.LIVE)
