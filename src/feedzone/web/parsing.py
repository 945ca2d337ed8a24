"""How what people write is read, and how the API's types look to them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from ..errors import InvalidInput

_EPOCH = re.compile(r"-?\d{1,12}(\.\d+)?")
_LOST_PLUS = re.compile(r"(T\S+) (\d\d:?\d\d)$")


def parse_instant(text: str, name: str) -> datetime:
    """An instant from ISO 8601 (UTC unless it says otherwise) or epoch seconds. Raises InvalidInput."""
    try:
        if _EPOCH.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC)
        # A plus sign that was not escaped in a query arrives as a space.
        moment = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"{name}: takes ISO 8601 (2026-11-01T08:00:00Z) or epoch seconds") from None


def schema_type(schema: dict[str, Any]) -> str:
    """An OpenAPI schema's type in a few words."""
    if reference := schema.get("$ref"):
        return str(reference).rpartition("/")[2]
    if options := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(dict.fromkeys(schema_type(option) for option in options))
    if "enum" in schema or "const" in schema:
        return " | ".join(
            str(value) for value in schema.get("enum", [schema.get("const")]) if value is not None
        )
    kinds = schema.get("type", "any")
    kind = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if "items" in schema:
        return f"list of {schema_type(schema['items'])}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def schema_meaning(schema: dict[str, Any]) -> str:
    """A member's description; where null is one of the options, the description is the other's."""
    told = [
        str(option["description"]) for option in (schema, *schema.get("oneOf", ())) if "description" in option
    ]
    return told[0] if told else ""
