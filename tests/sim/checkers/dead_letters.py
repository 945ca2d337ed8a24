"""Every dead letter has a permanent cause."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .evidence import Evidence

TRANSIENT = re.compile(
    r"\b(5\d\d|429)\b|no answer|connection|refused|unavailable|took longer|a bug in feedzone|quota|Inactive"
    r"|another process|left while"
)
"""Errors that pass by themselves, and bugs."""


def check(evidence: Evidence) -> Iterator[str]:
    for row in evidence.all("SELECT kind, key, last_error FROM jobs WHERE state = 'dead' ORDER BY id"):
        if row["last_error"] is None or TRANSIENT.search(row["last_error"]):
            yield f"a dead letter has a transient cause: {row['kind']} {row['key']}: {row['last_error']}"
