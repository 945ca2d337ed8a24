"""The webhook endpoint, as Strava and as other clients use it."""

from __future__ import annotations

import json
import random
import sqlite3
from dataclasses import replace
from functools import partial

import pytest

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.signature import sign
from feedzone.errors import StorageUnavailable
from feedzone.ingest import admission
from feedzone.ingest.admission import Limits
from feedzone.ingest.dispatcher import Dispatcher
from feedzone.ingest.inbox import Inbox
from feedzone.ingest.webhook import BODY_LIMIT, Webhook, WebhookOptions
from feedzone.sandbox import request
from feedzone.store import athletes
from feedzone.telemetry import Metrics
from feedzone.web.server import FrontDoor
from feedzone.worker.wakeup import LocalWakeup

PATH = "/api/webhooks/strava"
EVENT = {
    "object_type": "activity",
    "object_id": 1360128428,
    "aspect_type": "create",
    "owner_id": 134815,
    "subscription_id": 120475,
    "event_time": 1516126040,
    "updates": {},
}
OPTIONS = WebhookOptions(PATH, "the-verify-token", "observe", [("WEBHOOK_SECRET", "key")])
JSON = {"Content-Type": "application/json"}


class Site:
    """Stands in for the pages and the API."""

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"site"})


@pytest.fixture
async def door(sqlite_database, clock):
    profile = AthleteProfile(EVENT["owner_id"])
    await sqlite_database.write(
        lambda c: athletes.connect(c, profile, "activity:read", "active", None, clock.now())
    )

    def make(**changes):
        inbox = Inbox(sqlite_database, clock, LocalWakeup())
        return FrontDoor(Webhook(inbox, replace(OPTIONS, **changes), Metrics(), clock), Site())

    return make


def stored(database) -> list[tuple[str, str]]:
    with sqlite3.connect(database.path) as plain:
        return plain.execute("SELECT status, signature FROM webhook_events").fetchall()


async def dispatch(database, clock) -> None:
    await Dispatcher(database, clock, LocalWakeup(), LocalWakeup(), look_every_s=5).run_once()


async def post(door, body: object, headers: dict[str, str] = JSON, path: str = PATH):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await request(door, "POST", path, raw, headers)


def handshake(mode="subscribe", token="the-verify-token", challenge="15f7d1a91c1f40f8a748fd134752feb3"):
    return f"{PATH}?hub.mode={mode}&hub.verify_token={token}&hub.challenge={challenge}"


async def test_the_handshake_returns_the_challenge_as_json(door):
    answer = await request(door(), "GET", handshake())
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {"hub.challenge": "15f7d1a91c1f40f8a748fd134752feb3"}


@pytest.mark.parametrize("token", ["wrong", "", "the-verify-token-and-more"])
async def test_a_wrong_verify_token_is_refused_without_the_challenge(door, token):
    answer = await request(door(), "GET", handshake(token=token))
    assert answer.status == 403
    assert b"15f7d1a91c1f40f8a748fd134752feb3" not in answer.body
    assert b"the-verify-token" not in answer.body


@pytest.mark.parametrize("url", [handshake(mode="unsubscribe"), handshake(challenge="")])
async def test_a_malformed_handshake_is_refused(door, url):
    assert (await request(door(), "GET", url)).status == 400


