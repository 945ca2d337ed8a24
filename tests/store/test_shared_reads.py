"""What jobs read at the same time is read at once; a read of PostgreSQL needs no BEGIN and COMMIT."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from store_makers import OTHER, OWNER, detail, fetched

from feedzone.domain.athlete import TokenGrant
from feedzone.store.handler_reads import SqlHandlerReads
from feedzone.store.tokens import TokenTable
from feedzone.vault import UnknownKey, Vault


@pytest.fixture
def reads(store, monkeypatch):
    """Count the reads of the database."""
    counted = []
    read = store.database.read

    async def counting(body):
        counted.append(body)
        return await read(body)

    monkeypatch.setattr(store.database, "read", counting)
    return counted


async def test_jobs_that_ask_at_the_same_time_share_a_read(store, reads):
    await store.apply(fetched(detail(1)), fetched(detail(2, OTHER)))
    questions = SqlHandlerReads(store.database)
    asked = ((OWNER, 1, True), (OTHER, 2, False), (OWNER, 3, True))
    known = await asyncio.gather(*(questions.known_activity(a, n, unproven=u) for a, n, u in asked))
    assert [each.stored and each.stored.id for each in known] == [1, 2, None]
    assert [each.spent is not None for each in known] == [True, False, True]
    stored = await asyncio.gather(*(questions.stored_activity(number) for number in (2, 3, 1)))
    assert [each and each.athlete_id for each in stored] == [OTHER, None, OWNER]
    assert len(reads) == 2


async def test_a_pair_that_cannot_be_opened_fails_alone(store, clock, reads):
    tokens = TokenTable(store.database, Vault([b"k" * 32]), clock)
    strange = TokenTable(store.database, Vault([b"s" * 32]), clock)
    grant = TokenGrant("access", "refresh", clock.now())
    await store.write(lambda c: tokens.save_exchanged(c, OWNER, grant, clock.now()))
    await store.write(lambda c: strange.save_exchanged(c, OTHER, grant, clock.now()))
    first, unreadable, again, unknown = await asyncio.gather(
        *(tokens.load(athlete_id) for athlete_id in (OWNER, OTHER, OWNER, 5)), return_exceptions=True
    )
    assert (first.access_token, again.access_token, unknown) == ("access", "access", None)
    assert isinstance(unreadable, UnknownKey)
    assert len(reads) == 1


async def test_a_read_of_postgresql_has_no_transaction_around_it(postgres_store):
    def moments(connection):
        """`now()` is the beginning of the transaction."""
        first = connection.execute(text("SELECT now(), pg_sleep(0.002)")).first()
        return first[0], connection.execute(text("SELECT now()")).scalar_one()

    first, second = await postgres_store.read(moments)
    assert first < second
    first, second = await postgres_store.write(moments)
    assert first == second
