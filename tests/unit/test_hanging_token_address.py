"""While the token address hangs, working tokens are used, and nobody sends a refresh token blindly again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random

import pytest
from fakes import ATHLETE, FakeTokenRows, grant, job, settle, unanswered

from feedzone.domain.athlete import TokenGrant
from feedzone.domain.outcome import Snooze
from feedzone.errors import CallOverdue, RefreshPending, TransientError
from feedzone.handlers.failures import ending
from feedzone.strava.tokens import AT_ONCE, SILENCE_S, TokenKeeper

HOUR = timedelta(hours=1)


class Hanging:
    """A token address that answers nothing until `let_go`, which fails the requests under way."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.sent: list[str] = []
        self._waiting: list[asyncio.Future[TokenGrant]] = []

    async def __call__(self, refresh_token: str) -> TokenGrant:
        self.sent.append(refresh_token)
        self._waiting.append(asyncio.get_running_loop().create_future())
        return await self._waiting[-1]

    def let_go(self, failure: Exception | None = None) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(failure or CallOverdue("no answer within 30 s"))
        self._waiting.clear()


class ManyRows:
    """The token rows of the athletes 1, 2, 3 ..., whose tokens have expired."""

    def __init__(self, clock, count: int) -> None:
        self.rows = {n: FakeTokenRows(clock, left=-HOUR, athlete_id=n) for n in range(1, count + 1)}

    def __getattr__(self, name):
        return lambda athlete_id, *args, **more: getattr(self.rows[athlete_id], name)(
            athlete_id, *args, **more
        )


def keeper(rows, clock, refresh, owner: str = "here") -> TokenKeeper:
    return TokenKeeper(rows, clock, refresh, owner=owner, patience_s=30)


async def ended(tasks):
    """Let tasks run until none of them goes on by itself; return those that have ended."""
    await settle(400)
    return [task for task in tasks if task.done()]


@pytest.mark.parametrize("processes", [1, 10])
async def test_ten_jobs_whose_token_still_works_send_one_refresh_and_wait_for_none(clock, processes):
    rows, address = FakeTokenRows(clock, left=HOUR / 2), Hanging(clock)
    keepers = [keeper(rows, clock, address, f"process-{n}") for n in range(processes)]
    tasks = [asyncio.create_task(keepers[n % processes].usable(ATHLETE)) for n in range(10)]
    waiting = set(tasks) - set(await ended(tasks))
    assert (len(waiting), address.sent) == (1, ["refresh-1"])
    address.let_go()
    assert {pair.access_token for pair in await asyncio.gather(*tasks)} == {"access-1"}
    assert address.sent == ["refresh-1"]


@pytest.mark.parametrize("processes", [1, 10])
async def test_ten_jobs_with_an_expired_token_send_one_refresh_and_leave_their_slots(clock, processes):
    rows, address = FakeTokenRows(clock, left=-HOUR), Hanging(clock)
    keepers = [keeper(rows, clock, address, f"process-{n}") for n in range(processes)]
    tasks = [asyncio.create_task(keepers[n % processes].usable(ATHLETE)) for n in range(10)]
    assert len(await ended(tasks)) == 9
    address.let_go()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(answer) for answer in answers} == {RefreshPending}
    assert address.sent == ["refresh-1"]


@pytest.mark.parametrize("failure", [unanswered(), unanswered(acted=True), CallOverdue("no answer")])
async def test_after_a_silence_the_refresh_token_is_sent_again_only_after_a_pause(clock, failure):
    """By any process: the response may be lost, and Strava may have rotated the pair."""
    rows, address = FakeTokenRows(clock, left=-HOUR), Hanging(clock)
    first = asyncio.create_task(keeper(rows, clock, address).usable(ATHLETE))
    await settle()
    address.let_go(failure)
    with pytest.raises(RefreshPending):
        await first
    for owner in ("here", "there", "elsewhere"):
        with pytest.raises(RefreshPending) as pending:
            await keeper(rows, clock, address, owner).usable(ATHLETE)
        assert rows.row.uncertain_at + timedelta(seconds=SILENCE_S) == pending.value.until
    assert address.sent == ["refresh-1"]
    clock.advance(seconds=SILENCE_S)

    async def answers(_token: str) -> TokenGrant:
        return grant("2", clock.now() + 6 * HOUR)

    assert (await keeper(rows, clock, answers).usable(ATHLETE)).access_token == "access-2"


