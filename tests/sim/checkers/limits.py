"""No call exceeded a limit."""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import Evidence


def check(evidence: Evidence) -> Iterator[str]:
    journal, allowed = evidence.world.journal, evidence.ledger.allowed_429
    over = max(journal.over_limit, journal.answered_429)
    if over > allowed:
        yield f"{over} calls exceeded a limit, and {allowed} were unavoidable"
