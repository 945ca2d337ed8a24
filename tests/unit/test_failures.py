"""How a failure ends a job: wait at no cost, try again, or stop and say why."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from fakes import ATHLETE, NOON, unanswered

from feedzone.domain.effect import CountForged, MarkAthlete, NoteFailure
from feedzone.domain.outcome import Discard, Retry, Snooze
from feedzone.errors import (
    AppInactive,
    CallOverdue,
    Fault,
    NeedsScope,
    NotConnected,
    PermanentError,
    QuotaSpent,
    RateLimited,
    SeatsFull,
    TokenRevoked,
    TransientError,
)
from feedzone.handlers.failures import INACTIVE_PROBE, WINDOW_JITTER_S, ending

EFFECTS = (CountForged("event:e1", "delete"),)
LAST = (NoteFailure(7, ATHLETE, "x", final=True),)


def end(error, seed: int = 1):
    return ending(error, ATHLETE, NOON, random.Random(seed), effects=EFFECTS, if_last=LAST)


def test_quota_is_waited_for_until_its_window_opens_and_a_little_longer():
    until = NOON + timedelta(minutes=15)
    waits = [end(QuotaSpent("read_15min", until), seed) for seed in range(50)]
    assert all(isinstance(outcome, Snooze) and outcome.effects == EFFECTS for outcome in waits)
    delays = [(outcome.until - until).total_seconds() for outcome in waits]
    assert min(delays) > 0
    assert max(delays) <= WINDOW_JITTER_S + 0.2
    assert len(set(delays)) > 40
    assert "read_15min" in waits[0].reason


def test_an_application_that_is_switched_off_is_probed_hourly():
    outcome = end(AppInactive(403, "Forbidden", (Fault("Application", "Status", "Inactive"),)))
    assert isinstance(outcome, Snooze)
    assert (outcome.until, outcome.effects) == (NOON + INACTIVE_PROBE, EFFECTS)
    assert timedelta(hours=1) == INACTIVE_PROBE
    assert "Application/Status/Inactive" in outcome.reason


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
        PermanentError(400, "Bad Request", (Fault("Activity", "id", "invalid"),)),
        SeatsFull(403, "Limit of connected athletes exceeded"),
    ],
)
def test_what_cannot_succeed_is_kept_with_its_reason(error):
    assert end(error) == Discard(str(error), EFFECTS, LAST)


@pytest.mark.parametrize(
    "error",
    [
        TransientError(500, "error", body='{"message":"error"}'),
        TransientError(597),
        unanswered(),
        unanswered(acted=False),
        CallOverdue("no answer within 30 s"),
        RateLimited(429),
    ],
)
def test_what_passes_is_tried_again(error):
    assert end(error) == Retry(str(error), EFFECTS, if_last=LAST)
