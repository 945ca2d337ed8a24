"""Transactions that concurrent callers share: while one group commits, the next one gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ...errors import StorageUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class SharedCommits(Generic[Item, Result]):
    """Gives groups of at most `most` items to `commit`: one transaction, with a result for each item."""

    def __init__(
        self, commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, most: int, name: str
    ) -> None:
        self._commit = commit
        self._most = most
        self._name = name
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._committer: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Return the result of this item once it is committed, or raise the error that it causes alone.

        An item whose caller is cancelled is committed all the same.
        """
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_groups(), name=self._name)
        return await asyncio.shield(done)

    async def _commit_groups(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._commit_group(group)
        finally:
            self._committer = None

    async def _commit_group(self, group: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Commit a group. If an item is at fault, halve the group until that one fails alone."""
        try:
            results = await self._commit([item for item, _ in group])
        except Exception as problem:
            if len(group) > 1 and not isinstance(problem, StorageUnavailable):
                half = len(group) // 2
                await self._commit_group(group[:half])
                await self._commit_group(group[half:])
                return
            for _, done in group:
                if not done.done():
                    done.set_exception(problem)
                    done.exception()  # a caller that was cancelled does not read it
            return
        for (_, done), result in zip(group, results, strict=True):
            if not done.done():
                done.set_result(result)
