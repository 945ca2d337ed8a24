"""Store our push subscription: at most one is active."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, update

from .batches import update_in_batches
from .engine.database import Database
from .engine.dialect import insert_into
from .schema.tables import strava_athletes, webhook_subscriptions

_ACTIVE = select(webhook_subscriptions.c.subscription_id).where(webhook_subscriptions.c.is_active.is_(True))
_IS_ACTIVE = exists().where(webhook_subscriptions.c.is_active.is_(True))


def active_ids(connection: Connection) -> set[int]:
    """Return the ids of our subscription; empty until it is known.

    Events of other subscriptions are not for us.
    """
    return set(connection.execute(_ACTIVE).scalars())


def active_since(connection: Connection) -> datetime | None:
    """Return when Strava created our subscription; None: there is none."""
    query = select(func.max(webhook_subscriptions.c.created_at)).where(
        webhook_subscriptions.c.is_active.is_(True)
    )
    return connection.execute(query).scalar()


def remember(connection: Connection, subscription_id: int, callback_url: str, created_at: datetime) -> None:
    """Store this subscription as our only one; `mark_athletes` follows. Strava allows one per application."""
    others = webhook_subscriptions.c.subscription_id != subscription_id
    connection.execute(update(webhook_subscriptions).where(others).values(is_active=False))
    values = {"callback_url": callback_url, "created_at": created_at, "is_active": True}
    connection.execute(
        insert_into(connection, webhook_subscriptions)
        .values(subscription_id=subscription_id, **values)
        .on_conflict_do_update(index_elements=["subscription_id"], set_=values)
    )


def forget(connection: Connection) -> None:
    """Store that there is no active subscription; `mark_athletes` follows."""
    connection.execute(update(webhook_subscriptions).values(is_active=False))


async def mark_athletes(database: Database) -> int:
    """Store for every athlete whether there is an active subscription, a few per transaction.

    Return how many changed. If a crash interrupts it, the next call goes on.
    """
    differs = strava_athletes.c.webhook_subscription_active != _IS_ACTIVE
    return await update_in_batches(database, strava_athletes, differs, webhook_subscription_active=_IS_ACTIVE)


def listing(connection: Connection) -> Sequence[Row[Any]]:
    """Return all subscriptions that were ever ours, newest first."""
    return connection.execute(
        select(webhook_subscriptions).order_by(webhook_subscriptions.c.created_at.desc())
    ).all()
