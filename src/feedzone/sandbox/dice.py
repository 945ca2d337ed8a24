"""The only place where the sandbox makes random generators: every one is seeded by what it is for."""

from __future__ import annotations

from random import Random


def dice(*purpose: object) -> Random:
    """A generator that depends on nothing but its purpose, e.g. `dice(seed, "history", athlete_id)`."""
    return Random(":".join(str(part) for part in purpose))  # noqa: S311 - plausible data, not secrets
