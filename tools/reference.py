"""Writes docs/reference.md from what the code says: tables, settings, commands. `make docs` runs it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sqlalchemy.dialects import postgresql, sqlite

from feedzone.store.schema.tables import metadata

ROOT = Path(__file__).parents[1]

ABOUT = {
    "webhook_events": "What Strava told us. Identical deliveries are one row.",
    "jobs": "The queue. One live row per object; finished jobs are removed, dead letters stay.",
    "strava_athletes": "Who is connected. Of who has left, only the id stays.",
    "strava_gear": "Bikes and shoes of the profile, read once a day: unused, retired and deleted ones, too.",
    "strava_activities": "Activities, in SI units; `summary` and `detail` are what Strava sent, as received.",
    "activity_streams": "One Parquet blob an activity, a column a channel; DuckDB and pandas read it.",
    "activity_photos": "The photos of an activity as Strava lists them, where FETCH_PHOTOS is set.",
    "webhook_subscriptions": "The push subscriptions we know to be ours.",
    "activity_changes": "The audit trail: field by field, from what to what, when, and why.",
    "token_uses": "When tokens were exchanged and refreshed, and what came of it. Never a token.",
    "api_budget": "The four windows of Strava's rate limit, shared by all processes.",
    "call_log": "Every call of the last eight days. What spent the quota?",
    "job_attempts": "The story of jobs that failed: every attempt.",
    "application_state": "Whether Strava has switched the application off; one row at most.",
    "reconciliations": "Comparisons with Strava, and what they found.",
    "conflicts": "What feedzone did not dare to decide alone.",
    "oauth_states": "One-time states of consents under way.",
    "rejected_claims": "Deletes and deauthorisations that Strava denied when asked.",
    "deletion_receipts": "Proof that an athlete who left is gone.",
}


def tables() -> list[str]:
    lines = ["## Tables", ""]
    for name, about in ABOUT.items():
        lines += [f"### {name}", "", about, "", "| column | SQLite | PostgreSQL | |", "|---|---|---|---|"]
        for column in metadata.tables[name].columns:
            types = [column.type.compile(dialect=d.dialect()) for d in (sqlite, postgresql)]
            notes = [part for part in ("key" if column.primary_key else "", column.comment or "") if part]
            lines.append(
                f"| `{column.name}` | {types[0].lower()} | {types[1].lower()} | {'; '.join(notes)} |"
            )
        for constraint in sorted(metadata.tables[name].constraints, key=lambda c: str(c.name)):
            text = str(getattr(constraint, "sqltext", ""))
            if " IN (" in text:
                lines += ["", f"`{text.split(' IN ')[0]}` is one of {text.split(' IN ')[1].strip('()')}."]
        lines.append("")
    return lines


def settings() -> list[str]:
    """The settings, as .env.template explains them."""
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
    head = [
        "# Reference",
        "",
        "Written by `make docs` from the code; do not edit. The HTTP API describes itself at `/docs`.",
        "",
    ]
    missing = set(metadata.tables) ^ set(ABOUT)
    if missing:
        raise SystemExit(f"tools/reference.py does not describe these tables: {missing}")
    return "\n".join([*head, *tables(), *settings()])


if __name__ == "__main__":
    target = ROOT / "docs" / "reference.md"
    target.write_text(reference())
    sys.stdout.write(f"wrote {target.relative_to(ROOT)}\n")
