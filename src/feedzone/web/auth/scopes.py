"""Strava's scopes in words: what each lets us see, and what is missing without it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ...domain.athlete import REQUESTED_SCOPES


@dataclass(frozen=True)
class Scope:
    """What it `shows`, and a sentence that says what is `missing` without it."""

    name: str
    shows: str
    missing: str
    granted: bool = False


WORDS = {
    "read": ("the public profile: the name", "Strava shows no more of the profile than its id."),
    "activity:read": (
        "activities that everyone or followers can see",
        "Without one of the two scopes for activities neither activities nor news of them come.",
    ),
    "activity:read_all": (
        "activities that nobody else can see, and starts within privacy zones",
        "Private activities do not come, and one that is made private disappears here.",
    ),
    "profile:read_all": ("bikes and shoes, with their distances", "Bikes and shoes are not listed."),
}


def scopes(granted: Collection[str]) -> list[Scope]:
    """Those that feedzone asks for, in its order."""
    return [Scope(name, *WORDS[name], granted=_has(name, granted)) for name in REQUESTED_SCOPES]


def _has(name: str, granted: Collection[str]) -> bool:
    # Whoever lets us see everything lets us see what everyone sees, too.
    return name in granted or (name == "activity:read" and "activity:read_all" in granted)
