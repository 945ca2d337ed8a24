"""An athlete leaves: an unproven event deletes nothing, and the revocation is repeated until it works."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from fakes import ATHLETE, NOON, FakeApi, FakeRecords, job, unanswered

from feedzone.domain.athlete import Access
from feedzone.domain.effect import (
    BeginLeaving,
    ConfirmRevoke,
    CountFruitless,
    PurgeAthlete,
    RecordRejectedClaim,
)
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
from feedzone.handlers.revoke_athlete import STOP_ASKING, STOP_REVOKING, RevokeAthlete
from feedzone.vault import Tampered

UNVERIFIED = RevokeHint("confirm", cause="event:e1")
DISCONNECT = RevokeHint("revoke", sealed_token="sealed")


VERIFIED = RevokeHint("confirm", verified=True, cause="event:e1")
CONSENT, NOTICE = NOON - timedelta(days=9), timedelta(days=7)
CONNECTED = int(CONSENT.timestamp())
CONNECTION = Access("active", CONSENT)


async def run(
    api: FakeApi,
    clock,
    hint: RevokeHint,
    unseal=lambda sealed, athlete: f"open-{sealed}-{athlete}",
    event_time: int = int(NOON.timestamp()),
    access: Access | None = CONNECTION,
):
    records = FakeRecords()
    records.connection = access
    handler = RevokeAthlete(api, records, clock, random.Random(1), unseal, NOTICE)
    return await handler(job("revoke_athlete", hint, hint_time=event_time))


async def test_a_verified_deauthorization_is_believed_without_a_call(clock):
    api = FakeApi()
    outcome = await run(api, clock, VERIFIED)
    assert outcome == Done((PurgeAthlete(ATHLETE, "deauthorized", "event:e1", "signature", CONSENT),))
    assert api.calls == []


@pytest.mark.parametrize("gone", [False, True])
async def test_a_deauthorization_older_than_the_last_consent_is_checked_at_strava(clock, gone):
    """Guarantee 2: a late delivery must not remove an athlete who connected again."""
    api = FakeApi(is_deauthorized=gone)
    outcome = await run(api, clock, VERIFIED, event_time=CONNECTED - 1)
    assert api.calls == [("is_deauthorized", ATHLETE)]
    assert [type(effect) for effect in outcome.effects] == ([PurgeAthlete] if gone else [])


async def test_an_unverified_deauthorization_is_confirmed_when_strava_refuses_our_access(clock):
    api = FakeApi(is_deauthorized=True)
    outcome = await run(api, clock, UNVERIFIED)
    (purge,) = outcome.effects
    assert (purge.athlete_id, purge.reason, purge.cause) == (ATHLETE, "deauthorized", "event:e1")
    assert purge.confirmed_by.startswith("Strava")
    assert api.calls == [("is_deauthorized", ATHLETE)]


DEADLINE = BeginLeaving(ATHLETE, "event:e1", NOON + NOTICE, CONSENT)
LONG_AGO = NOON - timedelta(days=2)


@pytest.mark.parametrize("status", ["needs_reauth", "leaving"])
@pytest.mark.parametrize("refused_at", [None, LONG_AGO, NOON - timedelta(seconds=1)])
async def test_without_usable_tokens_an_unproven_event_only_begins_a_deadline(clock, status, refused_at):
    """The refusal was there before the event: anybody could have sent such an event."""
    api = FakeApi(is_deauthorized=True)
    outcome = await run(api, clock, UNVERIFIED, access=Access(status, CONSENT, refused_at))
    assert outcome.effects == (DEADLINE,)
    assert outcome.note.startswith("unproven")
    assert api.calls == []


async def test_a_refusal_since_the_event_was_received_confirms_it(clock):
    """The process died between the refusal and the purge, or another job met the refusal first."""
    outcome = await run(FakeApi(), clock, UNVERIFIED, access=Access("needs_reauth", CONSENT, NOON))
    (purge,) = outcome.effects
    assert (type(purge), purge.consent) == (PurgeAthlete, CONSENT)


@pytest.mark.parametrize("status", ["active", "needs_scope", "needs_reauth", "leaving"])
async def test_a_refusal_of_a_pair_that_may_have_been_replaced_confirms_nothing(clock, status):
    """A refresh without an answer may have rotated the pair: then Strava refuses it to anybody."""
    lost = Access(status, CONSENT, NOON, uncertain=True)
    outcome = await run(FakeApi(is_deauthorized=True), clock, UNVERIFIED, access=lost)
    assert outcome.effects == (DEADLINE,)


@pytest.mark.parametrize("status", ["needs_reauth", "leaving"])
async def test_a_signature_proves_the_departure_in_any_state(clock, status):
    outcome = await run(FakeApi(), clock, VERIFIED, access=Access(status, CONSENT, LONG_AGO))
    assert [type(effect) for effect in outcome.effects] == [PurgeAthlete]


async def test_an_event_from_before_the_last_consent_begins_no_deadline(clock):
    outcome = await run(
        FakeApi(), clock, UNVERIFIED, event_time=CONNECTED - 1, access=Access("needs_reauth", CONSENT)
    )
    assert outcome.effects == ()


@pytest.mark.parametrize("hint", [UNVERIFIED, VERIFIED])
@pytest.mark.parametrize("access", [None, Access("deauthorized", CONSENT)])
async def test_nobody_leaves_twice(clock, hint, access):
    api = FakeApi()
    assert await run(api, clock, hint, access=access) == Done()
    assert api.calls == []


async def test_a_forged_deauthorization_is_counted_and_deletes_nothing(clock):
    outcome = await run(FakeApi(is_deauthorized=False), clock, UNVERIFIED)
    assert outcome.effects == (RecordRejectedClaim("event:e1", "deauthorization"), CountFruitless(ATHLETE))
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
async def test_without_a_clear_answer_of_strava_nothing_is_deleted(clock, failure, kind):
    outcome = await run(FakeApi(is_deauthorized=failure), clock, UNVERIFIED)
    assert isinstance(outcome, kind)
    assert outcome.effects == ()


@pytest.mark.parametrize("failure", [TransientError(500, "error"), unanswered()])
async def test_a_deauthorization_is_checked_until_strava_answers_for_at_most_a_week(clock, failure):
    """No second event comes, and no reconciliation finds it: it must not end as a dead letter."""
    for _ in range(50):
        outcome = await run(FakeApi(is_deauthorized=failure), clock, UNVERIFIED)
        assert isinstance(outcome, Snooze)
        wait = outcome.until - clock.now()
        assert timedelta(seconds=5) <= wait <= timedelta(minutes=5)
        clock.advance(seconds=wait.total_seconds())
    clock.advance(days=STOP_ASKING.days)
    assert isinstance(await run(FakeApi(is_deauthorized=failure), clock, UNVERIFIED), Retry)


async def test_a_disconnect_revokes_the_stored_token(clock):
    api = FakeApi(revoke=None)
    outcome = await run(api, clock, DISCONNECT)
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
async def test_a_token_that_strava_does_not_know_counts_as_revoked(clock, refusal):
    (effect,) = (await run(FakeApi(revoke=refusal), clock, DISCONNECT)).effects
    assert effect.detail.startswith("Strava did not know the token")
    assert effect.revoked


async def test_the_receipt_names_a_token_that_cannot_be_read(clock):
    def unseal(_sealed: str, _athlete: int) -> str:
        raise Tampered

    api = FakeApi()
    (effect,) = (await run(api, clock, DISCONNECT, unseal)).effects
    assert effect.detail.startswith("not revoked: the token cannot be read")
    assert not effect.revoked
    assert api.calls == []


FAILURES = [TransientError(503), TransientError(400), unanswered(), AppInactive(403, "Forbidden")]


@pytest.mark.parametrize("failure", FAILURES)
async def test_an_outage_is_waited_out_at_no_cost(clock, failure):
    waits = []
    while clock.now() - NOON < timedelta(hours=2):
        outcome = await run(FakeApi(revoke=failure), clock, DISCONNECT)
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
        PermanentError(403, shape="39 bytes, markup"),
        NeedsRefresh(401),
        NotVisible(404),
        PermanentError(302),
    ],
)
async def test_a_refusal_for_another_reason_confirms_no_revocation(clock, failure):
    """The token stays until Strava has confirmed the revocation."""
    outcome = await run(FakeApi(revoke=failure), clock, DISCONNECT)
    assert isinstance(outcome, Snooze)
    assert outcome.effects == ()


@pytest.mark.parametrize("failure", FAILURES)
async def test_after_two_months_the_receipt_does_not_claim_a_revocation(clock, failure):
    clock.advance(days=STOP_REVOKING.days, seconds=1)
    (effect,) = (await run(FakeApi(revoke=failure), clock, DISCONNECT)).effects
    assert effect.detail.startswith(f"not revoked: given up after {STOP_REVOKING.days} days")
    assert not effect.revoked


async def test_while_the_application_is_switched_off_the_revocation_is_tried_every_hour(clock):
    clock.advance(days=42)
    outcome = await run(FakeApi(revoke=AppInactive(403, "Forbidden")), clock, DISCONNECT)
    assert isinstance(outcome, Snooze)
    assert outcome.until - clock.now() == timedelta(hours=1)
