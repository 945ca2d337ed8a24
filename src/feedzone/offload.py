"""Run long computations away from the event loop, so that none delays a delivery.

A thread is not enough for the largest inputs: decoding tens of megabytes of JSON is one call that holds the
interpreter's lock for up to a second, and stops all threads. Those run in a process of their own.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pickle
import sys
import weakref
from asyncio.subprocess import PIPE
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import FeedzoneError

T = TypeVar("T")

THREAD_FROM = 64 * 1024
"""Bytes of JSON. Less takes a few milliseconds, so it is not worth a thread."""

PROCESS_FROM = 1024 * 1024
"""Bytes of JSON. All streams of five hours, recorded every second, have about as many."""

_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()


class HelperFailed(FeedzoneError):
    """The process that should compute something has ended without a result."""


async def run(function: Callable[..., T], *arguments: Any, size: int) -> T:
    """Return `function(*arguments)`, from a thread if it handles many bytes (`size`)."""
    if size < THREAD_FROM:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


async def compute(function: Callable[[bytes], T], data: bytes, *, size: int | None = None) -> T:
    """Return `function(data)`. The function is global in its module, because another process may import it.

    `size`: the bytes of JSON that it handles, if `data` is a compressed form of them.
    """
    size = len(data) if size is None else size
    if size < THREAD_FROM:
        return function(data)
    if size < PROCESS_FROM:
        return await asyncio.to_thread(function, data)
    # One at a time: each needs up to a gigabyte of memory.
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        return await _in_process(function, data)


async def _in_process(function: Callable[[bytes], T], data: bytes) -> T:
    # Not multiprocessing: it would run the main module of a program that embeds feedzone a second time.
    line = (sys.executable, "-m", __name__, function.__module__, function.__qualname__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    helper = await asyncio.create_subprocess_exec(*line, stdin=PIPE, stdout=PIPE, env=environment)
    try:
        output, _ = await helper.communicate(data)
    finally:
        if helper.returncode is None:
            helper.kill()
            await helper.wait()
    if helper.returncode != 0:
        raise HelperFailed(f"{function.__qualname__} ended with status {helper.returncode}")
    is_result, value = await asyncio.to_thread(pickle.loads, output)
    if not is_result:
        raise value
    return value  # type: ignore[no-any-return]


def _main(module: str, name: str) -> None:
    function: Any = getattr(importlib.import_module(module), name)
    try:
        outcome = True, function(sys.stdin.buffer.read())
    except Exception as problem:
        outcome = False, problem
    sys.stdout.buffer.write(pickle.dumps(outcome, protocol=pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    _main(*sys.argv[1:])
