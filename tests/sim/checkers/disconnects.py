"""No data of a disconnected athlete is left."""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import Evidence

KEPT = ("deletion_receipts", "call_log", "unknown_owners")
"""The tables whose rows may name a disconnected athlete: in calls and counts of events after the purge."""

TABLES = """
    SELECT t.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c
    WHERE t.type = 'table' AND c.name = 'athlete_id' ORDER BY t.name
"""


def check(evidence: Evidence) -> Iterator[str]:
    for athlete_id in sorted(evidence.world.athletes):
        row = next(iter(evidence.all("SELECT * FROM strava_athletes WHERE id = ?", athlete_id)), None)
        revoked = athlete_id in evidence.ledger.deauthorized and athlete_id not in evidence.world.grants.live
        if athlete_id in evidence.ledger.removed or (revoked and _acknowledged(evidence, athlete_id)):
            yield from _nothing_left(evidence, athlete_id, row)
        elif revoked and row is not None and row["status"] == "active":
            yield f"athlete {athlete_id} disconnected, and the status is still active"


def _acknowledged(evidence: Evidence, athlete_id: int) -> bool:
    """Return whether the engine answered the deauthorization event with 200."""
    since = int(evidence.ledger.deauthorized[athlete_id])
    return any(
        kind == "athlete" and owner == athlete_id and at >= since and identity not in evidence.ledger.forged
        for identity in evidence.ledger.acknowledged
        for kind, _, _, owner, at in [identity]
    )


def _nothing_left(evidence: Evidence, athlete_id: int, row: object) -> Iterator[str]:
    for (table,) in evidence.all(TABLES):
        if table in KEPT:
            continue
        kept = "AND kind <> 'left'" if table == "activity_changes" else ""  # for readers of the feed
        count = evidence.all(f"SELECT count(*) FROM {table} WHERE athlete_id = ? {kept}", athlete_id)[0][0]
        if count:
            yield f"athlete {athlete_id} disconnected, and {count} rows stay in {table}"
    titles = evidence.all(
        'SELECT event_data FROM webhook_events WHERE owner_id = ? AND event_data LIKE \'%"title":"%\'',
        athlete_id,
    )
    if titles:
        yield f"athlete {athlete_id} disconnected, and {len(titles)} events still contain titles"
    if row is None:
        return
    for column in ("access_token_encrypted", "refresh_token_encrypted", "firstname", "lastname", "username"):
        if row[column] is not None:  # type: ignore[index]
            yield f"athlete {athlete_id} disconnected, and the {column} stays"
    if row["status"] != "deauthorized":  # type: ignore[index]
        yield f"athlete {athlete_id} disconnected, and the status is {row['status']}"  # type: ignore[index]
    if not evidence.all("SELECT 1 FROM deletion_receipts WHERE athlete_id = ?", athlete_id):
        yield f"athlete {athlete_id} disconnected, and there is no deletion receipt"
