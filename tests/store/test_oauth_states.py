"""An OAuth state is accepted once."""

from __future__ import annotations

import asyncio

from feedzone.store import oauth_states as states
from feedzone.store.schema.tables import oauth_states

STATE = "state-canary"


async def use(store, state=STATE):
    now = store.clock.now()
    return await store.write(lambda c: states.use(c, state, now))


async def test_a_state_is_used_once(store):
    assert await use(store)
    assert not await use(store)
    assert await use(store, "another")


async def test_only_one_of_many_simultaneous_uses_succeeds(store):
    assert sum(await asyncio.gather(*(use(store) for _ in range(10)))) == 1


async def test_uses_are_forgotten_when_their_states_have_expired(store, clock):
    await use(store)
    clock.advance(hours=1)
    assert not await use(store)
    clock.advance(seconds=1)
    await use(store, "another")
    assert len(await store.rows(oauth_states)) == 1


async def test_the_database_does_not_contain_a_readable_state(store):
    await use(store)
    assert STATE not in repr(await store.rows(oauth_states))
