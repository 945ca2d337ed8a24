"""Column types that differ between SQLite and PostgreSQL, each with its reason."""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, UUID, BigInteger, DateTime, Dialect, Integer, LargeBinary, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from ...domain.json_text import clean_text

BigInt = BigInteger().with_variant(Integer, "sqlite")
"""A 64-bit integer. Differs because SQLite uses only INTEGER PRIMARY KEY as its row id."""


ZLIB_LEVEL = 5
"""More takes several times as long and saves a hundredth."""


class Instant(TypeDecorator[datetime]):
    """An instant: timestamptz on PostgreSQL, fixed-width ISO text in UTC on SQLite.

    Differs because SQLite has no such type. The text sorts in time order, and SQLite's date functions can
    read it.
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
        # strftime would take ten times as long.
        return value if dialect.name == "postgresql" else f"{value.isoformat(timespec='microseconds')[:26]}Z"

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return value
        return datetime.fromisoformat(value)


class WallTime(TypeDecorator[datetime]):
    """A local time without a time zone: timestamp on PostgreSQL, ISO text on SQLite."""

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
_UNUSED_UUID = "00000000-0000-0000-0000-000000000000"


class Identifier(TypeDecorator[str]):
    """A UUID: the type uuid on PostgreSQL; its usual text on SQLite, which has no such type.

    A value that is not a UUID matches no row on either. PostgreSQL alone would reject the whole statement,
    so it is replaced by a UUID that no row has.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name != "postgresql" or _UUID.fullmatch(value):
            return value
        return _UNUSED_UUID

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(UUID(as_uuid=False) if dialect.name == "postgresql" else String(36))


class JsonText(TypeDecorator[str]):
    """JSON that is stored and returned as exactly the text that was received.

    On PostgreSQL it is `json`, because `jsonb` reorders keys and rewrites numbers. The engine's
    (de)serializers return their input (`pass_through`), so values stay text.
    """

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(JSON(none_as_null=True) if dialect.name == "postgresql" else Text())


class PackedJson(JsonText):
    """JsonText for large texts: `json` on PostgreSQL, which compresses it by itself; zlib on SQLite.

    Differs because SQLite compresses nothing. `sqlar_uncompress` of the SQLite shell reads it, too.
    """

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return super().load_dialect_impl(dialect)
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return zlib.compress(value.encode(), ZLIB_LEVEL)

    def process_result_value(self, value: Any, _dialect: Dialect) -> str | None:
        return zlib.decompress(value).decode() if isinstance(value, bytes) else value


class PlainText(TypeDecorator[str]):
    """Text from any source: characters that a database cannot store are replaced on writing (clean_text)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return None if value is None else clean_text(value)


def pass_through(value: Any) -> Any:
    """Return the value unchanged: JSON columns hold text (JsonText) that needs no (de)serializing."""
    return value
