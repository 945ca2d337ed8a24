"""Tokens are encrypted everywhere, refreshed by one caller at a time, and stored before use."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
from store_makers import OTHER, OWNER, spec

from feedzone.domain.athlete import TokenGrant
from feedzone.domain.effect import PurgeAthlete
from feedzone.domain.job import RevokeHint, decode_hint
from feedzone.store.schema.tables import jobs, metadata, strava_athletes, token_uses
from feedzone.store.tokens import TokenTable, owner_of
from feedzone.vault import Tampered, UnknownKey, Vault

OLD_KEY, NEW_KEY = b"o" * 32, b"n" * 32
LEFT = PurgeAthlete(OWNER, "disconnected", "request", "the operator")


@pytest.fixture
async def tokens(store, clock) -> TokenTable:
    """Tokens of two connected athletes, of generation 1."""
    table = TokenTable(store.database, Vault([OLD_KEY]), clock)
    for athlete_id in (OWNER, OTHER):
        now, grant = clock.now(), granted(clock, "first")
        await store.write(lambda c, a=athlete_id, g=grant, n=now: table.save_exchanged(c, a, g, n))
    return table


def granted(clock, name: str) -> TokenGrant:
    return TokenGrant(f"access-canary-{name}", f"refresh-canary-{name}", clock.now() + timedelta(hours=6))


async def uses(store, athlete_id=OWNER):
    return [
        (row.purpose, row.generation, row.outcome)
        for row in await store.rows(token_uses, athlete_id=athlete_id)
    ]


async def test_a_stored_pair_can_be_loaded(store, tokens, clock):
    row = await tokens.load(OWNER)
    assert (row.access_token, row.refresh_token) == ("access-canary-first", "refresh-canary-first")
    assert (row.expires_at, row.generation, row.status) == (clock.now() + timedelta(hours=6), 1, "active")
    assert (row.refreshing_until, row.uncertain_at) == (None, None)
    assert "canary" not in repr(row)


async def test_an_athlete_without_tokens_has_nothing_to_load_or_refresh(store, tokens):
    await store.connect(5)
    assert await tokens.load(5) is None
    assert await tokens.load(404) is None
    assert not await tokens.claim_refresh(5, 0, "a", 30)


async def test_only_one_of_many_callers_may_refresh(tokens):
    claims = await asyncio.gather(*(tokens.claim_refresh(OWNER, 1, f"w{n}", 30) for n in range(20)))
    assert sum(claims) == 1
    assert await tokens.claim_refresh(OTHER, 1, "w0", 30)  # the other athlete has another claim


async def test_only_one_of_many_processes_may_refresh(postgres_store, second_postgres, clock):
    tables = [
        TokenTable(opened, Vault([OLD_KEY]), clock) for opened in (postgres_store.database, second_postgres)
    ]
    now, grant = clock.now(), granted(clock, "first")
    await postgres_store.write(lambda c: tables[0].save_exchanged(c, OWNER, grant, now))
    claims = await asyncio.gather(*(tables[n % 2].claim_refresh(OWNER, 1, f"w{n}", 30) for n in range(16)))
    assert sum(claims) == 1


async def test_a_claim_expires(tokens, clock):
    assert await tokens.claim_refresh(OWNER, 1, "a", 30)
    assert (await tokens.load(OWNER)).refreshing_until == clock.now() + timedelta(seconds=30)
    clock.advance(seconds=29)
    assert not await tokens.claim_refresh(OWNER, 1, "b", 30)
    clock.advance(seconds=1)
    assert await tokens.claim_refresh(OWNER, 1, "b", 30)


async def test_only_the_current_generation_can_be_claimed(tokens):
    assert not await tokens.claim_refresh(OWNER, 0, "a", 30)
    assert not await tokens.claim_refresh(OWNER, 2, "a", 30)


async def test_a_rotated_pair_replaces_the_old_one_and_frees_the_claim(store, tokens, clock):
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    assert await tokens.save_rotated(OWNER, 1, granted(clock, "second"))
    row = await tokens.load(OWNER)
    assert (row.refresh_token, row.generation, row.refreshing_until) == ("refresh-canary-second", 2, None)
    assert await uses(store) == [("exchange", 1, "ok"), ("refresh", 1, "ok")]
    assert await tokens.claim_refresh(OWNER, 2, "b", 30)
    assert (await tokens.load(OTHER)).refresh_token == "refresh-canary-first"


@pytest.mark.parametrize("generation", [0, 2])
async def test_a_pair_for_another_generation_is_not_stored(store, tokens, clock, generation):
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    before = await store.row(strava_athletes, id=OWNER)
    assert not await tokens.save_rotated(OWNER, generation, granted(clock, "late"))
    assert await store.row(strava_athletes, id=OWNER) == before


async def test_a_new_pair_is_stored_even_after_its_claim_was_lost(store, tokens, clock):
    """A process with a fast clock took over the claim, and Strava rejected the old token."""
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    clock.advance(seconds=31)
    assert await tokens.claim_refresh(OWNER, 1, "b", 30)
    await tokens.release_refresh(OWNER, "b", uncertain=False)
    await tokens.mark(OWNER, 1, "needs_reauth", "Strava does not accept the refresh token")
    assert await tokens.save_rotated(OWNER, 1, granted(clock, "second"))
    row = await store.row(strava_athletes, id=OWNER)
    assert (row.status, row.status_reason, row.token_generation) == ("active", None, 2)
    assert (await tokens.load(OWNER)).refresh_token == "refresh-canary-second"


async def test_a_new_pair_does_not_clear_a_missing_scope(store, tokens, clock):
    await tokens.mark(OWNER, 1, "needs_scope", "activity:read was not granted")
    await tokens.save_rotated(OWNER, 1, granted(clock, "second"))
    assert (await store.row(strava_athletes, id=OWNER)).status == "needs_scope"


async def test_a_new_consent_ends_a_refresh_in_progress(store, tokens, clock):
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    now, grant = clock.now(), granted(clock, "consent")
    await store.write(lambda c: tokens.save_exchanged(c, OWNER, grant, now))
    assert not await tokens.save_rotated(OWNER, 1, granted(clock, "late"))
    row = await tokens.load(OWNER)
    assert (row.refresh_token, row.generation, row.refreshing_until) == ("refresh-canary-consent", 2, None)


async def test_a_refresh_that_ends_after_a_disconnect_stores_nothing(store, tokens, clock):
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    await store.apply(LEFT)
    before = await store.row(strava_athletes, id=OWNER)
    assert not await tokens.save_rotated(OWNER, 1, granted(clock, "late"))
    assert await store.row(strava_athletes, id=OWNER) == before
    assert await tokens.load(OWNER) is None


async def test_a_refresh_that_ends_after_a_disconnect_leaves_no_row_of_the_athlete(store, tokens, clock):
    """Only a receipt stays of a disconnected athlete (guarantee 6)."""
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    await store.apply(LEFT)
    await tokens.save_rotated(OWNER, 1, granted(clock, "late"))
    await tokens.release_refresh(OWNER, "a", uncertain=True)
    assert await uses(store) == []


async def test_a_refresh_that_ends_after_a_disconnect_has_its_pair_revoked(store, tokens, clock):
    """Otherwise Strava would count an athlete as connected who no longer exists here (guarantee 6)."""
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    await store.apply(LEFT)
    await tokens.save_rotated(OWNER, 1, granted(clock, "late"))
    job = await store.row(jobs)
    assert (job.kind, job.athlete_id) == ("revoke_athlete", OWNER)
    sealed = decode_hint(job.hint).sealed_token
    assert Vault([OLD_KEY]).open(sealed, owner=owner_of(OWNER)) == "refresh-canary-late"


async def test_a_rejected_refresh_frees_the_claim_and_is_logged(store, tokens):
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    await tokens.release_refresh(OWNER, "b", uncertain=False)
    assert not await tokens.claim_refresh(OWNER, 1, "b", 30)  # b did not have the claim
    await tokens.release_refresh(OWNER, "a", uncertain=False)
    assert (await tokens.load(OWNER)).uncertain_at is None
    assert await tokens.claim_refresh(OWNER, 1, "b", 30)
    assert (await uses(store))[1:] == [("refresh", 1, "refused")]


async def test_a_refresh_without_a_response_stays_recorded_until_the_pair_is_replaced(tokens, clock):
    """Strava may have replaced the pair."""
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    await tokens.release_refresh(OWNER, "a", uncertain=True)
    assert (await tokens.load(OWNER)).uncertain_at == clock.now()
    await tokens.claim_refresh(OWNER, 1, "b", 30)
    await tokens.save_rotated(OWNER, 1, granted(clock, "second"))
    assert (await tokens.load(OWNER)).uncertain_at is None


async def test_a_rejected_older_pair_does_not_change_the_status(store, tokens, clock):
    """A rejected token counts only if it is still the current one."""
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    await tokens.save_rotated(OWNER, 1, granted(clock, "second"))
    assert not await tokens.mark(OWNER, 1, "needs_reauth", "401")
    assert (await tokens.load(OWNER)).status == "active"
    assert await tokens.mark(OWNER, 2, "needs_reauth", "401")
    row = await store.row(strava_athletes, id=OWNER)
    assert (row.status, row.status_reason) == ("needs_reauth", "401")


async def test_a_status_of_a_pair_does_not_reconnect_the_athlete(store, tokens):
    await store.apply(LEFT)
    generation = (await store.row(strava_athletes, id=OWNER)).token_generation
    assert not await tokens.mark(OWNER, generation, "active", "x")


async def test_no_table_contains_a_readable_token(store, tokens, clock):
    await tokens.claim_refresh(OWNER, 1, "a", 30)
    await tokens.save_rotated(OWNER, 1, granted(clock, "second"))
    for table in metadata.sorted_tables:
        for row in await store.rows(table):
            assert "canary" not in " ".join(map(str, row)), table.name


async def test_a_token_cannot_be_used_from_another_athletes_row(store, tokens):
    stolen = (await store.row(strava_athletes, id=OTHER)).refresh_token_encrypted
    await store.write(
        lambda c: c.execute(
            strava_athletes.update()
            .where(strava_athletes.c.id == OWNER)
            .values(refresh_token_encrypted=stolen)
        )
    )
    with pytest.raises(Tampered):
        await tokens.load(OWNER)


async def test_after_a_key_rotation_the_old_key_is_not_needed(store, tokens, clock):
    both = TokenTable(store.database, Vault([NEW_KEY, OLD_KEY]), clock)
    assert (await both.load(OWNER)).refresh_token == "refresh-canary-first"
    assert await both.rotate_keys() == 2
    assert await both.rotate_keys() == 0
    row = await TokenTable(store.database, Vault([NEW_KEY]), clock).load(OWNER)
    assert (row.access_token, row.refresh_token, row.generation) == (
        "access-canary-first",
        "refresh-canary-first",
        1,
    )
    with pytest.raises(UnknownKey):
        await tokens.load(OWNER)


async def test_a_key_rotation_covers_the_token_of_a_pending_revocation(store, tokens, clock):
    """The job still needs its encrypted token to revoke the access at Strava."""
    sealed = Vault([OLD_KEY]).seal("refresh-canary-last", owner=owner_of(OWNER))
    hint = RevokeHint(action="revoke", cause="request", sealed_token=sealed)
    await store.enqueue(spec(kind="revoke_athlete", key=f"athlete:{OWNER}", hint=hint))
    await TokenTable(store.database, Vault([NEW_KEY, OLD_KEY]), clock).rotate_keys()
    stored_hint = decode_hint((await store.row(jobs)).hint)
    assert msgspec.structs.replace(stored_hint, sealed_token=None) == msgspec.structs.replace(
        hint, sealed_token=None
    )
    assert Vault([NEW_KEY]).open(stored_hint.sealed_token, owner=owner_of(OWNER)) == "refresh-canary-last"