async def test_an_event_is_answered_200_once_it_is_stored(door, sqlite_database):
    answer = await post(door(), EVENT)
    assert answer.status == 200
    assert stored(sqlite_database) == [("pending", "absent")]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"[]", "object"),
        (b"{", "not JSON"),
        (b"\xff", "UTF-8"),
        (EVENT | {"object_type": 5}, "$.object_type"),
        (EVENT | {"aspect_type": "renamed" * 10}, "$.aspect_type"),
        (EVENT | {"z": 10**4000}, "64 bits"),
        (json.dumps(EVENT | {"z": 1}).encode().replace(b'"z": 1', b'"z": 1e999'), "double"),
        (EVENT | {"object_id": "one"}, "$.object_id"),
        (EVENT | {"event_time": True}, "$.event_time"),
        (EVENT | {"updates": ["title"]}, "$.updates"),
        ({key: EVENT[key] for key in EVENT if key != "owner_id"}, "owner_id"),
    ],
)
async def test_a_body_that_is_not_an_event_is_answered_400_with_the_reason(door, sqlite_database, body, says):
    answer = await post(door(), body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json["detail"]
    assert stored(sqlite_database) == []


@pytest.mark.parametrize("change", [{"object_type": "gear"}, {"aspect_type": "renamed"}])
async def test_a_kind_of_event_that_strava_adds_is_stored_and_ignored(door, sqlite_database, clock, change):
    assert (await post(door(), EVENT | change)).status == 200
    await dispatch(sqlite_database, clock)
    with sqlite3.connect(sqlite_database.path) as plain:
        query = "SELECT status, ignored_because, job_id FROM webhook_events"
        assert plain.execute(query).fetchall() == [("ignored", "unknown_kind", None)]


async def test_a_body_of_32_kib_is_accepted_and_a_larger_one_is_refused(door):
    room = BODY_LIMIT - len(json.dumps(EVENT | {"more": ""}))
    assert (await post(door(), EVENT | {"more": "x" * room})).status == 200
    assert (await post(door(), EVENT | {"more": "x" * (room + 1)})).status == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_other_media_types_are_answered_415(door, kind):
    assert (await post(door(), EVENT, {"Content-Type": kind} if kind else {})).status == 415


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_other_methods_are_answered_405(door, method):
    answer = await request(door(), method, PATH)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


async def test_with_a_path_secret_the_bare_path_is_not_found(door):
    hidden = door(path=f"{PATH}/unguessable")
    assert (await post(hidden, EVENT)).status == 404
    assert (await post(hidden, EVENT, path=f"{PATH}/unguessabl")).status == 404
    assert (await request(hidden, "GET", handshake())).status == 404
    assert (await post(hidden, EVENT, path=f"{PATH}/unguessable")).status == 200


async def test_all_other_paths_go_to_the_site(door):
    assert (await request(door(), "GET", "/")).status == 299


@pytest.mark.parametrize(
    ("mode", "key", "status", "proved"),
    [
        ("observe", "key", 200, "verified"),
        ("observe", "other", 200, "mismatch"),
        ("observe", None, 200, "absent"),
        ("off", "other", 200, "absent"),
        ("enforce", "key", 200, "verified"),
        ("enforce", "other", 403, None),
        ("enforce", None, 403, None),
    ],
)
async def test_signatures_are_observed_or_enforced(door, sqlite_database, clock, mode, key, status, proved):
    """The mode `observe` never refuses a delivery."""
    raw = json.dumps(EVENT).encode()
    signed = {"X-Strava-Signature": sign(raw, key, int(clock.now().timestamp()))} if key else {}
    answer = await post(door(signature_mode=mode), raw, JSON | signed)
    assert answer.status == status
    assert [event for _, event in stored(sqlite_database)] == ([proved] if proved else [])


async def test_an_old_signature_proves_nothing(door, sqlite_database, clock):
    raw = json.dumps(EVENT).encode()
    late = {"X-Strava-Signature": sign(raw, "key", int(clock.now().timestamp()) - 301)}
    assert (await post(door(signature_mode="enforce"), raw, JSON | late)).status == 403


@pytest.mark.parametrize(("key", "crowded"), [("key", [0, 0, 0]), (None, [0, 0, 1])])
async def test_only_unproven_events_of_an_athlete_can_be_a_crowd(
    door, sqlite_database, clock, monkeypatch, key, crowded
):
    monkeypatch.setattr(admission, "Limits", partial(Limits, athlete=2))
    webhook = door()
    for number in (1, 2, 3):
        raw = json.dumps(EVENT | {"object_id": number}).encode()
        signed = {"X-Strava-Signature": sign(raw, key, int(clock.now().timestamp()))} if key else {}
        assert (await post(webhook, raw, JSON | signed)).status == 200
    with sqlite3.connect(sqlite_database.path) as plain:
        rows = plain.execute("SELECT crowded FROM webhook_events ORDER BY object_id").fetchall()
    assert [value for (value,) in rows] == crowded


async def test_an_outage_of_the_database_is_no_junk_of_strava(door, sqlite_database, monkeypatch):
    monkeypatch.setattr(admission, "Limits", partial(Limits, junk=1))

    async def refuse(*_args, **_options):
        raise StorageUnavailable("away")

    webhook = door()
    monkeypatch.setattr(sqlite_database, "write", refuse)
    assert [(await post(webhook, EVENT)).status for _ in range(3)] == [503] * 3
    assert [(await post(webhook, b"junk")).status for _ in range(2)] == [400, 429]
    assert (await post(webhook, b" " * (BODY_LIMIT + 1))).status == 413, "its connection must be closed"


async def test_a_hundred_orders_of_the_same_events_end_in_the_same_job(door, sqlite_database, clock):
    """Strava guarantees neither delivery nor order."""
    events = [
        EVENT,
        EVENT | {"aspect_type": "update", "event_time": 1516126041, "updates": {"title": "a"}},
        EVENT | {"aspect_type": "update", "event_time": 1516126042, "updates": {"private": "true"}},
        EVENT | {"aspect_type": "delete", "event_time": 1516126043},
    ]
    dice, ended = random.Random(4), set()
    for _ in range(100):
        dice.shuffle(events)
        for event in events:
            assert (await post(door(), event)).status == 200
        await dispatch(sqlite_database, clock)
        with sqlite3.connect(sqlite_database.path) as plain:
            ended.add(plain.execute("SELECT json_extract(hint, '$.action'), hint_time FROM jobs").fetchone())
            plain.execute("DELETE FROM jobs")
            plain.execute("DELETE FROM webhook_events")
    assert ended == {("delete", 1516126043)}
