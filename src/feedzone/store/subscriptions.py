"""The push subscriptions we know to be ours."""

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
    """Events of other subscriptions are not ours; empty until we know our own."""
    return set(connection.execute(_ACTIVE).scalars())


def active_since(connection: Connection) -> datetime | None:
    """When ours was made, as Strava says; None: we know of none."""
    query = select(func.max(webhook_subscriptions.c.created_at)).where(
        webhook_subscriptions.c.is_active.is_(True)
    )
    return connection.execute(query).scalar()


def remember(connection: Connection, subscription_id: int, callback_url: str, created_at: datetime) -> None:
    """This one is ours now, and no other (Strava allows an application one)."""
    forget(connection)
    values = {"callback_url": callback_url, "created_at": created_at, "is_active": True}
    connection.execute(
        insert_into(connection, webhook_subscriptions)
        .values(subscription_id=subscription_id, **values)
        .on_conflict_do_update(index_elements=["subscription_id"], set_=values)
    )
    athletes.set_subscription(connection, active=True)


def forget(connection: Connection) -> None:
    """We have no subscription (any more)."""
    connection.execute(update(webhook_subscriptions).values(is_active=False))
    athletes.set_subscription(connection, active=False)


def listing(connection: Connection) -> Sequence[Row[Any]]:
    return connection.execute(
        select(webhook_subscriptions).order_by(webhook_subscriptions.c.created_at.desc())
    ).all()
