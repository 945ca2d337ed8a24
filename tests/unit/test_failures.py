"""How a failure ends a job: wait at no cost, try again, or stop and say why."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise

import pytest
from fakes import ATHLETE, NOON, job, unanswered

from feedzone.domain.backoff import AFTER_WINDOW_S
from feedzone.domain.effect import MarkAthlete, NoteFailure, RecordRejectedClaim
from feedzone.domain.job import Lane
from feedzone.domain.outcome import FAILURES, Discard, Retry, Snooze
from feedzone.errors import (
    AppInactive,
    ApplicationPaused,
    ApplicationRefused,
    CallOverdue,
    Fault,
    NeedsRefresh,
    NeedsScope,
    NotConnected,
    NotVisible,
    PermanentError,
    QuotaSpent,
    RateLimited,
    SeatsFull,
    StravaError,
    TokenRevoked,
    TransientError,
)
from feedzone.handlers.failures import ending

EFFECTS = (RecordRejectedClaim("event:e1", "delete"),)
LAST = (NoteFailure(7, ATHLETE, "x", final=True),)


def end(error, seed: int = 1, **changes):
    return ending(error, job(**changes), NOON, random.Random(seed), effects=EFFECTS, if_last=LAST)


def test_quota_is_waited_for_until_its_window_opens_and_a_little_longer():
    """Pain 42: within five seconds of it, and not all at once."""
    assert AFTER_WINDOW_S[1] <= 5
    until = NOON + timedelta(minutes=15)
    waits = [end(QuotaSpent("read_15min", until), seed) for seed in range(50)]
    assert all(isinstance(outcome, Snooze) and outcome.effects == EFFECTS for outcome in waits)
    delays = [(outcome.until - until).total_seconds() for outcome in waits]
    assert min(delays) > 0
    assert max(delays) <= AFTER_WINDOW_S[1]
    assert len(set(delays)) > 40
    assert "read_15min" in waits[0].reason


def test_what_waited_for_a_window_comes_back_in_the_order_of_lanes_lists_first():
    """Guarantee 4: live before interactive before what can wait; and one list shows many new rows early."""
    until = NOON + timedelta(minutes=15)
    order = [{"kind": "list_activities"}, {}, {"lane": Lane.INTERACTIVE}, {"lane": Lane.BACKFILL}]
    waits = [[end(QuotaSpent("read_15min", until), seed, **one).until for seed in range(50)] for one in order]
    for sooner, later in pairwise(waits):
        assert max(sooner) < min(later)


def test_an_application_that_is_switched_off_is_waited_for_until_its_next_probe():
    """Pain 35: and no attempt is spent on it."""
    until = NOON + timedelta(hours=1)
    outcome = end(ApplicationPaused(until, "403 Forbidden (Application/Status/Inactive)"))
    assert isinstance(outcome, Snooze)
    assert timedelta(0) < outcome.until - until <= timedelta(seconds=AFTER_WINDOW_S[1])
    assert outcome.effects == EFFECTS
    assert outcome.reason.startswith("Strava has switched this application off")
    assert "Application/Status/Inactive" in outcome.reason


@pytest.mark.parametrize("wait", [QuotaSpent, lambda *said: ApplicationPaused(*reversed(said))])
def test_an_instant_that_is_past_already_is_waited_for_a_moment_only(wait):
    """The window may open, or the probe fall due, between the refusal and the end of the job."""
    outcome = end(wait("read_15min", NOON - timedelta(minutes=5)))
    assert timedelta(0) < outcome.until - NOON <= timedelta(seconds=AFTER_WINDOW_S[1])


def test_what_waits_for_the_application_says_so_in_the_words_that_the_queue_looks_for():
    from feedzone.store.quota.breaker import PAUSED

    assert end(ApplicationPaused(NOON)).reason.startswith(PAUSED)


def test_a_missing_scope_marks_the_athlete_and_says_what_to_do():
    outcome = end(
        NeedsScope(401, "Authorization Error", (Fault("AccessToken", "activity:read_permission", "missing"),))
    )
    assert isinstance(outcome, Discard)
    *kept, mark = outcome.effects
    assert tuple(kept) == EFFECTS
    assert (mark.athlete_id, mark.status) == (ATHLETE, "needs_scope")
    assert isinstance(mark, MarkAthlete)
    assert "activity:read" in mark.reason
    assert "AccessToken/activity:read_permission/missing" in outcome.reason
    assert outcome.if_last == LAST


@pytest.mark.parametrize(
    "error",
    [
        TokenRevoked(400, "Bad Request"),
        NotConnected("athlete 134815 is not connected"),
        NotVisible(404),
        PermanentError(400, "Bad Request", (Fault("Activity", "id", "invalid"),)),
        SeatsFull(403, "Limit of connected athletes exceeded"),
    ],
)
def test_what_cannot_succeed_is_kept_with_its_reason(error):
    assert end(error) == Discard(str(error), EFFECTS, LAST, error.error_class)


@pytest.mark.parametrize(
    "error",
    [
        TransientError(500, "error", body='{"message":"error"}'),
        TransientError(597),
        unanswered(),
        unanswered(acted=False),
        CallOverdue("no answer within 30 s"),
        RateLimited(429),
        NeedsRefresh(401, "Authorization Error"),
        AppInactive(403, "Forbidden"),
        ApplicationRefused(400, "Bad Request"),
    ],
)
def test_what_passes_is_tried_again(error):
    assert end(error) == Retry(str(error), EFFECTS, if_last=LAST, kind=error.error_class)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (unanswered(), "no_answer"),
        (CallOverdue("no answer within 30 s"), "no_answer"),
        (TransientError(500), "strava_error"),
        (RateLimited(429), "rate_limited"),
        (NeedsScope(401), "needs_scope"),
        (NeedsRefresh(401), "token_rejected"),
        (TokenRevoked(400), "revoked"),
        (NotConnected("left"), "not_connected"),
        (NotVisible(404), "not_visible"),
        (PermanentError(400), "refused"),
        (ApplicationRefused(400), "application_refused"),
        (SeatsFull(403), "other"),
    ],
)
def test_a_failure_has_a_class_by_which_dead_letters_are_found_together(error, name):
    assert error.error_class == name
    outcome = end(error)
    assert isinstance(outcome, Retry | Discard)
    assert outcome.kind == name


def test_every_class_that_a_failure_can_have_can_be_asked_for_by_name():
    def names(error: type[StravaError]) -> set[str]:
        return {error.error_class}.union(*(names(kind) for kind in error.__subclasses__()))

    assert names(StravaError) == set(FAILURES)
