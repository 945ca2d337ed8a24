"""Store token pairs, encrypted; only one caller refreshes a pair at a time (guarantee 5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, case, func, literal, or_, select, update

from ..domain.athlete import TokenGrant, TokenRow
from ..domain.ids import uuid7
from ..domain.job import RevokeHint, decode_hint, encode_hint, revoke_job
from ..ports import Clock
from ..vault import Vault
from . import athletes
from .batches import change_in_batches
from .engine.database import Database
from .engine.dialect import among
from .engine.shared_commits import SharedCommits
from .engine.types import Instant
from .jobs.lifecycle import enqueue
from .schema.tables import jobs, strava_athletes, token_uses

AT_ONCE = 64
"""Pairs that are read at once, at most."""

_columns = strava_athletes.c
_PAIRS = select(
    _columns.id,
    _columns.access_token_encrypted,
    _columns.refresh_token_encrypted,
    _columns.token_expires_at,
    _columns.token_generation,
    _columns.status,
    _columns.refresh_lease_until,
    _columns.refresh_uncertain_at,
).where(among(_columns.id, "ids"))
_CLAIM = (
    update(strava_athletes)
    .where(
        _columns.id == bindparam("athlete"),
        _columns.token_generation == bindparam("generation"),
        _columns.refresh_token_encrypted.is_not(None),
        or_(_columns.refresh_lease_until.is_(None), _columns.refresh_lease_until <= bindparam("now")),
    )
    .values(
        refresh_lease_owner=bindparam("holder"),
        refresh_lease_until=bindparam("until"),
        # The process that let its claim expire has crashed, but Strava may have received its request.
        refresh_uncertain_at=func.coalesce(_columns.refresh_uncertain_at, _columns.refresh_lease_until),
    )
)
_INSERT_USE = token_uses.insert()
_REJECTED = _columns.status.in_(("needs_reauth", "leaving"))
_ACTIVE_AGAIN = {
    "refused_at": None,
    "leaves_at": None,
    "leaving_cause": None,
    "status": case((_REJECTED, "active"), else_=_columns.status),
    "status_reason": case((_REJECTED, None), else_=_columns.status_reason),
}
"""Undo `needs_reauth`: a process with a fast clock may have used the same refresh token without success.

