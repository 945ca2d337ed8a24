"""Leases on the recurring duties, for tests."""

from __future__ import annotations

from feedzone.ports import LeaseTerms

TERMS = LeaseTerms(lease_s=8.0, renew_s=3.0, look_s=1.0)


class OnlyProcess:
    """The lease of a process without others (ports.DutyLease)."""

    terms = TERMS

    def __init__(self) -> None:
        self.released = 0

    async def is_free(self) -> bool:
        return True

    async def acquire(self) -> bool:
        return True

    async def release(self) -> None:
        self.released += 1
