"""The texts of failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import Markup

from feedzone.domain.outcome import FAILURES
from feedzone.queries.jobs import Attempt, DeadLetter, Job
from feedzone.web.auth.viewer import Viewer
from feedzone.web.rendering.filters import CAUSES, failure

NOW = datetime(2026, 11, 26, 15, 0, tzinfo=UTC)  # a Thursday


def letter(
    error: str, error_class: str, first: datetime, kind: str = "refresh_activity", status: int | None = None
) -> DeadLetter:
    job = Job(
        id="1", kind=kind, key="activity:7", athlete_id=42, state="dead", action="refresh", cause=None,
        lane="live", due_at=NOW, attempts=3, version=1, lease_owner=None, lease_until=None,
        last_error=error, error_class=error_class, http_status=status,
        first_received_at=first, updated_at=NOW,
    )  # fmt: skip
    return DeadLetter(
        job, "Ada", [Attempt(1, first, error_class, error), Attempt(2, NOW, error_class, error)]
    )


def told(dead: DeadLetter) -> str:
    return Markup(failure({"viewer": Viewer(), "now": NOW}, dead)).striptags()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "since"),
    [
        (NOW - timedelta(hours=2), "13:00"),
        (NOW - timedelta(days=2), "Tuesday"),
        (NOW - timedelta(days=9), "17 Nov 15:00"),
    ],
)
def test_a_failure_names_the_status_the_object_and_the_start(first, since):
    dead = letter('GET activities/7 500 error ({"message":"error"})', "strava_error", first, status=500)
    assert told(dead) == f"Strava returns 500 for this activity, since {since}"


@pytest.mark.parametrize(
    ("error", "error_class", "kind", "words"),
    [
        ("no answer within 30 s", "no_answer", "refresh_gear",
         "Strava does not respond for this athlete's bikes and shoes"),
        ("token refused", "token_rejected", "refresh_photos",
         "Strava no longer accepts the athlete's token for this activity's photos"),
        ("a bug", "crash", "refresh_activity", "Unexpected error for this activity"),
    ],
)  # fmt: skip
def test_a_failure_without_a_response_is_explained(error, error_class, kind, words):
    assert told(letter(error, error_class, NOW, kind)) == f"{words}, since 15:00"


def test_every_class_of_failure_has_a_title_and_advice():
    assert set(CAUSES) == set(FAILURES)
    assert all(happened and advice for happened, advice in CAUSES.values())
