"""Numbers with their units or nouns, for pages, commands and messages."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return the duration in the largest unit that fits.

    A value that changes every second would make a live page flicker.
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
