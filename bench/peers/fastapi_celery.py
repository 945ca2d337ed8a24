"""FastAPI with Celery: each delivery becomes a task in Redis, which waits for the disk."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

celery = Celery("events", broker=os.environ["REDIS_URL"])
app = FastAPI()


class Event(BaseModel):
    """What Strava sends."""

    object_type: str
    object_id: int
    aspect_type: str
    owner_id: int
    subscription_id: int
    event_time: int
    updates: dict[str, Any]


@celery.task(name="sync", ignore_result=True)  # type: ignore[untyped-decorator]
def sync(event: dict[str, Any]) -> None:
    """Fetch the activity: no worker runs in this benchmark."""


@app.get("/readyz")
def readyz() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/api/webhooks/strava")
def receive(event: Event) -> dict[str, str]:
    sync.delay(event.model_dump())
    return {"status": "accepted"}
