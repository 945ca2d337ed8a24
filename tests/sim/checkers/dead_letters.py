"""No dead letter without a permanent cause."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .evidence import Evidence

PASSING = re.compile(
    r"\b(5\d\d|429)\b|no answer|connection|refused|unavailable|took longer|a bug in feedzone|quota|Inactive"
    r"|another process|left while"
)
"""What passes by itself, or should not be there at all."""


def check(evidence: Evidence) -> Iterator[str]:
    for row in evidence.all("SELECT kind, key, last_error FROM jobs WHERE state = 'dead' ORDER BY id"):
        if row["last_error"] is None or PASSING.search(row["last_error"]):
            yield f"dead letter without a permanent cause: {row['kind']} {row['key']}: {row['last_error']}"
