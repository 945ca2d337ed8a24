"""Removes rows that are older than RETENTION_DAYS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger("feedzone.worker")

Prune = Callable[[], Awaitable[int]]

PRUNE_EVERY_S = 3600.0


class Pruner:
    def __init__(self, prune: Prune) -> None:
        self._prune = prune

    async def run_once(self) -> int:
        """Returns how many rows were removed."""
        removed = await self._prune()
        if removed:
            log.info("rows_pruned", count=removed)
        return removed
