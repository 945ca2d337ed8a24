"""Athletes are stored with their profile and the status of their connection."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError
from store_makers import OTHER, OWNER

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.effect import MarkAthlete
from feedzone.store import athletes, subscriptions
from feedzone.store.schema.tables import strava_athletes


async def connect(store, profile, status="active", reason=None):
    now = store.clock.now()
    await store.write(lambda c: athletes.connect(c, profile, "read", status, reason, now))


async def test_a_new_athlete_is_stored_with_names_scopes_and_state(store, clock):
    await connect(store, AthleteProfile(5, "grace", "Grace", "Hopper"), "needs_scope", "not granted")
    row = await store.row(strava_athletes, id=5)
    assert (row.username, row.firstname, row.lastname, row.scopes) == ("grace", "Grace", "Hopper", "read")
    assert (row.status, row.status_reason, row.connected_at) == ("needs_scope", "not granted", clock.now())
    assert (row.initial_sync_completed, row.token_generation) == (False, 0)


async def test_connecting_again_updates_the_profile_and_the_status(store, clock):
    """The athlete id is the key, so there are no duplicates."""
    await store.apply(MarkAthlete(OWNER, "needs_reauth", "401"))
    clock.advance(days=1)
    await connect(store, AthleteProfile(OWNER, "ada", "Augusta", None))
    row = await store.row(strava_athletes, id=OWNER)
    assert (row.firstname, row.lastname, row.status, row.status_reason) == ("Augusta", None, "active", None)
    assert row.connected_at == clock.now()


@pytest.mark.parametrize(
    ("name", "stored_name"), [("A\x00da", "Ada"), ("A\ud83da", "A\ufffda"), ("Ädä 🚴", "Ädä 🚴")]
)
async def test_any_name_can_be_stored(store, name, stored_name):
    await connect(store, AthleteProfile(5, name, name, name))
    row = await store.row(strava_athletes, id=5)
    assert (row.username, row.firstname, row.lastname) == (stored_name, stored_name, stored_name)


async def test_a_status_and_its_reason_belong_to_one_athlete(store):
    await store.apply(MarkAthlete(OWNER, "needs_scope", "activity:read is missing"))
    assert await store.read(lambda c: athletes.statuses(c, [OWNER, OTHER, 404])) == {
        OWNER: "needs_scope",
        OTHER: "active",
    }
    assert (await store.row(strava_athletes, id=OWNER)).status_reason == "activity:read is missing"
    assert await store.read(athletes.counts) == {"needs_scope": 1, "active": 1}


@pytest.mark.parametrize("reason", ["<html>\x00", "half \ud83d"], ids=["NUL", "lone surrogate"])
async def test_a_status_is_stored_with_any_bytes_in_its_reason(store, reason):
    await store.apply(MarkAthlete(OWNER, "needs_reauth", reason))
    assert (await store.row(strava_athletes, id=OWNER)).status == "needs_reauth"


async def test_an_athlete_cannot_have_an_unknown_status(store):
    with pytest.raises(IntegrityError):
        await store.write(lambda c: c.execute(strava_athletes.update().values(status="fine")))


async def test_the_statuses_of_no_athletes_are_empty(store):
    assert await store.read(lambda c: athletes.statuses(c, [])) == {}


async def test_athletes_are_listed_by_id_page_by_page(store):
    for athlete_id in (9, 2**62, 7):
        await store.connect(athlete_id)
    first = await store.read(lambda c: athletes.listing(c, limit=2))
    rest = await store.read(lambda c: athletes.listing(c, limit=9, after_id=first[-1].id))
    assert [row.id for row in [*first, *rest]] == [7, 9, OWNER, OTHER, 2**62]
    assert (await store.read(lambda c: athletes.get(c, 7))).firstname == "Ada"
    assert await store.read(lambda c: athletes.get(c, 404)) is None


async def test_a_new_athlete_shows_whether_there_is_a_subscription(store, clock):
    assert not (await store.row(strava_athletes, id=OWNER)).webhook_subscription_active
    await store.write(lambda c: subscriptions.remember(c, 7, "https://x", clock.now()))
    await store.connect(5)
    assert (await store.row(strava_athletes, id=5)).webhook_subscription_active
