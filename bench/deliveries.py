"""What a delivery costs: the inbox's transaction, alone and shared by a group, on SQLite."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from datetime import UTC, datetime

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.event import StravaEvent, parse_event
from feedzone.ingest import dispatcher
from feedzone.ingest.dispatcher import Delivery
from feedzone.store import athletes
from feedzone.store.engine.database import open_database
from feedzone.store.schema import upgrade

ROUNDS = 30


def event(number: int) -> StravaEvent:
    body = {
        "object_type": "activity",
        "object_id": number,
        "aspect_type": "create",
        "owner_id": 1,
        "subscription_id": 1,
        "event_time": number,
        "updates": {},
    }
    return parse_event(json.dumps(body).encode())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{folder}/bench.db")
        upgrade.prepare(database)
        now, number = datetime.now(UTC), 0
        connect = AthleteProfile(1)
        database.run_sync(lambda c: athletes.connect(c, connect, "activity:read", "active", None, now))
        alone = 0.0
        for size in (1, 8, 64):
            took = []
            for _ in range(ROUNDS):
                group = [Delivery(event(number + place), "absent") for place in range(size)]
                number += size
                began = time.perf_counter()
                database.run_sync(lambda c, group=group: dispatcher.accept(c, group, now))
                took.append((time.perf_counter() - began) * 1000)
            each = statistics.median(took) / size
            alone = alone or each
            print(
                f"group of {size:2}: median {statistics.median(took):6.2f} ms, "
                f"{each:5.2f} ms a delivery, {alone / each:4.1f} times better than alone"
            )


if __name__ == "__main__":
    main()
