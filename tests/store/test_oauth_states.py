"""An OAuth state is accepted once, and only for one hour."""

from __future__ import annotations

import asyncio

import pytest

from feedzone.domain.athlete import Consent
from feedzone.store import oauth_states as states
from feedzone.store.schema.tables import oauth_states

STATE = "state-canary"


async def issue(store, state=STATE):
    now = store.clock.now()
    await store.write(lambda c: states.issue(c, state, now))


async def redeem(store, state=STATE):
    now = store.clock.now()
    return await store.write(lambda c: states.redeem(c, state, now))


async def test_a_state_is_redeemed_once(store):
    await issue(store)
    assert await redeem(store)
    assert not await redeem(store)


async def test_only_one_of_many_simultaneous_redemptions_succeeds(store):
    await issue(store)
    redeemed = await asyncio.gather(*(redeem(store) for _ in range(10)))
    assert sum(consent is not None for consent in redeemed) == 1


async def test_a_state_that_was_never_issued_is_rejected(store):
    await issue(store)
    for unknown in ("", "other", STATE + " ", STATE.upper()):
        assert not await redeem(store, unknown)
    assert await redeem(store)


async def test_states_of_two_browsers_are_independent(store):
    await issue(store, "one")
    await issue(store, "two")
    assert await redeem(store, "two")
    assert await redeem(store, "one")


async def test_a_state_is_valid_for_one_hour(store, clock):
    await issue(store, "in time")
    await issue(store, "too late")
    clock.advance(hours=1)
    assert await redeem(store, "in time")
    clock.advance(seconds=1)
    assert not await redeem(store, "too late")


async def test_expired_states_are_deleted_when_the_next_one_is_issued(store, clock):
    await issue(store, "abandoned")
    clock.advance(hours=2)
    await issue(store)
    assert len(await store.rows(oauth_states)) == 1


async def test_the_database_does_not_contain_a_readable_state(store):
    await issue(store)
    assert STATE not in repr(await store.rows(oauth_states))


@pytest.mark.parametrize("agreed", [True, False, None])
async def test_a_state_returns_the_choice_that_was_made_before_strava(store, agreed):
    now = store.clock.now()
    await store.write(lambda c: states.issue(c, STATE, now, agreed))
    assert await redeem(store) == Consent(agreed)
