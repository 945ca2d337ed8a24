"""Fetch whole activities with stravalib, and store each with SQLAlchemy; print figures as JSON.

    DATABASE_URL=... STRAVA_PORT=... python -m bench.peers.stravalib_sqlalchemy FIRST_ID ACTIVITIES

It runs with the libraries in .bench/. Typed columns, the detail and each stream as JSON: what people write.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    String,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from stravalib.client import Client

WARM_UP = 5


class Base(DeclarativeBase):
    """The tables."""


class Activity(Base):
    """The fields that pages show, and the whole detail."""

    __tablename__ = "activities"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    athlete_id: Mapped[int] = mapped_column(BigInteger, index=True)
    name: Mapped[str] = mapped_column(String)
    sport_type: Mapped[str] = mapped_column(String)
    start_date: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    distance: Mapped[float] = mapped_column(Float)
    moving_time: Mapped[int]
    elapsed_time: Mapped[int]
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    streams: Mapped[list[Channel]] = relationship(cascade="all, delete-orphan")


class Channel(Base):
    """One stream of an activity."""

    __tablename__ = "streams"
    activity_id: Mapped[int] = mapped_column(ForeignKey("activities.id"), primary_key=True)
    type: Mapped[str] = mapped_column(String, primary_key=True)
    data: Mapped[list[Any]] = mapped_column(JSON)


def fetch(client: Client, number: int) -> Activity:
    """Fetch one activity with its streams."""
    found = client.get_activity(number)
    streams = client.get_activity_streams(number)
    return Activity(
        id=number,
        athlete_id=found.athlete.id if found.athlete else 0,
        name=found.name,
        sport_type=str(found.sport_type.root) if found.sport_type else "",
        start_date=found.start_date,
        distance=float(found.distance or 0),
        moving_time=int(found.moving_time or 0),
        elapsed_time=int(found.elapsed_time or 0),
        detail=found.model_dump(mode="json"),
        streams=[Channel(type=name, data=stream.data) for name, stream in streams.items()],
    )


def wait_for_disk(connection: Any, _: Any) -> None:
    """Set what people recommend for SQLite; `synchronous` keeps its durable default."""
    connection.execute("PRAGMA journal_mode = WAL")


def main(first: int, number: int) -> None:
    engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", wait_for_disk)
    Base.metadata.create_all(engine)
    client = Client(access_token="access", rate_limit_requests=False)
    client.protocol.api_base = "/api/v3"
    client.protocol.server = f"127.0.0.1:{os.environ['STRAVA_PORT']}"
    resolve = client.protocol.resolve_url
    client.protocol.resolve_url = lambda url: resolve(url).replace("https://", "http://")  # type: ignore[method-assign]
    began = cpu = 0.0
    for offset in range(-WARM_UP, number):
        if offset == 0:
            began, cpu = time.perf_counter(), time.process_time()
        activity = fetch(client, first + WARM_UP + offset)
        with Session(engine) as session:
            session.add(activity)
            session.commit()
    took, used = time.perf_counter() - began, time.process_time() - cpu
    with Session(engine) as session:
        stored = session.scalar(select(func.count()).select_from(Activity))
    if stored != number + WARM_UP:
        sys.exit(f"{stored} activities are stored, not {number + WARM_UP}")
    print(json.dumps({"rate": number / took, "cpu_ms": used * 1000 / number, "stored": stored}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
