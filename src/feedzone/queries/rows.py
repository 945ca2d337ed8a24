"""Turn rows of the store into the structs of the read models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Raw, Struct

from ..errors import NotFound
from ..store.engine.database import Row

S = TypeVar("S", bound=Struct)

AsReceived = Annotated[Raw, Meta(description="JSON as received; what some decoder cannot read is repaired")]


def from_row(row: Row[Any], kind: type[S], **values: Any) -> S:
    """Return the struct whose fields are the row's columns of the same name, except for `values`."""
    columns = row._mapping
    return kind(**{name: columns[name] for name in kind.__struct_fields__ if name not in values}, **values)


def as_received(text: str | None) -> Raw | None:
    return None if text is None else Raw(text.encode())


def require(row: Row[Any] | None, message: str) -> Row[Any]:
    """Return the row; raise NotFound with `message` if there is none."""
    if row is None:
        raise NotFound(message)
    return row


def age_s(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else max(0.0, (now - since).total_seconds())
