"""Store our push subscription: at most one is active."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from . import athletes
from .engine.dialect import insert_into
from .schema.tables import webhook_subscriptions

_ACTIVE = select(webhook_subscriptions.c.subscription_id).where(webhook_subscriptions.c.is_active.is_(True))


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
    """Store this subscription as our only one. Strava allows one per application."""
    others = webhook_subscriptions.c.subscription_id != subscription_id
    connection.execute(update(webhook_subscriptions).where(others).values(is_active=False))
    values = {"callback_url": callback_url, "created_at": created_at, "is_active": True}
    connection.execute(
        insert_into(connection, webhook_subscriptions)
        .values(subscription_id=subscription_id, **values)
        .on_conflict_do_update(index_elements=["subscription_id"], set_=values)
    )
    athletes.set_subscription(connection, active=True)


def forget(connection: Connection) -> None:
    """Store that there is no active subscription."""
    connection.execute(update(webhook_subscriptions).values(is_active=False))
    athletes.set_subscription(connection, active=False)


def listing(connection: Connection) -> Sequence[Row[Any]]:
    """Return all subscriptions that were ever ours, newest first."""
    return connection.execute(
        select(webhook_subscriptions).order_by(webhook_subscriptions.c.created_at.desc())
    ).all()
