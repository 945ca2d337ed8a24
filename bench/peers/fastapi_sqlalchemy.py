"""FastAPI with SQLAlchemy's async session: one INSERT and one commit for each delivery."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import BigInteger, Text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The tables."""


class Stored(Base):
    """One event."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    object_type: Mapped[str] = mapped_column(Text)
    object_id: Mapped[int] = mapped_column(BigInteger)
    aspect_type: Mapped[str] = mapped_column(Text)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    event_time: Mapped[int] = mapped_column(BigInteger)
    updates: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Event(BaseModel):
    """What Strava sends."""

    object_type: str
    object_id: int
    aspect_type: str
    owner_id: int
    subscription_id: int
    event_time: int
    updates: dict[str, Any]


URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
sessions = async_sessionmaker(create_async_engine(URL, pool_size=20, max_overflow=0), expire_on_commit=False)
app = FastAPI()


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


@app.get("/readyz")
async def readyz() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/api/webhooks/strava")
async def receive(event: Event, database: Annotated[AsyncSession, Depends(session)]) -> dict[str, str]:
    values = event.model_dump(exclude={"subscription_id"})
    await database.execute(insert(Stored).values(**values).on_conflict_do_nothing())
    await database.commit()
    return {"status": "accepted"}
