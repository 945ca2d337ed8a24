"""Column types whose two dialects differ, each with its reason."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, UUID, BigInteger, DateTime, Dialect, Integer, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

BigInt = BigInteger().with_variant(Integer, "sqlite")
"""64 bits everywhere. Differs because only INTEGER PRIMARY KEY is SQLite's own row id."""


class Instant(TypeDecorator[datetime]):
    """An instant: timestamptz on PostgreSQL; on SQLite, which has no such type, fixed-width ISO text in UTC.

    The text sorts as the instants do, and SQLite's own date functions read it.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(
            DateTime(timezone=True) if dialect.name == "postgresql" else String(27)
        )

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        value = value.astimezone(UTC)
        # strftime takes ten times as long.
        return value if dialect.name == "postgresql" else f"{value.isoformat(timespec='microseconds')[:26]}Z"

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return value
        return datetime.fromisoformat(value)


class WallTime(TypeDecorator[datetime]):
    """What the clock on the wall showed, without a zone: timestamp on PostgreSQL, ISO text on SQLite."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(DateTime() if dialect.name == "postgresql" else String(19))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return value.strftime("%Y-%m-%dT%H:%M:%S")

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return value
        return datetime.fromisoformat(value)


_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_NOBODYS = "00000000-0000-0000-0000-000000000000"


class Identifier(TypeDecorator[str]):
    """A UUID: the type uuid on PostgreSQL; on SQLite, which has none, its usual text.

    What is no UUID names nothing, on either: PostgreSQL would refuse the whole statement.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name != "postgresql" or _UUID.fullmatch(value):
            return value
        return _NOBODYS

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(UUID(as_uuid=False) if dialect.name == "postgresql" else String(36))


class JsonText(TypeDecorator[str]):
    """JSON kept and given as the very text that was received.

    `json`, not `jsonb`, on PostgreSQL, because jsonb reorders keys and rewrites numbers. The engine's
    (de)serializers are identity functions (database.text_as_it_is), so that this type passes text through.
    """

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(JSON(none_as_null=True) if dialect.name == "postgresql" else Text())


class PlainText(TypeDecorator[str]):
    """Text of any origin: what a database cannot store is replaced on the way in (clean_text)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return None if value is None else clean_text(value)


def clean_text(value: str) -> str:
    """PostgreSQL cannot store U+0000 in text, nor can any database store half of a surrogate pair."""
    return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
