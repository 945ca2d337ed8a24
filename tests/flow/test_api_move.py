"""The switch of 2027: the API moves to a host without prefix, and the base URL is corrected later."""

from __future__ import annotations

import pytest
from engine import make_engine

from feedzone.services.api_address import address_problem
from feedzone.store.schema.tables import jobs, strava_activities, strava_athletes

OLD, NEW = "https://strava.test/api/v3", "https://api-v3.strava.test"
ANSWERS = ("redirect_301", "redirect_308", "html_200", "other_404", "path_404", "empty_410", "nothing")


@pytest.fixture
async def engine(sqlite_database, clock, tmp_path):
    made, (athlete,) = make_engine(sqlite_database, clock, tmp_path)
    made.athlete = athlete
    await made.connect(athlete)
    for _ in range(3):
        made.world.record(athlete, minutes=2)
    await catch_up(made)
    return made


async def catch_up(engine) -> None:
    await engine.deliver_announced()
    for _ in range(4):
        await engine.advance_and_work(minutes=10)


def base_url(engine, url: str) -> None:
    """Start feedzone again with this setting."""
    engine.app = engine.process(strava_api_base_url=url)


async def uploads_edits_and_forged_farewells(engine) -> None:
    now, forged = int(engine.clock.now().timestamp()), []
    for number in await names(engine):
        engine.world.rename(number, f"Renamed at {now}")
        forged.append(
            {"object_type": "activity", "object_id": number, "aspect_type": "delete", "updates": {}}
        )
    engine.world.record(engine.athlete, minutes=2)
    left = {"object_type": "athlete", "object_id": engine.athlete, "aspect_type": "update"}
    forged.append(left | {"updates": {"authorized": "false"}})
    sender = {"subscription_id": 120_475, "event_time": now, "owner_id": engine.athlete}
    await engine.deliver(*engine.announced, *(event | sender for event in forged))
    engine.announced.clear()
    await engine.app.reconciliation.reconcile(engine.athlete)


async def names(engine) -> dict[int, str]:
    rows = await engine.rows(strava_activities, sync_status="synced")
    return {row.id: row.name for row in rows}


def shown(engine) -> dict[int, str]:
    return {spec.id: spec.name for spec in engine.world.visible(engine.athlete, private_too=True)}


async def kept(engine) -> list[tuple]:
    """Return what no answer of the old host may change."""
    activities = await engine.rows(strava_activities)
    fetched = [(row.id, row.distance, row.last_fetched_at) for row in activities if row.last_fetched_at]
    deleted = [(row.id,) for row in activities if row.sync_status == "deleted"]
    athletes = [(row.id, row.status, row.status_reason) for row in await engine.rows(strava_athletes)]
    return [*fetched, *deleted, *athletes]


async def test_whatever_the_old_host_answers_all_work_waits_for_the_new_base_url(engine):
    for answer in ANSWERS:
        before = await kept(engine)
        engine.world.address.move(True, answer)
        await uploads_edits_and_forged_farewells(engine)
        await catch_up(engine)
        assert await kept(engine) == before, answer
        queued = [job for job in await engine.rows(jobs) if job.state != "done"]
        assert len(queued) > len(before), answer
        assert {(job.state, job.attempts) for job in queued} == {("queued", 0)}, answer
        assert f"STRAVA_API_BASE_URL {OLD} " in (await address_problem(engine.app.application)).text

        base_url(engine, NEW)
        assert await address_problem(engine.app.application) is None
        await catch_up(engine)
        assert await names(engine) == shown(engine), answer
        assert {row.status for row in await engine.rows(strava_athletes)} == {"active"}
        engine.world.address.move(False, None)
        base_url(engine, OLD)


async def test_a_prefix_of_the_old_host_on_the_new_one_is_named(engine):
    engine.world.address.move(True, "path_404")
    base_url(engine, f"{NEW}/api/v3")
    assert f"Set STRAVA_API_BASE_URL={NEW} " in (await address_problem(engine.app.application)).remedy


async def test_while_both_hosts_answer_either_base_url_works(engine):
    """Strava opens the new host in January and closes the old one in June."""
    engine.world.address.move(True, None)
    for url in (NEW, OLD, NEW):
        base_url(engine, url)
        spec = engine.world.record(engine.athlete, minutes=2)
        await catch_up(engine)
        assert await address_problem(engine.app.application) is None
        assert spec.id in await names(engine)
