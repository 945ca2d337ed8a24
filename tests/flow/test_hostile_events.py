"""An event that the door accepts can be read, shown, listed, redacted and deleted: for every body."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json
from sqlalchemy import delete, select
from web_world import KEY, World, web_world

from feedzone.domain.event import redacted
from feedzone.ingest.dispatcher import Dispatcher
from feedzone.ingest.inbox import Inbox
from feedzone.ingest.webhook import Webhook, WebhookOptions
from feedzone.sandbox import request
from feedzone.store import activities, events
from feedzone.store.engine.database import Database
from feedzone.store.schema.tables import (
    activity_changes,
    jobs,
    strava_activities,
    unknown_owners,
    webhook_events,
)
from feedzone.telemetry import Metrics
from feedzone.worker.wakeup import LocalWakeup

PATH = "/hook"
CONNECTED, STRANGER = 42, 999
HOSTILE = (
    "1e999",
    "-1e400",
    "NaN",
    "Infinity",
    "9" * 5000,
    "9223372036854775807",
    "9223372036854775808",
    "1e308",
    "5e-324",
    "-0.0",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\ud83d\\ude00"',
    '"\\u0000"',
    '"\\u2028</script>"',
    "[" * 975 + "]" * 975,
    "[" * 70 + "]" * 70,
    "[" * 60 + "]" * 60,
    '{"a":' * 61 + "1" + "}" * 61,
    '{"a":1,"a":"\\ud800","\\u0000":2,"":3}',
    "true",
    "null",
    '"Morning Ride"',
)
KEYS = ('"title"', '"type"', '"private"', '"authorized"', '"\\ud800"', '"\\u0000"', '""', '"z"')
values = st.sampled_from(HOSTILE) | st.one_of(
    st.integers(), st.floats(), st.text(max_size=20), st.lists(st.text(max_size=3), max_size=3)
).map(json.dumps)
objects = st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=3).map(
    lambda members: "{" + ",".join(f"{key}:{value}" for key, value in members) + "}"
)


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """Return the text of an event, in which any value may be a hostile one."""
    members = {
        "object_type": draw(
            st.sampled_from(('"activity"', '"activity"', '"athlete"', '"club"', '"\\ud800"'))
        ),
        "object_id": draw(st.sampled_from(("5", "6", "9223372036854775807", "9" * 30))),
        "aspect_type": draw(st.sampled_from(('"create"', '"update"', '"update"', '"delete"', '"archive"'))),
        "owner_id": draw(st.sampled_from((str(CONNECTED), str(CONNECTED), str(STRANGER)))),
        "subscription_id": "1",
        "event_time": str(draw(st.integers(0, 2**63))),
        "updates": draw(objects),
    }
    more = draw(st.lists(st.tuples(st.sampled_from(("z", "updates", "object_id")), values), max_size=2))
    return "{" + ",".join(f'"{name}":{value}' for name, value in (*members.items(), *more)) + "}"


@dataclass
class Place:
    world: World
    hook: Webhook


@pytest.fixture
async def place(database: Database):
    async with web_world(database) as world:
        await world.connect()
        inbox = Inbox(database, world.clock, LocalWakeup())
        options = WebhookOptions(PATH, "verify", "off", ())
        yield Place(world, Webhook(inbox, options, Metrics(), world.clock))


def event(**changes: str) -> str:
    members = {
        "object_type": '"activity"',
        "object_id": "5",
        "aspect_type": '"update"',
        "owner_id": str(CONNECTED),
        "subscription_id": "1",
        "event_time": "1",
        "updates": "{}",
    } | changes
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@example(event(z="1e999"))
@example(event(z="9" * 5000))
@example(event(updates='{"title":"\\ud800\\u0000"}'))
@example(event(updates='{"title":' + "[" * 60 + "]" * 60 + "}"))
@example(event(aspect_type='"create"', updates='{"title":"canary"}'))
@example(event(aspect_type='"archive"', updates='{"title":"canary"}'))
@given(bodies())
async def test_every_accepted_event_can_be_shown_listed_redacted_and_deleted(place, body):
    world = place.world
    await world.database.write(forget_everything)
    answer = await request(place.hook, "POST", PATH, body.encode(), {"Content-Type": "application/json"})
    assert answer.status in (200, 400), answer.body
    await Dispatcher(world.database, world.clock, LocalWakeup(), LocalWakeup(), look_every_s=5).run_once()
    if answer.status == 400:
        assert answer.json["detail"]
        return
    rows = await world.database.read(lambda c: events.listing(c, status=None, limit=1, before_id=None))
    if not rows:  # events of athletes who are not connected are only counted
        assert await world.database.read(lambda c: c.execute(select(unknown_owners)).first()) is not None
        return
    (row,) = rows
    assert row.status in ("pending", "ignored")
    async with world.browser(headers=KEY) as browser:
        listed = await browser.get("/api/v1/events?limit=200")
        page = await browser.get(f"/events/{row.id}")
    assert (listed.status_code, page.status_code) == (200, 200)
    for decode in (json.loads, from_json):
        assert decode(listed.content)["items"][0]["event_data"]["owner_id"] == row.owner_id
    assert msgspec.json.decode(redacted(row.event_data))
    await world.database.write(
        lambda c: activities.tombstone(c, row.object_id, row.owner_id, "request", world.clock.now())
    )
    for stored in await world.database.read(lambda c: of_object(c, row.object_id)):
        assert not any((json.loads(stored.event_data).get("updates") or {}).values())


def forget_everything(connection: Any) -> None:
    for table in (webhook_events, jobs, strava_activities, activity_changes, unknown_owners):
        connection.execute(delete(table))


def of_object(connection: Any, object_id: int) -> list[Any]:
    rows = events.listing(connection, status=None, limit=1000, before_id=None)
    return [row for row in rows if row.object_id == object_id and row.object_type == "activity"]
