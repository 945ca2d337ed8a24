"""Cursors: opaque to who gets them, and checked when they come back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from ..errors import InvalidInput
from ..store.engine.database import Row

S = TypeVar("S", bound=msgspec.Struct)

SETTLED = timedelta(seconds=3)
"""Where several processes write, a change may commit after one with a later id. Younger ones are held
back, so that whoever follows the feed by id misses none."""


def page(
    kind: type[S],
    rows: Sequence[Row[Any]],
    limit: int,
    view: Callable[[Row[Any]], object],
    place: Callable[[Row[Any]], object],
) -> S:
    """A page of `limit` rows, of which one more was asked for to see whether there are more."""
    kept = rows[:limit]
    more = len(rows) > limit and kept
    return kind([view(row) for row in kept], _opaque(place(kept[-1])) if more else None)


def _opaque(place: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def cursor(text: str | None, kind: Any) -> Any:
    """What `_opaque` hid. Raises InvalidInput for a cursor that is none of that kind."""
    if text is None:
        return None
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(plain, type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise InvalidInput("cursor: takes the next_cursor of an answer to the same question") from None


def identifier(text: str | None) -> str | None:
    place = cursor(text, UUID)
    return None if place is None else str(place)


def change_id(text: str | None) -> str | None:
    try:
        return None if text is None else str(UUID(text))
    except ValueError:
        how = "since: takes an instant (ISO 8601 or epoch seconds) or the id of a change"
        raise InvalidInput(how) from None


def first_id(moment: datetime) -> str:
    """The smallest UUID v7 of that millisecond (domain.ids)."""
    milliseconds = min(max(0, int(moment.astimezone(UTC).timestamp() * 1000)), 2**48 - 1)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62))


def settled(rows: Sequence[Row[Any]], now: datetime) -> Sequence[Row[Any]]:
    """The changes before the first one that is younger than SETTLED."""
    until = now - SETTLED
    young = next((place for place, row in enumerate(rows) if row.changed_at > until), len(rows))
    return rows[:young]
