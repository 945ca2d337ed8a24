"""Delete all data of an athlete who disconnects, and keep a receipt that proves it (guarantee 6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, select, update

from ..domain.effect import PurgeAthlete, RecordRejectedClaim
from ..domain.ids import uuid7
from ..domain.job import RevokeHint, decode_hint
from . import events, removals
from .jobs import attempts
from .quota import allowances
from .reads import dashboard
from .schema.tables import deletion_receipts, jobs, rejected_claims, strava_athletes


def purge(connection: Connection, effect: PurgeAthlete, now: datetime) -> bool:
    """End the access of an athlete, delete the tokens and the first rows, and write the receipt.

    `removals.step` deletes the other rows, which nobody can read any more. Return False, and change nothing,
    if the consent that `effect` is about has ended already: another purge was first, or the athlete has
    connected again since.
    """
    athlete_id = effect.athlete_id
    # Wait for events that are just being accepted, and block new ones (athletes.statuses).
    current = connection.execute(
        select(strava_athletes.c.status, strava_athletes.c.connected_at)
        .where(strava_athletes.c.id == athlete_id)
        .with_for_update()
    ).first()
    if (
        current is None
        or current.status == "deauthorized"
        or not _has_ended(effect, current.status, current.connected_at)
    ):
        return False
    counts = dashboard.rows_by_table(connection, athlete_id)
    proof = removals.proof_of(effect.cause)
    if proof and events.keep_proof(connection, proof, now):
        counts["webhook_events"] -= 1
    allowances.charge_departure(connection, athlete_id, now)
    _end_access(connection, athlete_id, effect.reason, now)
    receipt_id = uuid7(int(now.timestamp() * 1000))
    connection.execute(
        deletion_receipts.insert().values(
            id=receipt_id,
            athlete_id=athlete_id,
            reason=effect.reason,
            cause=effect.cause,
            confirmed_by=effect.confirmed_by,
            purged_at=now,
            counts=msgspec.json.encode(counts).decode(),
            revoked_at=now if effect.reason == "deauthorized" else None,
            revoke_detail=effect.confirmed_by if effect.reason == "deauthorized" else None,
        )
    )
    removals.begin(connection, athlete_id, current.status, receipt_id, now)
    return True


def _has_ended(effect: PurgeAthlete, status: str, connected_at: datetime) -> bool:
    """Return whether the present consent is the one that has ended."""
    if effect.reason == "expired" and status != "leaving":
        return False  # Strava has accepted the tokens again
    return effect.consent is None or connected_at <= effect.consent


def _end_access(connection: Connection, athlete_id: int, reason: str, now: datetime) -> None:
    connection.execute(
        update(strava_athletes)
        .where(strava_athletes.c.id == athlete_id)
        .values(
            status="deauthorized",
            status_reason=reason,
            # A refresh in progress must not store tokens again.
            token_generation=strava_athletes.c.token_generation + 1,
            updated_at=now,
        )
    )


def note_revoke(connection: Connection, athlete_id: int, detail: str, revoked_at: datetime | None) -> None:
    """Record on the newest receipt that Strava ended the access, or why it did not (`revoked_at` is None)."""
    newest = (
        select(deletion_receipts.c.id)
        .where(deletion_receipts.c.athlete_id == athlete_id)
        .order_by(deletion_receipts.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    values: dict[str, Any] = {"revoke_detail": detail}
    if revoked_at is not None:
        values["revoked_at"] = revoked_at
    connection.execute(update(deletion_receipts).where(deletion_receipts.c.id == newest).values(values))


def cancel_revoke(connection: Connection, athlete_id: int) -> None:
    """Cancel a pending revocation because the athlete has connected again.

    Revoking the old pair now could end the new consent. The receipt records why nothing was revoked.
    """
    waiting = connection.execute(
        select(jobs.c.id, jobs.c.hint)
        .where(jobs.c.kind == "revoke_athlete", jobs.c.athlete_id == athlete_id)
        .with_for_update()
    ).all()
    revocations = [row.id for row in waiting if _is_revoke(row.hint)]
    if revocations:
        for job_id in revocations:
            attempts.forget(connection, job_id)
        connection.execute(delete(jobs).where(jobs.c.id.in_(revocations)))
        detail = "not revoked: the athlete connected again before Strava could be told"
        note_revoke(connection, athlete_id, detail, None)


def _is_revoke(hint: str) -> bool:
    decoded = decode_hint(hint)
    return isinstance(decoded, RevokeHint) and decoded.action == "revoke"


def record_rejected_claim(connection: Connection, effect: RecordRejectedClaim, now: datetime) -> None:
    """Record an event whose claim Strava denied: it was forged, or is no longer true."""
    connection.execute(
        rejected_claims.insert().values(
            id=uuid7(int(now.timestamp() * 1000)), claim=effect.claim, cause=effect.cause, noticed_at=now
        )
    )


def list_rejected(connection: Connection, limit: int) -> Sequence[Row[Any]]:
    """Return the claims that Strava denied, newest first."""
    return connection.execute(
        select(rejected_claims).order_by(rejected_claims.c.id.desc()).limit(limit)
    ).all()


def receipts(connection: Connection, athlete_id: int | None = None) -> Sequence[Row[Any]]:
    """Return the newest 200 receipts of complete deletions: of all athletes, or of one."""
    query = select(deletion_receipts).where(removals.is_complete(deletion_receipts.c.id))
    query = query.order_by(deletion_receipts.c.id.desc()).limit(200)
    if athlete_id is not None:
        query = query.where(deletion_receipts.c.athlete_id == athlete_id)
    return connection.execute(query).all()
