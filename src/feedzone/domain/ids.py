"""Identifiers that sort by their time of creation: UUID version 7 (RFC 9562, 5.7)."""

from __future__ import annotations

import os
import threading
import uuid

_lock = threading.Lock()
_last = 0


def uuid7(unix_ms: int) -> str:
    """Return a new UUID v7 for the instant `unix_ms` (milliseconds); strictly rising in this process."""
    global _last
    with _lock:
        # Two ids of the same millisecond keep their order.
        _last = max(_last + 1, stamp_at(unix_ms))
        stamp = _last
    return uuid7_at(stamp)


def stamp_at(unix_ms: int) -> int:
    """Return the first stamp of that millisecond: 48 bits of time and 12 bits of a counter."""
    return unix_ms << 12


def uuid7_at(stamp: int) -> str:
    """Return a new UUID v7 for this stamp. Ids of higher stamps are greater."""
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | random
    return str(uuid.UUID(int=value))
