"""A message that an athlete left deletes nothing unless Strava proves it, and everybody sees the deadline."""

from __future__ import annotations

from datetime import timedelta

import pytest
from browsing import connect, words
from engine import make_engine
from web_world import KEY, World

from feedzone.domain.effect import BeginLeaving
from feedzone.services.conditions import conditions, problems
from feedzone.store import athletes, leaving
from feedzone.store.jobs.leaving_schedule import LeavingSchedule
from feedzone.store.schema.tables import (
    activity_changes,
    activity_streams,
    deletion_receipts,
    strava_activities,
    strava_athletes,
    webhook_events,
)


@pytest.fixture
async def engine(database, clock, tmp_path):
    made, (athlete,) = make_engine(database, clock, tmp_path)
    await made.connect(athlete)
    for _ in range(5):
        made.world.record(athlete, minutes=5)
    await made.deliver_announced()
    await made.work()
    made.athlete = athlete
    return made


async def athlete_row(engine):
    (row,) = await engine.rows(strava_athletes)
    return row


async def refuse_tokens(engine) -> None:
    """The athlete revokes our access, and the event of it is lost."""
    engine.world.deauthorize(engine.athlete)
    engine.announced.clear()
    engine.clock.advance(hours=7)
    await engine.reconcile(engine.athlete)
    if (await athlete_row(engine)).status == "active":  # another job's refresh was under way
        await engine.advance_and_work(seconds=5)
    assert (await athlete_row(engine)).status == "needs_reauth"
    engine.clock.advance(hours=1)


def claim(engine, **changes):
    """An unsigned deauthorization, as anybody can send it."""
    return {
        "object_type": "athlete",
        "object_id": engine.athlete,
        "aspect_type": "update",
        "owner_id": engine.athlete,
        "subscription_id": 120_475,
        "event_time": int(engine.clock.now().timestamp()),
        "updates": {"authorized": "false"},
    } | changes


async def enforce_deadlines(engine) -> int:
    schedule = LeavingSchedule(engine.database, engine.clock, engine.app.wakeup, days=7)
    done = await schedule.run()
    await engine.work()
    return done


async def test_hearsay_about_an_athlete_who_must_reconnect_deletes_nothing(engine):
    await refuse_tokens(engine)
    before = len(engine.calls)
    assert await engine.deliver(claim(engine), claim(engine, event_time=2**40)) == [200, 200]
    await engine.work()
    row = await athlete_row(engine)
    assert (row.status, row.leaves_at) == ("leaving", engine.clock.now() + timedelta(days=7))
    assert len([row for row in await engine.rows(strava_activities) if row.detail]) == 5
    assert len(await engine.rows(activity_streams, state="present")) == 5
    assert await engine.rows(deletion_receipts) == []
    assert len(engine.calls) == before
    (event, _) = await engine.rows(webhook_events, object_type="athlete")
    assert (event.status, event.error_message.partition(":")[0]) == ("completed", "unproven")


async def test_a_new_consent_keeps_everything(engine):
    await refuse_tokens(engine)
    await engine.deliver(claim(engine))
    await engine.work()
    await engine.connect(engine.athlete)
    engine.clock.advance(days=60)
    assert await enforce_deadlines(engine) == 0
    assert (await athlete_row(engine)).status == "active"
    assert len([row for row in await engine.rows(strava_activities) if row.detail]) == 5


async def test_at_the_deadline_the_athlete_is_gone_and_the_feed_says_so(engine):
    await refuse_tokens(engine)
    await engine.deliver(claim(engine))
    await engine.work()
    engine.app = engine.process()  # deadlines survive a restart
    engine.clock.advance(days=7)
    assert await enforce_deadlines(engine) == 1
    assert (await athlete_row(engine)).status == "deauthorized"
    assert await engine.rows(strava_activities) == []
    (receipt,) = await engine.rows(deletion_receipts)
    assert receipt.reason == "expired"
    assert receipt.revoke_detail is not None  # the rest of the access was ended at Strava
    (change,) = await engine.rows(activity_changes)
    assert (change.kind, change.athlete_id) == ("left", engine.athlete)


async def test_without_any_event_the_data_goes_thirty_days_after_the_first_refusal(engine):
    await refuse_tokens(engine)
    engine.clock.advance(days=23)
    assert await enforce_deadlines(engine) == 1
    assert (await athlete_row(engine)).status == "leaving"
    engine.clock.advance(days=7)
    assert await enforce_deadlines(engine) == 1
    assert (await athlete_row(engine)).status == "deauthorized"


