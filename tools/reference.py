"""Write docs/reference.md from the code: tables and settings. `make docs` runs it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sqlalchemy.dialects import postgresql, sqlite

from feedzone.store.schema.base import DESCRIPTIONS
from feedzone.store.schema.tables import metadata

ROOT = Path(__file__).parents[1]


def tables() -> list[str]:
    """Return the section of each table: its columns on both databases, and its allowed values."""
    lines = ["## Tables", ""]
    for table in metadata.tables.values():
        lines += [
            f"### {table.name}",
            "",
            DESCRIPTIONS[table.name].text,
            "",
            "| column | SQLite | PostgreSQL | |",
            "|---|---|---|---|",
        ]
        for column in table.columns:
            types = [column.type.compile(dialect=d.dialect()) for d in (sqlite, postgresql)]
            notes = [part for part in ("key" if column.primary_key else "", column.comment or "") if part]
            lines.append(
                f"| `{column.name}` | {types[0].lower()} | {types[1].lower()} | {'; '.join(notes)} |"
            )
        for constraint in sorted(table.constraints, key=lambda c: str(c.name)):
            text = str(getattr(constraint, "sqltext", ""))
            if " IN (" in text:
                lines += ["", f"`{text.split(' IN ')[0]}` is one of {text.split(' IN ')[1].strip('()')}."]
        lines.append("")
    return lines


def settings() -> list[str]:
    """Return the table of settings, with the comments of .env.template."""
    lines = ["## Settings", "", "| setting | default | |", "|---|---|---|"]
    about: list[str] = []
    for line in (ROOT / ".env.template").read_text().splitlines():
        if line.startswith("# ---"):
            about = []
        elif line.startswith("# "):
            about.append(line[2:])
        elif match := re.match(r"([A-Z_]+)=(.*)", line):
            lines.append(f"| `{match[1]}` | {f'`{match[2]}`' if match[2] else ''} | {' '.join(about)} |")
            about = []
    return [*lines, ""]


def reference() -> str:
    """Return the page."""
    head = [
        "# Reference",
        "",
        "`make docs` writes this page from the code; do not edit it. `/docs` describes the HTTP API.",
        "",
    ]
    return "\n".join([*head, *tables(), *settings()])


if __name__ == "__main__":
    target = ROOT / "docs" / "reference.md"
    target.write_text(reference())
    sys.stdout.write(f"wrote {target.relative_to(ROOT)}\n")