async def test_a_rejected_token_is_not_used_and_not_refreshed_blindly(clock):
    rows, address = FakeTokenRows(clock, left=5 * HOUR), Hanging(clock)
    tokens = keeper(rows, clock, address)
    tasks = [asyncio.create_task(tokens.replace(rows.row)) for _ in range(10)]
    await settle(400)
    address.let_go()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(answer) for answer in answers} == {RefreshPending}
    assert address.sent == ["refresh-1"]


@pytest.mark.parametrize("held", [35, -1, -600])
async def test_a_working_token_is_used_beside_the_claim_of_another_process(clock, held):
    """That process may be refreshing, or may have died in the middle of it."""
    rows, address = FakeTokenRows(clock, left=HOUR / 2), Hanging(clock)
    rows.hold("there", held)
    assert (await keeper(rows, clock, address).usable(ATHLETE)).access_token == "access-1"
    assert address.sent == []


async def test_a_hanging_address_leaves_slots_for_athletes_whose_tokens_work(clock):
    """A worker runs ten jobs at a time."""
    rows = ManyRows(clock, 30)
    address = Hanging(clock)
    tokens = keeper(rows, clock, address)
    tasks = [asyncio.create_task(tokens.usable(n)) for n in range(1, 31)]
    assert len(await ended(tasks)) == 30 - AT_ONCE
    address.let_go()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(address.sent) == AT_ONCE
    rows.rows[31] = FakeTokenRows(clock, left=HOUR / 2, athlete_id=31)
    assert (await tokens.usable(31)).access_token == "access-1"  # and does not try the silent address

    clock.advance(seconds=SILENCE_S)
    tasks = [asyncio.create_task(tokens.usable(n)) for n in range(1, 31)]
    assert len(await ended(tasks)) == 29  # one call probes the address
    address.let_go()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(address.sent) == AT_ONCE + 1


async def test_an_address_that_cannot_be_reached_is_not_tried_by_each_job_in_turn(clock):
    """Such a failure proves that nothing was rotated, but each try may take as long as the time limit."""
    rows, address = FakeTokenRows(clock, left=-HOUR), Hanging(clock)
    tokens = keeper(rows, clock, address)
    tasks = [asyncio.create_task(tokens.usable(ATHLETE)) for _ in range(10)]
    await settle(400)
    address.let_go(unanswered(acted=False))
    await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(RefreshPending):
        await tokens.usable(ATHLETE)
    assert (address.sent, rows.row.uncertain_at) == (["refresh-1"], None)


async def test_an_answer_ends_the_silence(clock):
    rows = ManyRows(clock, 8)
    failures = [unanswered(acted=False), TransientError(503, "")]

    async def refresh(_token: str) -> TokenGrant:
        if failures:
            raise failures.pop(0)
        return grant("2", clock.now() + 6 * HOUR)

    tokens = keeper(rows, clock, refresh)
    with pytest.raises(RefreshPending) as pending:
        await tokens.usable(1)
    clock.advance(seconds=(pending.value.until - clock.now()).total_seconds())
    assert (await tokens.usable(1)).access_token == "access-2"
    pairs = await asyncio.gather(*(tokens.usable(n) for n in range(1, 9)))
    assert {pair.access_token for pair in pairs} == {"access-2"}


def test_a_job_that_waits_for_the_token_address_spends_no_attempt(clock):
    until = clock.now() + timedelta(seconds=60)
    outcome = ending(RefreshPending(until), job(), clock.now(), Random(1))
    assert isinstance(outcome, Snooze)
    assert outcome.until >= until
    assert outcome.wait_reason == "retry"
