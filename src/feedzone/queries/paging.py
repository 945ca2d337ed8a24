"""Cursors: opaque to clients, and checked when they come back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from ..domain.instants import is_possible
from ..errors import InvalidInput
from ..store.engine.database import Row

S = TypeVar("S", bound=msgspec.Struct)

Cursor = Annotated[str, Meta(description="fetches the next page; null: this was the last")]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


def page_of(
    kind: type[S],
    rows: Sequence[Row[Any]],
    limit: int,
    item_from: Callable[[Row[Any]], object],
    cursor_from: Callable[[Row[Any]], object],
) -> S:
    """Return a page of `limit` rows. The query fetches one row more, to see whether there is a next page."""
    shown = rows[:limit]
    has_more = len(rows) > limit and shown
    return kind(
        [item_from(row) for row in shown], encode_cursor(cursor_from(shown[-1])) if has_more else None
    )


def encode_cursor(place: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def decode_cursor(text: str | None, kind: Any) -> Any:
    """Return what `encode_cursor` encoded. Raises InvalidInput for a cursor of another kind."""
    if text is None:
        return None
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        place = msgspec.json.decode(plain, type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise bad_cursor() from None
    parts = place if isinstance(place, tuple) else ()
    if not all(is_possible(part) for part in parts if isinstance(part, datetime)):
        raise bad_cursor()
    return place


def bad_cursor() -> InvalidInput:
    return InvalidInput("cursor: takes the next_cursor of a response to the same query")


def id_cursor(text: str | None) -> str | None:
    """Decode a cursor that is an id."""
    place = decode_cursor(text, UUID)
    return None if place is None else str(place)


def change_id(text: str | None) -> str | None:
    try:
        return None if text is None else str(UUID(text))
    except ValueError:
        message = "since: takes an instant (ISO 8601 or epoch seconds) or the id of a change"
        raise InvalidInput(message) from None


def first_id(instant: datetime) -> str:
    """Return the smallest UUID v7 of that millisecond (domain.ids)."""
    milliseconds = min(max(0, int(instant.astimezone(UTC).timestamp() * 1000)), 2**48 - 1)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62))
