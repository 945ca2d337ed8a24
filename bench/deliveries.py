"""Measure the transaction behind the answer 200 on SQLite: per delivery, alone and in a group."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from datetime import UTC, datetime

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.event import StravaEvent, parse_event
from feedzone.ingest.deliveries import Delivery, accept
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
        profile = AthleteProfile(1)
        database.run_sync(lambda c: athletes.connect(c, profile, "activity:read", "active", None, now))
        single_ms = 0.0
        for size in (1, 8, 64):
            durations_ms = []
            for _ in range(ROUNDS):
                group = [Delivery(event(number + offset), "absent") for offset in range(size)]
                number += size
                start = time.perf_counter()
                database.run_sync(lambda c, group=group: accept(c, group, now))
                durations_ms.append((time.perf_counter() - start) * 1000)
            each_ms = statistics.median(durations_ms) / size
            single_ms = single_ms or each_ms
            print(
                f"group of {size:2}: median {statistics.median(durations_ms):6.2f} ms, "
                f"{each_ms:5.2f} ms per delivery, {single_ms / each_ms:4.1f} times faster than one at a time"
            )


if __name__ == "__main__":
    main()
