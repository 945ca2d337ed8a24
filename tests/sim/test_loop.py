"""Virtual time, and processes that die without a last word."""

from __future__ import annotations

import asyncio
import random
import time
from contextvars import copy_context

import pytest

from .loop import OWNER, DeadlockError, LivelockError, VirtualLoop
from .process import Incarnation


def run(story, rng=None):
    loop = VirtualLoop(rng)
    try:
        return loop.run_until_complete(story(loop))
    finally:
        loop.clear()
        loop.close()


def test_a_year_passes_in_no_time():
    async def story(loop):
        await asyncio.sleep(365 * 86_400)
        return loop.time()

    began = time.monotonic()
    assert run(story) == pytest.approx(365 * 86_400)
    assert time.monotonic() - began < 1


def test_waiting_for_what_will_never_happen_is_noticed():
    async def story(loop):
        await loop.create_future()

    with pytest.raises(DeadlockError):
        run(story)


def test_going_round_and_round_is_noticed():
    async def story(loop):
        while True:
            await asyncio.sleep(0)

    with pytest.raises(LivelockError):
        run(story)


def test_the_seed_decides_who_of_those_that_are_ready_goes_first():
    async def story(loop):
        order = []

        async def go(name):
            await asyncio.sleep(1)
            await asyncio.sleep(0)
            order.append(name)

        await asyncio.gather(*(go(name) for name in range(6)))
        return tuple(order)

    orders = [run(story, random.Random(seed)) for seed in range(8)]
    assert len(set(orders)) > 3
    assert orders == [run(story, random.Random(seed)) for seed in range(8)]


def owned(work):
    """The work as a task of a process, and the process."""
    life, context = Incarnation("p"), copy_context()
    context.run(OWNER.set, life)
    return asyncio.get_running_loop().create_task(work, context=context), life


def test_what_is_killed_does_not_even_tidy_up():
    async def story(loop):
        said = []

        async def work():
            try:
                await asyncio.sleep(10)
                said.append("done")
            finally:
                said.append("tidied up")

        task, life = owned(work())
        await asyncio.sleep(5)
        life.alive = False
        await asyncio.sleep(100)
        heard = list(said)
        task._log_destroy_pending = False
        return heard

    assert run(story) == []


def test_what_is_stalled_goes_on_where_it_was():
    async def story(loop):
        times = []

        async def work():
            await asyncio.sleep(10)
            times.append(loop.time())

        _, life = owned(work())
        await asyncio.sleep(5)
        life.stalled = True
        await asyncio.sleep(100)
        loop.resume(life)
        await asyncio.sleep(1)
        return times

    assert run(story) == [pytest.approx(105)]


def test_an_executor_runs_inline():
    async def story(loop):
        return await asyncio.to_thread(lambda: 6 * 7)

    assert run(story) == 42
