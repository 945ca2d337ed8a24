"""Parse instants in requests, and describe types of the API."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from ..domain.instants import YEARS, is_possible
from ..errors import InvalidInput

_EPOCH = re.compile(r"-?\d{1,12}(\.\d+)?")
_LOST_PLUS = re.compile(r"(T\S+) (\d\d:?\d\d)$")


def parse_instant(text: str, name: str) -> datetime:
    """Parse ISO 8601 (UTC unless it has an offset) or epoch seconds. Raises InvalidInput."""
    try:
        instant = _instant(text)
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"{name}: takes ISO 8601 (2026-11-01T08:00:00Z) or epoch seconds") from None
    if not is_possible(instant):
        raise InvalidInput(f"{name}: takes an instant between the years {YEARS[0]} and {YEARS[-1]}")
    return instant


def _instant(text: str) -> datetime:
    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(float(text), UTC)
    # An unescaped plus sign in a query arrives as a space.
    instant = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)


def schema_type(schema: dict[str, Any]) -> str:
    """Describe an OpenAPI schema's type in a few words."""
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
    """Return a field's description; if null is an option, the description of the other option."""
    descriptions = [
        str(option["description"]) for option in (schema, *schema.get("oneOf", ())) if "description" in option
    ]
    return descriptions[0] if descriptions else ""
