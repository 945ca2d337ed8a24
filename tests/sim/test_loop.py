"""Virtual time, and processes that are killed or stalled."""

from __future__ import annotations

import asyncio
import random
from contextvars import copy_context

import pytest

from .loop import OWNER, DeadlockError, LivelockError, VirtualLoop
from .process import Incarnation


def run(scene, rng=None):
    loop = VirtualLoop(rng)
    try:
        return loop.run_until_complete(scene(loop))
    finally:
        loop.clear()
        loop.close()


def test_virtual_time_passes_without_waiting():
    async def scene(loop):
        await asyncio.sleep(365 * 86_400)
        return loop.time()

    assert run(scene) == pytest.approx(365 * 86_400)


def test_a_deadlock_is_reported():
    async def scene(loop):
        await loop.create_future()

    with pytest.raises(DeadlockError):
        run(scene)


def test_a_livelock_is_reported():
    async def scene(loop):
        while True:
            await asyncio.sleep(0)

    with pytest.raises(LivelockError):
        run(scene)


def test_the_seed_decides_the_order_of_tasks_that_are_ready_together():
    async def scene(loop):
        order = []

        async def go(name):
            await asyncio.sleep(1)
            await asyncio.sleep(0)
            order.append(name)

        await asyncio.gather(*(go(name) for name in range(6)))
        return tuple(order)

    orders = [run(scene, random.Random(seed)) for seed in range(8)]
    assert len(set(orders)) > 3
    assert orders == [run(scene, random.Random(seed)) for seed in range(8)]


def owned(work):
    """Return the work as a task of a process, and the process."""
    life, context = Incarnation("p"), copy_context()
    context.run(OWNER.set, life)
    return asyncio.get_running_loop().create_task(work, context=context), life


def test_a_killed_process_does_not_run_its_finally_blocks():
    async def scene(loop):
        steps = []

        async def work():
            try:
                await asyncio.sleep(10)
                steps.append("done")
            finally:
                steps.append("cleaned up")

        task, life = owned(work())
        await asyncio.sleep(5)
        life.alive = False
        await asyncio.sleep(100)
        steps_after_kill = list(steps)
        task._log_destroy_pending = False
        return steps_after_kill

    assert run(scene) == []


def test_a_stalled_process_resumes_where_it_stopped():
    async def scene(loop):
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

    assert run(scene) == [pytest.approx(105)]


def test_an_executor_runs_inline():
    async def scene(loop):
        return await asyncio.to_thread(lambda: 6 * 7)

    assert run(scene) == 42
