"""What an event that anybody may have sent may cost, and what becomes of the events beyond that."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ..domain.activity import StoredActivity
from ..domain.backoff import LIST_HEAD_START
from ..domain.effect import AskForList, CountFruitless, Effect
from ..domain.fruitless import LOOKS, SPREAD, FruitlessCalls
from ..domain.job import Job, Lane, RefreshHint
from ..domain.outcome import Continue, Done, Outcome, Snooze

UNLISTED_AGAIN = timedelta(minutes=15)
"""The time between the looks at an activity that the list does not show."""

SHARE_SPENT = "events without a proof have had their share of calls"


def wait_for_proof(
    job: Job,
    hint: RefreshHint,
    stored: StoredActivity | None,
    spent: FruitlessCalls,
    now: datetime,
    share: float,
) -> Outcome | None:
    """Return the outcome of an unproven event that may cost no call now. None: it may.

    If unproven events have had their share, what a list shows goes on, and the rest ends or waits. `share` is
    a random in [0, 1).
    """
    again = spent.next_call(now)
    if stored is not None and stored.live:
        if again is None or not stored.detailed:
            return None  # without a detail, a list has shown it
        return Snooze(again + SPREAD * share, SHARE_SPENT, wait_reason="unproven")
    if spent.is_unlisted(job.first_received_at):
        if again is not None:
            return Done(note="not_visible: the athlete's list does not show this activity")
        if hint.looks_left is None:
            return Continue((), msgspec.structs.replace(hint, looks_left=LOOKS), lane=Lane.BACKFILL)
        return None
    if again is None:
        return None
    reason = "a list will show whether the activity exists"
    # The list may come before the next fetch, and then no event waits longer than for the list.
    listed = min(again, spent.next_call(now, for_list=True) or again)
    ask = (AskForList(job.athlete_id, listed),)
    return Snooze(listed + LIST_HEAD_START, reason, ask, wait_reason="list_first")


def count_404(job: Job, hint: RefreshHint, outcome: Outcome, now: datetime) -> Outcome:
    """Return the outcome of a 404 about an activity that only an unproven event announced.

    The call is counted as fruitless, and one look less is left.
    """
    left = None if hint.looks_left is None else hint.looks_left - 1
    once = CountFruitless(job.athlete_id)
    match outcome:
        case Snooze() if left == 0:
            return Done((once,), "not_visible: Strava does not show us this activity")
        case Snooze(until=until, effects=effects, hint=later):
            looked = msgspec.structs.replace(
                later if isinstance(later, RefreshHint) else hint,
                fruitless=hint.fruitless + 1,
                looks_left=left,
            )
            until = until if left is None else max(until, now + UNLISTED_AGAIN)
            return msgspec.structs.replace(outcome, until=until, effects=(*effects, once), hint=looked)
        case Done(effects=effects):
            # A list was read, too, before the job ended.
            return msgspec.structs.replace(outcome, effects=(*effects, CountFruitless(job.athlete_id, 2)))
    return outcome


def counted(job: Job, hint: RefreshHint) -> tuple[Effect, ...]:
    """Count a call that denied a claim. Earlier calls for an activity that exists were not fruitless."""
    if hint.action == "delete" and hint.unproven:
        return (CountFruitless(job.athlete_id),)
    return (CountFruitless(job.athlete_id, -hint.fruitless),) if hint.fruitless else ()
