"""The only place where the sandbox creates random generators, each seeded by its purpose."""

from __future__ import annotations

from random import Random


def seeded_random(*purpose: object) -> Random:
    """Return a generator that depends only on its purpose, e.g. `(seed, "history", athlete_id)`."""
    return Random(":".join(str(part) for part in purpose))  # noqa: S311 - plausible data, not secrets
