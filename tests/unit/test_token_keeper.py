"""One refresh at a time per athlete, across processes; the rotated pair is stored before it is used."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from fakes import ATHLETE, FakeTokenRows, grant, job, settle, unanswered

from feedzone.domain.athlete import TokenGrant
from feedzone.domain.job import running_job
from feedzone.errors import Fault, NotConnected, RefreshPending, TokenRevoked, TransientError
from feedzone.strava.tokens import TokenKeeper

HOUR = timedelta(hours=1)
REVOKED = TokenRevoked(400, "Bad Request", (Fault("RefreshToken", "refresh_token", "invalid"),))
OUTAGE = TransientError(503, "", shape="6 bytes, markup")


class Strava:
    """A token endpoint that rotates the pair or raises the next failure; `during` runs meanwhile."""

    def __init__(self, clock, *failures: Exception, during=lambda: None) -> None:
        self.clock, self.failures, self.during = clock, list(failures), during
        self.asked: list[str] = []
        self.rotations = 1

    async def __call__(self, refresh_token: str) -> TokenGrant:
        self.asked.append(refresh_token)
        await asyncio.sleep(0)
        self.during()
        if self.failures:
            raise self.failures.pop(0)
        self.rotations += 1
        return grant(str(self.rotations), self.clock.now() + 6 * HOUR)


def keeper(rows: FakeTokenRows, strava: Strava, owner: str = "here") -> TokenKeeper:
    return TokenKeeper(rows, rows.clock, strava, owner=owner, patience_s=30)


@pytest.fixture
def expired(clock) -> FakeTokenRows:
    return FakeTokenRows(clock, left=-HOUR)


@pytest.fixture
def ending(clock) -> FakeTokenRows:
    """A pair that works for another half hour, and should be refreshed if possible."""
    return FakeTokenRows(clock, left=HOUR / 2)


async def test_a_process_that_took_over_a_claim_waits_for_the_pair_of_the_first_one(expired, clock):
    """Two clocks that differ by more than a claim lasts."""
    expired.hold("there", 35)
    clock.advance(seconds=36)

    async def refused(_token: str) -> TokenGrant:
        expired.before["load"] = lambda: expired.before.update(load=lambda: expired.put(new))
        raise REVOKED

    new = grant("2", clock.now() + 6 * HOUR)
    row = await TokenKeeper(expired, clock, refused, owner="here", patience_s=30).usable(ATHLETE)
    assert (row.access_token, row.status, expired.reason) == ("access-2", "active", None)


async def test_a_token_with_more_than_an_hour_left_is_not_refreshed(clock):
    rows, strava = FakeTokenRows(clock, left=HOUR + timedelta(seconds=1)), Strava(clock)
    assert (await keeper(rows, strava).usable(ATHLETE)).access_token == "access-1"
    assert (strava.asked, rows.log) == ([], ["load"])


async def test_the_calls_of_a_run_share_a_read_for_some_seconds(clock):
    rows = FakeTokenRows(clock, left=6 * HOUR)
    tokens = keeper(rows, Strava(clock))
    mark = running_job.set(job())
    try:
        for _ in range(3):
            await tokens.usable(ATHLETE)
        assert rows.log == ["load"]
        clock.advance(seconds=5)
        await tokens.usable(ATHLETE)
        running_job.set(job())
        await tokens.usable(ATHLETE)
    finally:
        running_job.reset(mark)
    assert rows.log == ["load"] * 3


async def test_a_pair_that_strava_rejected_is_not_used_again_by_the_run(clock):
    rows = FakeTokenRows(clock, left=6 * HOUR)
    tokens = keeper(rows, Strava(clock))
    mark = running_job.set(job())
    try:
        renewed = await tokens.replace(await tokens.usable(ATHLETE))
        assert (await tokens.usable(ATHLETE)).access_token == renewed.access_token == "access-2"
    finally:
        running_job.reset(mark)


@pytest.mark.parametrize("left", [HOUR, timedelta(0), -HOUR])
async def test_a_token_with_an_hour_left_is_refreshed(clock, left):
    rows, strava = FakeTokenRows(clock, left=left), Strava(clock)
    pair = await keeper(rows, strava).usable(ATHLETE)
    assert (pair.access_token, pair.refresh_token, pair.generation) == ("access-2", "refresh-2", 2)
    assert strava.asked == ["refresh-1"]


async def test_the_rotated_pair_is_stored_before_it_is_returned(expired, clock):
    pair = await keeper(expired, Strava(clock)).usable(ATHLETE)
    assert expired.row == pair
    assert expired.log.index("save") < len(expired.log) - 1
    assert expired.holder is None


async def test_the_next_refresh_uses_the_rotated_token(expired, clock):
    strava = Strava(clock)
    await keeper(expired, strava).usable(ATHLETE)
    clock.advance(hours=6)
    await keeper(expired, strava).usable(ATHLETE)
    assert strava.asked == ["refresh-1", "refresh-2"]


async def test_twenty_tasks_with_one_expired_token_refresh_it_once(expired, clock):
    strava = Strava(clock)
    tokens = keeper(expired, strava)
    pairs = await asyncio.gather(*(tokens.usable(ATHLETE) for _ in range(20)))
    assert strava.asked == ["refresh-1"]
    assert {pair.access_token for pair in pairs} == {"access-2"}


async def test_twenty_processes_with_one_expired_token_refresh_it_once(expired, clock):
    strava = Strava(clock)
    keepers = [keeper(expired, strava, owner=f"process-{number}") for number in range(20)]
    pairs = await asyncio.gather(*(tokens.usable(ATHLETE) for tokens in keepers))
    assert strava.asked == ["refresh-1"]
    assert {pair.access_token for pair in pairs} == {"access-2"}


async def test_twenty_rejected_calls_replace_the_pair_once(clock):
    rows, strava = FakeTokenRows(clock, left=5 * HOUR), Strava(clock)
    tokens, rejected = keeper(rows, strava), rows.row
    pairs = await asyncio.gather(*(tokens.replace(rejected) for _ in range(20)))
    assert strava.asked == ["refresh-1"]
    assert {pair.generation for pair in pairs} == {2}


async def test_a_caller_waits_for_the_refresh_of_another_process(expired, clock):
    expired.hold("there", 35)
    strava = Strava(clock)
    waiting = asyncio.create_task(keeper(expired, strava).usable(ATHLETE))
    await settle()
    assert not waiting.done()
    expired.put(grant("theirs", clock.now() + 6 * HOUR))
    assert (await waiting).access_token == "access-theirs"
    assert strava.asked == []


async def test_another_process_takes_over_when_one_dies_while_refreshing(expired, clock):
    expired.hold("there", 35)
    strava, began = Strava(clock), clock.now()
    while strava.asked == []:
        with contextlib.suppress(RefreshPending):
            await keeper(expired, strava).usable(ATHLETE)
        clock.advance(seconds=1)
    assert expired.row.access_token == "access-2"
    assert timedelta(seconds=35) <= clock.now() - began < timedelta(seconds=39)


async def test_a_wait_for_another_process_is_short_and_costs_few_queries(expired, clock):
    """The job waits outside of its slot, so that other jobs can use it."""
    expired.hold("there", 10_000)
    began = clock.now()
    with pytest.raises(RefreshPending) as pending:
        await keeper(expired, Strava(clock)).usable(ATHLETE)
    assert clock.now() - began < timedelta(seconds=3)
    assert pending.value.until > clock.now()
    assert expired.log.count("claim") < 9
    assert expired.row.status == "active"


async def test_a_process_suspended_beyond_its_claim_does_not_use_the_old_token(expired, clock, monkeypatch):
    """As a laptop with a closed lid is: meanwhile another process refreshes."""
    claim, strava = expired.claim_refresh, Strava(clock)

    async def claim_and_sleep(*args):
        claimed = await claim(*args)
        clock.advance(minutes=10)
        expired.put(grant("another's", clock.now() + 6 * HOUR))
        return claimed

    monkeypatch.setattr(expired, "claim_refresh", claim_and_sleep)
    assert (await keeper(expired, strava).usable(ATHLETE)).access_token == "access-another's"
    assert strava.asked == []


@pytest.mark.parametrize("failure", [OUTAGE, unanswered(acted=False), unanswered()])
async def test_an_outage_leaves_the_athlete_connected_and_the_old_token_in_use(ending, clock, failure):
    pair = await keeper(ending, Strava(clock, *[failure] * 3)).usable(ATHLETE)
    assert pair.access_token == "access-1"
    assert (ending.row.status, ending.row.generation, ending.holder) == ("active", 1, None)


async def test_an_athlete_stays_connected_through_three_outages(expired, clock):
    strava = Strava(clock, *[OUTAGE] * 9)
    tokens = keeper(expired, strava)
    for _ in range(3):
        with pytest.raises(TransientError):
            await tokens.usable(ATHLETE)
        assert expired.row.status == "active"
    assert (await tokens.usable(ATHLETE)).access_token == "access-2"


async def test_a_rejected_token_is_not_returned_again_in_an_outage(clock):
    rows = FakeTokenRows(clock, left=5 * HOUR)
    with pytest.raises(TransientError):
        await keeper(rows, Strava(clock, *[OUTAGE] * 3)).replace(rows.row)


async def test_an_error_of_the_token_endpoint_costs_a_second_try_and_no_attempt_of_the_job(expired, clock):
    """A request that Strava answered with an error has changed nothing, so it can be repeated."""
    strava = Strava(clock, OUTAGE, OUTAGE)
    assert (await keeper(expired, strava).usable(ATHLETE)).access_token == "access-2"
    assert len(strava.asked) == 3


async def test_a_refresh_without_a_response_is_not_blindly_repeated(expired, clock):
    strava = Strava(clock, unanswered())
    with pytest.raises(RefreshPending):
        await keeper(expired, strava).usable(ATHLETE)
    assert len(strava.asked) == 1


@pytest.mark.parametrize(
    ("failure", "uncertain"),
    [(unanswered(), True), (unanswered(acted=True), True), (unanswered(acted=False), False), (OUTAGE, False)],
)
async def test_a_refresh_without_a_response_may_have_rotated_the_pair(ending, clock, failure, uncertain):
    await keeper(ending, Strava(clock, failure)).usable(ATHLETE)
    assert (ending.row.uncertain_at is not None) is uncertain


async def test_a_refresh_without_a_response_is_not_repeated_while_the_old_token_works(ending, clock):
    strava = Strava(clock, unanswered())
    tokens = keeper(ending, strava)
    for _ in range(3):
        assert (await tokens.usable(ATHLETE)).access_token == "access-1"
    assert strava.asked == ["refresh-1"]
    clock.advance(minutes=31)
    assert (await tokens.usable(ATHLETE)).access_token == "access-2"
    assert strava.asked == ["refresh-1", "refresh-1"]


async def test_a_refused_refresh_token_ends_the_connection_with_a_reason(expired, clock):
    with pytest.raises(TokenRevoked):
        await keeper(expired, Strava(clock, REVOKED)).usable(ATHLETE)
    assert (expired.row.status, expired.holder) == ("needs_reauth", None)
    assert expired.reason == "Strava does not accept the refresh token: access was revoked; connect again"
    with pytest.raises(NotConnected, match="has to connect again"):
        await keeper(expired, Strava(clock)).usable(ATHLETE)


async def test_after_a_lost_response_the_reason_names_the_probable_rotation(expired, clock):
    tokens = keeper(expired, Strava(clock, unanswered(), REVOKED))
    with pytest.raises(RefreshPending):
        await tokens.usable(ATHLETE)
    clock.advance(minutes=1)
    with pytest.raises(TokenRevoked):
        await tokens.usable(ATHLETE)
    assert "at 2026-11-03 12:00:00 UTC got no response" in expired.reason
    assert "probably rotated" in expired.reason


async def test_a_refused_token_that_was_rotated_meanwhile_does_not_end_the_connection(expired, clock):
    strava = Strava(clock, REVOKED, during=lambda: expired.put(grant("theirs", clock.now() + 6 * HOUR)))
    assert (await keeper(expired, strava).usable(ATHLETE)).access_token == "access-theirs"
    assert (expired.row.status, expired.reason) == ("active", None)


async def test_a_refusal_of_an_outdated_pair_does_not_end_the_connection(expired, clock):
    expired.before["mark"] = lambda: expired.put(grant("theirs", clock.now() + 6 * HOUR))
    assert (await keeper(expired, Strava(clock, REVOKED)).usable(ATHLETE)).access_token == "access-theirs"
    assert expired.row.status == "active"


async def test_an_athlete_who_reconnects_during_a_refresh_stays_connected(expired, clock):
    strava = Strava(clock, during=lambda: expired.put(grant("consent", clock.now() + 6 * HOUR)))
    assert (await keeper(expired, strava).usable(ATHLETE)).access_token == "access-consent"
    assert expired.row.access_token == "access-consent"


async def test_an_athlete_who_disconnects_during_a_refresh_stays_disconnected(expired, clock):
    with pytest.raises(NotConnected):
        await keeper(expired, Strava(clock, during=expired.purge)).usable(ATHLETE)
    assert expired.row is None


async def test_an_unknown_athlete_is_not_connected(expired, clock):
    expired.purge()
    strava = Strava(clock)
    with pytest.raises(NotConnected, match="not connected"):
        await keeper(expired, strava).usable(ATHLETE)
    assert strava.asked == []


async def test_a_cancelled_refresh_releases_the_claim_and_notes_a_possible_rotation(expired, clock):
    hanging = asyncio.Event()

    async def refresh(_token: str) -> TokenGrant:
        hanging.set()
        return await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(keeper(expired, refresh).usable(ATHLETE))
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert expired.holder is None
    assert expired.row.uncertain_at is not None


async def test_an_issued_pair_is_stored_even_if_its_caller_is_cancelled(expired, clock):
    strava = Strava(clock)
    task = asyncio.create_task(keeper(expired, strava).usable(ATHLETE))
    expired.before["save"] = task.cancel
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert expired.row.refresh_token == "refresh-2"