Tokens that Strava accepts prove that the athlete is still connected."""


class TokenTable:
    """The token columns of `strava_athletes` (ports.TokenRows)."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._loads = SharedCommits(self._load_all, most=AT_ONCE, name="tokens")

    async def _load_all(self, ids: Sequence[int]) -> list[Any]:
        """Read the pairs of athletes whose jobs ask at the same time."""
        rows = await self._database.read(lambda c: c.execute(_PAIRS, {"ids": sorted(set(ids))}).all())
        by_athlete = {row.id: row for row in rows}
        return [by_athlete.get(athlete_id) for athlete_id in ids]

    async def load(self, athlete_id: int) -> TokenRow | None:
        row = await self._loads.submit(athlete_id)
        if row is None or row.refresh_token_encrypted is None:
            return None
        return self._decrypt(row)

    def _decrypt(self, row: Any) -> TokenRow:
        owner = owner_of(row.id)
        return TokenRow(
            athlete_id=row.id,
            access_token=self._vault.open(row.access_token_encrypted, owner=owner),
            refresh_token=self._vault.open(row.refresh_token_encrypted, owner=owner),
            expires_at=row.token_expires_at,
            generation=row.token_generation,
            status=row.status,
            refreshing_until=row.refresh_lease_until,
            uncertain_at=row.refresh_uncertain_at,
        )

    async def claim_refresh(self, athlete_id: int, generation: int, owner: str, seconds: float) -> bool:
        now = self._clock.now()
        claim = {
            "athlete": athlete_id,
            "generation": generation,
            "now": now,
            "holder": owner,
            "until": now + timedelta(seconds=seconds),
        }
        return await self._database.write(lambda c: c.execute(_CLAIM, claim).rowcount == 1)

    async def save_rotated(self, athlete_id: int, generation: int, grant: TokenGrant) -> bool:
        now = self._clock.now()

        def body(connection: Connection) -> bool:
            rows = connection.execute(
                update(strava_athletes)
                # Even if another process has taken over the claim: Strava accepts only this pair.
                .where(_columns.id == athlete_id, _columns.token_generation == generation)
                .values(**self._values(athlete_id, grant, generation + 1, now), **_ACTIVE_AGAIN)
            ).rowcount
            if rows:
                _note_use(connection, athlete_id, "refresh", generation, "ok", now)
            elif athletes.statuses(connection, [athlete_id]).get(athlete_id) == "deauthorized":
                self._revoke(connection, athlete_id, grant, now)
            return rows == 1

        return await self._database.write(body)

    def _revoke(self, connection: Connection, athlete_id: int, grant: TokenGrant, now: datetime) -> None:
        """Enqueue the revocation of a pair that arrived after the athlete disconnected."""
        sealed = self._vault.seal(grant.refresh_token, owner=owner_of(athlete_id))
        enqueue(connection, [revoke_job(athlete_id, sealed)], now)

    def save_exchanged(
        self, connection: Connection, athlete_id: int, grant: TokenGrant, now: datetime
    ) -> None:
        """Store the pair of a new consent. It invalidates every older generation."""
        generation = connection.execute(
            select(_columns.token_generation).where(_columns.id == athlete_id)
        ).scalar_one()
        connection.execute(
            update(strava_athletes)
            .where(_columns.id == athlete_id)
            .values(**self._values(athlete_id, grant, generation + 1, now))
        )
        _note_use(connection, athlete_id, "exchange", generation + 1, "ok", now)

    def _values(self, athlete_id: int, grant: TokenGrant, generation: int, now: datetime) -> dict[str, Any]:
        owner = owner_of(athlete_id)
        return {
            "access_token_encrypted": self._vault.seal(grant.access_token, owner=owner),
            "refresh_token_encrypted": self._vault.seal(grant.refresh_token, owner=owner),
            "token_expires_at": grant.expires_at,
            "token_generation": generation,
            "refresh_lease_owner": None,
            "refresh_lease_until": None,
            "refresh_uncertain_at": None,
            "updated_at": now,
        }

    async def release_refresh(self, athlete_id: int, owner: str, *, uncertain: bool) -> None:
        now = self._clock.now()
        values: dict[str, Any] = {"refresh_lease_owner": None, "refresh_lease_until": None}
        if uncertain:
            values["refresh_uncertain_at"] = now

        def body(connection: Connection) -> None:
            row = connection.execute(
                update(strava_athletes)
                .where(_columns.id == athlete_id, _columns.refresh_lease_owner == owner)
                .values(values)
                .returning(_columns.token_generation)
            ).first()
            if row is not None:
                outcome = "no answer" if uncertain else "refused"
                _note_use(connection, athlete_id, "refresh", row.token_generation, outcome, now)

        await self._database.write(body)

    async def mark(self, athlete_id: int, generation: int, status: str, reason: str) -> bool:
        now = self._clock.now()
        refused_at = func.coalesce(_columns.refused_at, literal(now, Instant))
        statement = (
            update(strava_athletes)
            .where(
                _columns.id == athlete_id,
                _columns.token_generation == generation,
                _columns.status.not_in(("deauthorized", "leaving")),
            )
            .values(status=status, status_reason=reason, refused_at=refused_at, updated_at=now)
        )

        return await self._database.write(lambda c: c.execute(statement).rowcount == 1)

    async def rotate_keys(self) -> int:
        """Encrypt every stored token with the newest key; return the number of changed athletes.

        Tokens in jobs that wait to revoke them are also encrypted again.
        """
        revocations = jobs.c.kind == "revoke_athlete"
        await change_in_batches(self._database, jobs, revocations, self._rotate_revocations)
        with_tokens = _columns.refresh_token_encrypted.is_not(None)
        return await change_in_batches(self._database, strava_athletes, with_tokens, self._rotate_pairs)

    def _rotate_pairs(self, connection: Connection, athlete_ids: Sequence[int]) -> int:
        pairs = select(_columns.id, _columns.access_token_encrypted, _columns.refresh_token_encrypted).where(
            _columns.id.in_(athlete_ids), _columns.refresh_token_encrypted.is_not(None)
        )
        changed = 0
        for row in connection.execute(pairs.order_by(_columns.id).with_for_update(key_share=True)).all():
            if not self._vault.needs_rotation(row.refresh_token_encrypted):
                continue
            connection.execute(
                update(strava_athletes)
                .where(_columns.id == row.id)
                .values(
                    access_token_encrypted=self._sealed_anew(row.access_token_encrypted, row.id),
                    refresh_token_encrypted=self._sealed_anew(row.refresh_token_encrypted, row.id),
                )
            )
            changed += 1
        return changed

    def _sealed_anew(self, sealed: str, athlete_id: int) -> str:
        owner = owner_of(athlete_id)
        return self._vault.seal(self._vault.open(sealed, owner=owner), owner=owner)

    def _rotate_revocations(self, connection: Connection, job_ids: Sequence[str]) -> int:
        revocations = select(jobs.c.id, jobs.c.athlete_id, jobs.c.hint).where(jobs.c.id.in_(job_ids))
        for row in connection.execute(revocations.order_by(jobs.c.id).with_for_update()).all():
            hint = decode_hint(row.hint)
            if not isinstance(hint, RevokeHint) or hint.sealed_token is None:
                continue
            sealed = self._sealed_anew(hint.sealed_token, row.athlete_id)
            new_hint = encode_hint(msgspec.structs.replace(hint, sealed_token=sealed))
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(hint=new_hint))
        return len(job_ids)


def owner_of(athlete_id: int) -> str:
    """Return the owner that an encrypted token is bound to, so that no other athlete's row can use it."""
    return f"athlete:{athlete_id}"


def _note_use(
    connection: Connection, athlete_id: int, purpose: str, generation: int, outcome: str, now: datetime
) -> None:
    use = {
        "id": uuid7(int(now.timestamp() * 1000)),
        "athlete_id": athlete_id,
        "used_at": now,
        "purpose": purpose,
        "generation": generation,
        "outcome": outcome,
    }
    connection.execute(_INSERT_USE, use)
