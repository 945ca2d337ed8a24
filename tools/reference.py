"""Write docs/reference.md from the code: tables and settings. `make docs` runs it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sqlalchemy.dialects import postgresql, sqlite

from feedzone.store.schema.tables import metadata

ROOT = Path(__file__).parents[1]

ABOUT = {
    "webhook_events": "Events that Strava sent. Identical deliveries share one row.",
    "jobs": "The queue. One live row per object and kind; finished jobs are removed, dead letters stay.",
    "strava_athletes": "Connected athletes. Of a disconnected athlete only the id stays.",
    "strava_gear": "Bikes and shoes of the profile, read once a day, also unused, retired and deleted ones.",
    "strava_activities": "Activities, in SI units; `summary` and `detail` are what Strava sent, as received.",
    "activity_streams": "One Parquet blob per activity, one column per channel; DuckDB and pandas read it.",
    "activity_photos": "The photos of an activity as Strava lists them, if FETCH_PHOTOS is set.",
    "webhook_subscriptions": "Our push subscriptions.",
    "activity_changes": "The audit trail: each changed field with its old and new value, time and cause.",
    "token_uses": "Each exchange and refresh of tokens, with time and result. Never a token.",
    "api_budget": "The four windows of Strava's rate limit, shared by all processes.",
    "call_log": "Every call of the last eight days, with the job that made it.",
    "job_attempts": "Every attempt of the jobs that failed.",
    "application_state": "The state of the circuit breaker; one row at most.",
    "reconciliations": "Reconciliations with Strava and their findings.",
    "conflicts": "Mass deletions that wait for a person's decision.",
    "ended_sessions": "Browser sessions that ended at sign-out.",
    "oauth_states": "One-time state values of consents under way.",
    "rejected_claims": "Deletes and deauthorisations that Strava refuted, so probably forged.",
    "deletion_receipts": "Proof that the data of a disconnected athlete was deleted.",
}


def tables() -> list[str]:
    """Return the section of each table: its columns on both databases, and its allowed values."""
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
    """Return the page. A table without a description ends the program."""
    head = [
        "# Reference",
        "",
        "`make docs` writes this page from the code; do not edit it. `/docs` describes the HTTP API.",
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
