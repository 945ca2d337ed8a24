"""Find the keys that encrypt stored tokens, without decrypting any."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, and_, case, func, or_, select

from .batches import update_in_batches
from .engine.database import Database
from .schema.tables import strava_athletes

_columns = strava_athletes.c
# A sealed text is v1.<8 hex digits of the key's id>.<secret>: see vault.py.
_KEY_ID = func.substr(_columns.refresh_token_encrypted, 4, 8)
_BY_KEY = select(_KEY_ID, func.count()).where(_columns.refresh_token_encrypted.is_not(None)).group_by(_KEY_ID)


def athletes_by_key(connection: Connection) -> dict[str, int]:
    """Return the number of athletes whose tokens each key encrypts, by the id of the key."""
    rows = connection.execute(_BY_KEY).all()
    return {row[0]: row[1] for row in rows}


async def forget_other_keys(database: Database, key_ids: Collection[str], now: datetime) -> int:
    """Delete the tokens that none of these keys decrypts, a few per transaction.

    Return the number of their athletes, who need a new consent.
    """
    is_active = or_(_columns.status == "active", _columns.status == "needs_scope")
    return await update_in_batches(
        database,
        strava_athletes,
        and_(_columns.refresh_token_encrypted.is_not(None), _KEY_ID.not_in(key_ids)),
        access_token_encrypted=None,
        refresh_token_encrypted=None,
        token_expires_at=None,
        token_generation=_columns.token_generation + 1,
        status=case((is_active, "needs_reauth"), else_=_columns.status),
        status_reason=case(
            (is_active, "the key of the stored tokens was lost"), else_=_columns.status_reason
        ),
        updated_at=now,
    )
