"""An athlete leaves: nothing goes on hearsay, and Strava is told for as long as it takes."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from fakes import ATHLETE, NOON, FakeApi, FakeRecords, job, unanswered

from feedzone.domain.effect import ConfirmRevoke, PurgeAthlete, RecordRejectedClaim
from feedzone.domain.job import RevokeHint
from feedzone.domain.outcome import Discard, Done, Retry, Snooze
from feedzone.errors import (
    AppInactive,
    ApplicationPaused,
    ApplicationRefused,
    Fault,
    NeedsRefresh,
    NotVisible,
    PermanentError,
    QuotaSpent,
    RateLimited,
    TokenRevoked,
    TransientError,
)
from feedzone.handlers.revoke_athlete import GIVE_UP, GIVE_UP_TELLING, RevokeAthlete
from feedzone.vault import Tampered

HEARD = RevokeHint("confirm", cause="event:e1")
OURS = RevokeHint("revoke", sealed_token="sealed")


VERIFIED = RevokeHint("confirm", verified=True, cause="event:e1")
CONNECTED = int((NOON - timedelta(days=9)).timestamp())


async def run(
    api: FakeApi,
    clock,
    hint: RevokeHint,
    unseal=lambda sealed, athlete: f"open-{sealed}-{athlete}",
    told_at: int = int(NOON.timestamp()),
):
    handler = RevokeAthlete(api, FakeRecords(), clock, random.Random(1), unseal)
    return await handler(job("revoke_athlete", hint, hint_time=told_at))


async def test_a_verified_deauthorization_is_believed_without_a_call(clock):
    api = FakeApi()
    outcome = await run(api, clock, VERIFIED)
    assert outcome == Done((PurgeAthlete(ATHLETE, "deauthorized", "event:e1", "signature"),))
    assert api.calls == []


@pytest.mark.parametrize("gone", [False, True])
async def test_one_from_before_the_last_consent_is_not_believed_but_asked_about(clock, gone):
    """Guarantee 2: a delivery that comes late must not remove who has connected again since."""
    api = FakeApi(is_deauthorized=gone)
    outcome = await run(api, clock, VERIFIED, told_at=CONNECTED - 1)
    assert api.calls == [("is_deauthorized", ATHLETE)]
    assert [type(effect) for effect in outcome.effects] == ([PurgeAthlete] if gone else [])


async def test_an_unverified_one_is_believed_when_strava_refuses_our_access(clock):
    api = FakeApi(is_deauthorized=True)
    outcome = await run(api, clock, HEARD)
    (purge,) = outcome.effects
    assert (purge.athlete_id, purge.reason, purge.cause) == (ATHLETE, "deauthorized", "event:e1")
    assert purge.confirmed_by.startswith("Strava")
    assert api.calls == [("is_deauthorized", ATHLETE)]


async def test_a_forged_one_is_counted_and_nothing_goes(clock):
    outcome = await run(FakeApi(is_deauthorized=False), clock, HEARD)
    assert outcome.effects == (RecordRejectedClaim("event:e1", "deauthorization"),)
    assert outcome.note.startswith("forged")


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (TransientError(503), Snooze),
        (unanswered(), Snooze),
        (QuotaSpent("read_day", NOON + timedelta(hours=12)), Snooze),
        (ApplicationPaused(NOON + timedelta(hours=1)), Snooze),
        (ApplicationRefused(401, "Authorization Error"), Snooze),
        (PermanentError(400, "Bad Request"), Discard),
        (NotVisible(404), Discard),
    ],
)
async def test_while_strava_says_neither_nothing_goes(clock, failure, kind):
    outcome = await run(FakeApi(is_deauthorized=failure), clock, HEARD)
    assert isinstance(outcome, kind)
    assert outcome.effects == ()


@pytest.mark.parametrize("failure", [TransientError(500, "error"), unanswered()])
async def test_whether_the_athlete_left_is_asked_until_strava_can_say_and_for_a_week(clock, failure):
    """Nobody tells us again, and no comparison finds it out: it must not end as a dead letter."""
    for _ in range(50):
        outcome = await run(FakeApi(is_deauthorized=failure), clock, HEARD)
        assert isinstance(outcome, Snooze)
        wait = outcome.until - clock.now()
        assert timedelta(seconds=5) <= wait <= timedelta(minutes=5)
        clock.advance(seconds=wait.total_seconds())
    clock.advance(days=GIVE_UP.days)
    assert isinstance(await run(FakeApi(is_deauthorized=failure), clock, HEARD), Retry)


async def test_a_disconnect_is_told_to_strava_with_the_token_that_was_kept(clock):
    api = FakeApi(revoke=None)
    outcome = await run(api, clock, OURS)
    assert outcome == Done((ConfirmRevoke(ATHLETE, "revoked at Strava"),))
    assert api.calls == [("revoke", f"open-sealed-{ATHLETE}")]


async def test_without_a_token_there_is_nothing_to_revoke(clock):
    api = FakeApi()
    outcome = await run(api, clock, RevokeHint("revoke"))
    assert outcome == Done((ConfirmRevoke(ATHLETE, "there was no token to revoke"),))
    assert api.calls == []


DEAD = TokenRevoked(400, "Bad Request", (Fault("RefreshToken", "refresh_token", "invalid"),))
FOREIGN = PermanentError(400, "Bad Request", (Fault("AccessToken", "token", "invalid"),))
EXPIRED = NeedsRefresh(401, "Authorization Error", (Fault("Athlete", "access_token", "invalid"),))


@pytest.mark.parametrize("refusal", [FOREIGN, EXPIRED, DEAD])
async def test_a_token_that_strava_does_not_know_is_as_revoked_as_it_can_be(clock, refusal):
    """Pain 38."""
    (effect,) = (await run(FakeApi(revoke=refusal), clock, OURS)).effects
    assert effect.detail.startswith("Strava did not know the token")
    assert effect.revoked


async def test_a_token_that_cannot_be_read_is_said_to_be_so(clock):
    def unseal(_sealed: str, _athlete: int) -> str:
        raise Tampered

    api = FakeApi()
    (effect,) = (await run(api, clock, OURS, unseal)).effects
    assert effect.detail.startswith("not revoked: the token cannot be read")
    assert not effect.revoked
    assert api.calls == []


FAILURES = [TransientError(503), TransientError(400), unanswered(), AppInactive(403, "Forbidden")]


@pytest.mark.parametrize("failure", FAILURES)
async def test_an_outage_is_waited_out_at_no_cost(clock, failure):
    """Pain 38."""
    waits = []
    while clock.now() - NOON < timedelta(hours=2):
        outcome = await run(FakeApi(revoke=failure), clock, OURS)
        assert isinstance(outcome, Snooze)
        assert (outcome.effects, outcome.hint) == ((), None)
        wait = (outcome.until - clock.now()).total_seconds()
        waits.append(wait)
        clock.advance(seconds=wait)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (5, 300)


@pytest.mark.parametrize(
    "failure",
    [
        RateLimited(429),
        ApplicationRefused(400, "Bad Request", (Fault("Application", "client_secret", "invalid"),)),
        PermanentError(403, body="<html>Attention Required! | Cloudflare"),
        NeedsRefresh(401),
        NotVisible(404),
        PermanentError(302),
    ],
)
async def test_a_refusal_that_says_nothing_of_the_token_confirms_nothing(clock, failure):
    """The token is kept until Strava has confirmed the revocation (pain 28)."""
    outcome = await run(FakeApi(revoke=failure), clock, OURS)
    assert isinstance(outcome, Snooze)
    assert outcome.effects == ()


@pytest.mark.parametrize("failure", FAILURES)
async def test_after_two_months_it_is_given_up_and_not_called_revoked(clock, failure):
    clock.advance(days=GIVE_UP_TELLING.days, seconds=1)
    (effect,) = (await run(FakeApi(revoke=failure), clock, OURS)).effects
    assert effect.detail.startswith(f"not revoked: given up after {GIVE_UP_TELLING.days} days")
    assert not effect.revoked


async def test_an_application_that_is_switched_off_for_six_weeks_still_tells_strava_every_hour(clock):
    """Pains 28 and 35."""
    clock.advance(days=42)
    outcome = await run(FakeApi(revoke=AppInactive(403, "Forbidden")), clock, OURS)
    assert isinstance(outcome, Snooze)
    assert outcome.until - clock.now() == timedelta(hours=1)