async def test_a_refusal_that_the_event_itself_meets_ends_everything_at_once(engine):
    engine.world.deauthorize(engine.athlete)
    await engine.deliver_announced()
    await engine.work()
    assert (await athlete_row(engine)).status == "deauthorized"
    (receipt,) = await engine.rows(deletion_receipts)
    assert receipt.reason == "deauthorized"


async def test_a_second_claim_after_the_departure_purges_nothing_again(engine):
    engine.world.deauthorize(engine.athlete)
    await engine.deliver(*engine.announced, claim(engine, event_time=5))
    await engine.work()
    assert len(await engine.rows(deletion_receipts)) == 1


async def test_a_forged_update_of_an_athlete_who_must_reconnect_shows_and_hides_nothing(engine):
    await refuse_tokens(engine)
    before = {row.id: (row.name, row.type, row.private) for row in await engine.rows(strava_activities)}
    seen = len(await engine.rows(activity_changes))
    forged = {"title": "Forged", "type": "Swim", "private": "true"}
    for activity_id in before:
        changes = {"object_type": "activity", "object_id": activity_id, "updates": forged}
        assert await engine.deliver(claim(engine, **changes)) == [200]
        await engine.advance_and_work(minutes=1)
    after = {row.id: (row.name, row.type, row.private) for row in await engine.rows(strava_activities)}
    assert after == before
    assert len(await engine.rows(activity_changes)) == seen


async def test_a_forged_title_is_gone_after_the_fetch_and_never_in_the_feed(engine):
    (first, *_) = await engine.rows(strava_activities)
    seen = len(await engine.rows(activity_changes))
    changes = {"object_type": "activity", "object_id": first.id, "updates": {"title": "Forged"}}
    await engine.deliver(claim(engine, **changes))
    assert [row.name for row in await engine.rows(strava_activities, id=first.id)] == ["Forged"]
    await engine.advance_and_work(seconds=40)
    assert [row.name for row in await engine.rows(strava_activities, id=first.id)] == [first.name]
    assert len(await engine.rows(activity_changes)) == seen


# -- what people see ----------------------------------------------------------------------------------------


async def begin(world: World, cause: str = "event:x") -> None:
    now = world.clock.now()

    def body(connection):
        athletes.mark(connection, 42, "needs_reauth", "Strava refuses the token", now)
        leaving.begin(connection, BeginLeaving(42, cause, now + timedelta(days=7), now), now)

    await world.database.write(body)


@pytest.mark.parametrize("path", ["/me", "/join"])
async def test_the_athlete_sees_the_deadline_and_how_to_end_it(public: World, path: str) -> None:
    async with public.browser() as browser:
        await connect(public, browser)
        assert "will be deleted" not in words((await browser.get(path)).text)
        await begin(public)
        page = await browser.get(path)
    assert "All data stored here will be deleted: 10 Nov" in words(page.text)
    assert "/connect" in page.text


@pytest.mark.parametrize("path", ["/athletes", "/athletes/42", "/health"])
@pytest.mark.parametrize("cause", ["event:x", "refused"])
async def test_the_operator_sees_the_deadline(world: World, path: str, cause: str) -> None:
    await world.connect()
    await begin(world, cause)
    async with world.browser() as browser:
        text = words((await browser.get(path)).text)
    assert "leaving" in text
    assert "will be deleted: 10 Nov" in text


async def test_the_api_and_the_conditions_name_the_deadline(world: World) -> None:
    await world.connect()
    pulse = await world.parts.queries.status.pulse()
    assert "Departures" not in [each.name for each in problems(conditions(pulse, strava_configured=True))]
    await begin(world)
    async with world.browser(headers=KEY) as client:
        (athlete,) = (await client.get("/api/v1/athletes")).json()["items"]
        status = (await client.get("/api/v1/status")).json()
    assert (athlete["status"], athlete["leaves_at"]) == ("leaving", "2026-11-10T08:00:00Z")
    assert (athlete["leaving_cause"], status["leaves_at"]) == ("event:x", "2026-11-10T08:00:00Z")
    assert status["athletes"] == {"leaving": 1}
    pulse = await world.parts.queries.status.pulse()
    problem_texts = {each.name: each.text for each in problems(conditions(pulse, strava_configured=True))}
    assert "2026-11-10 08:00 UTC" in problem_texts["Departures"]
