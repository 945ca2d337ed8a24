"""How a failure ends a job: wait at no cost, try again, or stop with a reason."""

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
    StravaFails,
    TokenRevoked,
    TransientError,
    TransportFailure,
)
from feedzone.handlers.failures import ending


def without_blame(error: StravaError, pause_s: float = 40.0) -> StravaError:
    error.again_after_s = pause_s
    return error


EFFECTS = (RecordRejectedClaim("event:e1", "delete"),)
LAST = (NoteFailure(7, ATHLETE, "x", final=True),)


def end(error, seed: int = 1, **changes):
    return ending(error, job(**changes), NOON, random.Random(seed), effects=EFFECTS, if_last=LAST)


def test_quota_is_waited_for_until_its_window_opens_and_a_little_longer():
    """Jobs come back within five seconds of that time, and not all at once."""
    assert AFTER_WINDOW_S[1] <= 5
    until = NOON + timedelta(minutes=15)
    waits = [end(QuotaSpent("read_15min", until), seed) for seed in range(50)]
    assert all(isinstance(outcome, Snooze) and outcome.effects == EFFECTS for outcome in waits)
    delays = [(outcome.until - until).total_seconds() for outcome in waits]
    assert min(delays) > 0
    assert max(delays) <= AFTER_WINDOW_S[1]
    assert len(set(delays)) > 40
    assert "read_15min" in waits[0].reason


def test_jobs_that_waited_for_a_window_come_back_in_the_order_of_lanes_after_lists():
    """Guarantee 4: live, interactive, then the other lanes. One list first, since it shows many new rows."""
    until = NOON + timedelta(minutes=15)
    order = [{"kind": "list_activities"}, {}, {"lane": Lane.INTERACTIVE}, {"lane": Lane.BACKFILL}]
    waits = [
        [end(QuotaSpent("read_15min", until), seed, **changes).until for seed in range(50)]
        for changes in order
    ]
    for sooner, later in pairwise(waits):
        assert max(sooner) < min(later)


@pytest.mark.parametrize(
    "error",
    [TransientError(500), unanswered(), RateLimited(429), ApplicationRefused(401), CallOverdue("late")],
)
def test_a_failure_that_says_nothing_of_the_object_is_waited_for_at_no_cost(error):
    ends = [end(without_blame(error), seed, attempts=9) for seed in range(50)]
    assert all(isinstance(outcome, Snooze) and outcome.effects == EFFECTS for outcome in ends)
    assert {outcome.wait_reason for outcome in ends} == {"no_answer"}
    error.waits_alone = True
    assert end(error).wait_reason == "retry", "the next answer about another object does not end its wait"
    waits = [(outcome.until - NOON).total_seconds() for outcome in ends]
    assert 30 <= min(waits) < max(waits) <= 50


def test_an_application_that_is_switched_off_is_waited_for_until_its_next_probe():
    """The job spends no attempt."""
    until = NOON + timedelta(hours=1)
    outcome = end(ApplicationPaused(until, "403 Forbidden (Application/Status/Inactive)"))
    assert isinstance(outcome, Snooze)
    assert timedelta(0) < outcome.until - until <= timedelta(seconds=AFTER_WINDOW_S[1])
    assert outcome.effects == EFFECTS
    assert outcome.reason.startswith("Strava has switched this application off")
    assert "Application/Status/Inactive" in outcome.reason


def test_jobs_that_another_job_probes_for_return_at_different_times_within_minutes():
    until = NOON + timedelta(seconds=30)
    ends = [end(StravaFails(until, spare=True), seed).until - until for seed in range(50)]
    assert min(ends) < timedelta(minutes=1) < timedelta(minutes=4) < max(ends) < timedelta(minutes=6)


@pytest.mark.parametrize("wait", [QuotaSpent, lambda name, until: ApplicationPaused(until, name)])
def test_a_wait_that_is_over_already_lasts_only_a_moment(wait):
    """The window may open, or the probe fall due, between the refusal and the end of the job."""
    outcome = end(wait("read_15min", NOON - timedelta(minutes=5)))
    assert timedelta(0) < outcome.until - NOON <= timedelta(seconds=AFTER_WINDOW_S[1])


@pytest.mark.parametrize(
    ("error", "wait_reason"),
    [
        (QuotaSpent("read_15min", NOON), "quota"),
        (ApplicationPaused(NOON), "breaker"),
        (StravaFails(NOON), "breaker"),
    ],
)
def test_a_job_that_has_to_wait_carries_the_reason_as_a_code(error, wait_reason):
    assert end(error).wait_reason == wait_reason


def test_a_failed_call_carries_the_http_status_of_the_answer():
    assert end(TransientError(503)).http_status == 503
    assert end(PermanentError(422)).http_status == 422
    assert end(TransportFailure("no answer")).http_status is None


def test_a_missing_scope_marks_the_athlete_with_the_remedy():
    outcome = end(
        NeedsScope(401, "Authorization Error", (Fault("AccessToken", "activity:read_permission", "missing"),))
    )
    assert isinstance(outcome, Discard)
    *effects, mark = outcome.effects
    assert tuple(effects) == EFFECTS
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
def test_a_job_that_cannot_succeed_becomes_a_dead_letter_with_its_reason(error):
    assert end(error) == Discard(str(error), EFFECTS, LAST, error.error_class, getattr(error, "status", None))


@pytest.mark.parametrize(
    "error",
    [
        TransientError(500, "error", shape="19 bytes, JSON object"),
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
def test_a_failure_that_may_pass_is_tried_again(error):
    assert end(error) == Retry(
        str(error),
        EFFECTS,
        if_last=LAST,
        kind=error.error_class,
        http_status=getattr(error, "status", None),
    )


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
def test_each_failure_has_a_class_to_select_dead_letters_by(error, name):
    assert error.error_class == name
    outcome = end(error)
    assert isinstance(outcome, Retry | Discard)
    assert outcome.kind == name


def test_every_class_of_failures_can_be_selected_by_name():
    def names(error: type[StravaError]) -> set[str]:
        return {error.error_class}.union(*(names(kind) for kind in error.__subclasses__()))

    assert names(StravaError) == set(FAILURES)
