"""OAuth states: a callback is ours once, and only for an hour."""

from __future__ import annotations

import asyncio

import pytest

from feedzone.domain.athlete import Consent
from feedzone.store import oauth_states as consents
from feedzone.store.schema.tables import oauth_states

STATE = "state-canary"


async def issue(store, state=STATE):
    now = store.clock.now()
    await store.write(lambda c: consents.issue(c, state, now))


async def redeem(store, state=STATE):
    now = store.clock.now()
    return await store.write(lambda c: consents.redeem(c, state, now))


async def test_a_state_is_redeemed_once(store):
    await issue(store)
    assert await redeem(store)
    assert not await redeem(store)


async def test_of_many_who_bring_the_same_state_one_is_believed(store):
    await issue(store)
    redeemed = await asyncio.gather(*(redeem(store) for _ in range(10)))
    assert sum(one is not None for one in redeemed) == 1


async def test_a_state_that_was_never_issued_is_not_ours(store):
    await issue(store)
    for strange in ("", "other", STATE + " ", STATE.upper()):
        assert not await redeem(store, strange)
    assert await redeem(store)


async def test_states_of_two_browsers_do_not_disturb_each_other(store):
    await issue(store, "one")
    await issue(store, "two")
    assert await redeem(store, "two")
    assert await redeem(store, "one")


async def test_a_state_lasts_an_hour(store, clock):
    await issue(store, "in time")
    await issue(store, "too late")
    clock.advance(hours=1)
    assert await redeem(store, "in time")
    clock.advance(seconds=1)
    assert not await redeem(store, "too late")


async def test_states_that_nobody_redeemed_are_swept_when_the_next_is_issued(store, clock):
    await issue(store, "abandoned")
    clock.advance(hours=2)
    await issue(store)
    assert len(await store.rows(oauth_states)) == 1


async def test_a_look_at_the_database_does_not_reveal_a_state(store):
    await issue(store)
    assert STATE not in repr(await store.rows(oauth_states))


@pytest.mark.parametrize("agreed", [True, False, None])
async def test_a_state_brings_back_what_was_agreed_to_on_the_way(store, agreed):
    now = store.clock.now()
    await store.write(lambda c: consents.issue(c, STATE, now, agreed))
    assert await redeem(store) == Consent(agreed)
