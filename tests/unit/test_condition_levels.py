"""The level of each condition, at and around its limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from feedzone.queries.quota import QuotaWindow
from feedzone.queries.status import HealthReport, Pulse, Subscription
from feedzone.services.conditions import conditions, is_behind, problems, report_conditions

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)


def _nothing(kind: object) -> Any:
    """Return the value of a fact of this type that says: there is nothing."""
    text = str(kind)
    if "None" in text:
        return None
    empty: dict[str, Any] = {"dict": {}, "list": [], "tuple": (), "bool": False}
    return next((value for name, value in empty.items() if name in text), 0)


FACTS = {
    "now": NOW,
    "athletes": {"active": 3},
    "jobs": {"queued": 2, "running": 1},
    "dead_letters": 0,
    "oldest_due_s": None,
    "subscription": Subscription(7, "https://feedzone.test/api/webhooks/strava", True, NOW),
    "last_event_at": NOW,
    "quota": [],
    "polling": False,
    "paused_since": None,
    "failing_since": None,
    "probe_at": None,
    "pause_reason": None,
    "unannounced": 0,
    "quiet_sweeps": 0,
    "quiet_athletes": 0,
    "open_conflicts": 0,
    "leader": "box:17:ab12cd34",
    "seats_used": 3,
    "seats": None,
}
SOUND = Pulse(**{field.name: _nothing(field.type) for field in msgspec.structs.fields(Pulse)} | FACTS)
"""A sound installation. Facts that this module does not name say that there is nothing to report."""


def pulse(**changes: Any) -> Pulse:
    return msgspec.structs.replace(SOUND, **changes)


def window(used: int = 0, *, latched: bool = False, minutes: int = 15) -> QuotaWindow:
    return QuotaWindow("read_15min", used, 100, NOW, NOW + timedelta(minutes=minutes), latched)


def level(name: str, **changes: Any) -> str:
    found = conditions(pulse(**changes), strava_configured=True)
    return next(condition.level for condition in found if condition.name == name)


def test_a_sound_installation_has_no_problem():
    assert problems(conditions(SOUND, strava_configured=True)) == []


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("Queue", {"oldest_due_s": 60.0}, "good"),
        ("Queue", {"oldest_due_s": 60.1}, "bad"),
        ("Worker", {"leader": None}, "warn"),
        ("Worker", {"leader": None, "leaderless_since": NOW - timedelta(seconds=30)}, "idle"),
        ("Worker", {"leader": None, "leaderless_since": NOW - timedelta(seconds=31)}, "bad"),
        ("Subscription", {"subscription": None}, "warn"),
        ("Subscription", {"subscription": Subscription(7, "https://x.test", False, NOW)}, "bad"),
        ("Webhook guard", {"quiet_sweeps": 2, "unannounced": 2}, "warn"),
        ("Webhook guard", {"quiet_sweeps": 3, "unannounced": 3}, "bad"),
        ("Webhook guard", {"quiet_sweeps": 3, "polling": True}, "idle"),
        ("Quiet athletes", {"quiet_athletes": 1}, "warn"),
        ("Quiet athletes", {"quiet_athletes": 1, "polling": True}, "idle"),
        ("Dead letters", {"dead_letters": 1}, "bad"),
        ("Conflicts", {"open_conflicts": 1}, "bad"),
        ("Tokens", {"athletes": {"needs_reauth": 1}}, "warn"),
        ("Tokens", {"athletes": {"needs_scope": 1}}, "warn"),
        ("Seats", {"seats": 10, "seats_used": 7}, "good"),
        ("Seats", {"seats": 10, "seats_used": 8}, "warn"),
        ("Rate limit", {"quota": [window(99)]}, "good"),
        ("Rate limit", {"quota": [window(100)]}, "warn"),
        ("Rate limit", {"quota": [window(5, latched=True)]}, "warn"),
        ("Application", {"failing_since": NOW - timedelta(minutes=5)}, "warn"),
        ("Application", {"paused_since": NOW - timedelta(minutes=5)}, "bad"),
    ],
)
def test_a_condition_has_its_level_from_its_limit_on(name, changes, expected):
    assert level(name, **changes) == expected


@pytest.mark.parametrize(("off_s", "expected"), [(None, "good"), (5, "good"), (5.1, "bad"), (-5.1, "bad")])
def test_a_clock_that_differs_in_either_direction_is_a_problem(off_s, expected):
    report = HealthReport(SOUND, [], [], "SQLite", 1.0, off_s)
    shown = {each.name: each.level for each in report_conditions(report, strava_configured=True)}
    assert shown["Clock"] == expected


def test_only_what_stops_all_says_so():
    paused = conditions(pulse(paused_since=NOW, dead_letters=3), strava_configured=True)
    assert [each.name for each in paused if each.stops_all] == ["Application"]
    unset = conditions(SOUND, strava_configured=False)
    assert [each.name for each in unset if each.stops_all] == ["Application"]


def test_problems_come_worst_first_and_warnings_are_problems():
    shown = problems(
        conditions(pulse(failing_since=NOW, dead_letters=1, open_conflicts=1), strava_configured=True)
    )
    assert [each.name for each in shown] == ["Dead letters", "Conflicts", "Application"]
    assert [each.level for each in shown] == ["bad", "bad", "warn"]


def test_work_goes_on_when_the_last_spent_window_opens():
    spent = [window(100, minutes=15), window(100, minutes=720), window(100, minutes=15)]
    (text,) = [
        each.text
        for each in conditions(pulse(quota=spent), strava_configured=True)
        if each.name == "Rate limit"
    ]
    assert "12 h" in text


def test_the_worker_is_behind_once_a_job_is_a_minute_late():
    assert [is_behind(pulse(oldest_due_s=age)) for age in (None, 0, 60, 61)] == [False, False, False, True]


def test_tokens_without_their_key_are_named_with_their_number():
    assert level("Keys") == "good"
    assert level("Keys", unreadable_athletes=2) == "bad"
    found = [
        each for each in conditions(pulse(unreadable_athletes=2), strava_configured=True) if each.is_problem
    ]
    assert [each.name for each in found] == ["Keys"]
    assert "2 athletes" in found[0].text
