"""Each checker finds what is planted for it, and nothing where nothing is wrong."""

from __future__ import annotations

import copy
import sqlite3
from dataclasses import replace

import pytest

from .checkers import CHECKERS
from .checkers.evidence import Evidence
from .process import EPOCH
from .scenario import SCENARIOS
from .simulation import Simulation
from .storage import make_template

SEED = 2


class Kept(Simulation):
    """A simulation whose last state is kept."""

    def _judge(self, result, sender):
        self.kept = sqlite3.connect(":memory:")
        with sqlite3.connect(self.path) as rows:
            rows.backup(self.kept)
        rows.close()
        super()._judge(result, sender)


@pytest.fixture(scope="module")
def world_at_rest(tmp_path_factory):
    """A calm world of two athletes, one of whom has left at the end."""
    folder = tmp_path_factory.mktemp("sim")
    scenario = replace(
        SCENARIOS["calm"], days=1.0, athletes=2, settle_hours=26.0, departures_a_day=0.0, acts_a_day=12.0
    )
    simulation = Kept(SEED, scenario, make_template(folder), folder)
    result = simulation.run()
    assert result.divergences == []
    return simulation


@pytest.fixture
def evidence(world_at_rest):
    rows = sqlite3.connect(":memory:")
    world_at_rest.kept.backup(rows)
    rows.row_factory = sqlite3.Row
    start = EPOCH.timestamp()
    now = start + world_at_rest.loop.time()
    ledger = copy.deepcopy(world_at_rest.ledger)
    yield Evidence(rows, world_at_rest.world, ledger, now, world_at_rest.scenario.sync_days, start)
    rows.close()


def found(evidence: Evidence) -> str:
    return "\n".join(line for check in CHECKERS for line in check(evidence))


def an_activity(evidence: Evidence) -> sqlite3.Row:
    query = (
        "SELECT a.* FROM strava_activities a JOIN activity_streams s ON s.activity_id = a.id "
        "WHERE s.state = 'present' ORDER BY a.start_date DESC LIMIT 1"
    )
    return evidence.all(query)[0]


def test_nothing_is_found_where_nothing_is_wrong(evidence):
    assert found(evidence) == ""


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE strava_activities SET name = 'x' WHERE id = :id", "name is 'x' here"),
        ("UPDATE strava_activities SET description = 'x' WHERE id = :id", "description is 'x' here"),
        ("UPDATE strava_activities SET private = 1 - private WHERE id = :id", "private is"),
        ("UPDATE strava_activities SET sync_status = 'failed' WHERE id = :id", "sync_status is failed"),
        ("DELETE FROM strava_activities WHERE id = :id", "is at Strava and not here"),
        ("UPDATE strava_activities SET sync_status = 'deleted' WHERE id = :id", "is at Strava and not here"),
        (
            "INSERT INTO strava_activities (id, athlete_id, start_date, sync_status, created_at, updated_at) "
            "SELECT 1, athlete_id, start_date, 'synced', '', '' FROM strava_activities WHERE id = :id",
            "Strava does not show it",
        ),
        ("UPDATE activity_streams SET state = 'pending' WHERE activity_id = :id", "should be present"),
        ("DELETE FROM activity_photos", "of which 0 are None here"),
        (
            "UPDATE activity_photos SET photos = replace(photos, 'photos/', 'placeholder/')",
            "with a placeholder",
        ),
        ("DELETE FROM strava_gear", "is in the profile and not here"),
        ("UPDATE strava_gear SET retired = 1 - retired", "at Strava"),
        ("UPDATE strava_gear SET id = 'b1'||id", "is not marked here"),
        ("DELETE FROM webhook_events", "acknowledged event was not stored"),
        ("UPDATE webhook_events SET status = 'processing'", "event is still processing"),
        ("UPDATE webhook_events SET status = 'failed'", "no dead letter stands for it"),
        ("UPDATE strava_athletes SET status = 'needs_reauth'", "is needs_reauth here"),
        ("DELETE FROM strava_athletes", "unknown here"),
        ("UPDATE strava_athletes SET initial_sync_completed = 0", "the first sync never ended"),
        (
            "UPDATE strava_athletes SET refresh_lease_until = '2099-01-01T00:00:00.000000Z'",
            "the token refresh is claimed",
        ),
    ],
)
def test_a_planted_divergence_is_found(evidence, statement, expected):
    evidence.rows.execute(statement, {"id": an_activity(evidence)["id"]})
    assert expected in found(evidence)


JOB = (
    "INSERT INTO jobs (id, kind, key, athlete_id, state, hint, hint_time, priority, rank, due_at, "
    "last_error, first_received_at, updated_at) "
    "VALUES ('1', 'refresh_activity', 'activity:1', 1, ?, '{}', 0, 0, 0, ?, ?, '', '')"
)


@pytest.mark.parametrize(
    ("state", "due", "error", "expected"),
    [
        ("running", "2026-01-01", None, "a lease is left"),
        ("queued", "2026-01-01", None, "overdue since"),
        ("queued", "2099-01-01", None, "waits until"),
        ("dead", "2026-01-01", "GET activities/1 502", "dead letter without a permanent cause"),
        ("dead", "2026-01-01", "no answer within 30 s", "dead letter without a permanent cause"),
    ],
)
def test_a_job_that_should_not_be_there_is_found(evidence, state, due, error, expected):
    evidence.rows.execute(JOB, (state, due, error))
    assert expected in found(evidence)


def test_a_dead_letter_with_a_permanent_cause_may_stay(evidence):
    evidence.rows.execute(JOB, ("dead", "2026-01-01", "the athlete has not granted activity:read"))
    assert found(evidence) == ""


def test_data_that_survived_a_leaving_is_found(evidence):
    athlete_id = an_activity(evidence)["athlete_id"]
    evidence.ledger.removed.add(athlete_id)
    told = found(evidence)
    for table in ("strava_activities", "activity_streams", "token_uses"):
        assert f"rows stay in {table}" in told
    assert "refresh_token_encrypted stays" in told
    assert "no receipt proves it" in told


def test_a_stale_token_is_found_unless_the_pair_was_lost(evidence):
    evidence.ledger.stale_uses.append((1, 5.0))
    assert "had been replaced" in found(evidence)
    evidence.ledger.lost_pairs[1] = 4.0
    assert found(evidence) == ""


def test_a_needless_cutting_off_is_found(evidence):
    evidence.ledger.wrongly_cut_off.add(1)
    assert "although nothing had happened" in found(evidence)


def test_a_call_over_the_limit_is_found(evidence):
    evidence.ledger.allowed_429 = -1
    assert "over a limit" in found(evidence)


def test_a_forged_delete_that_was_believed_is_found(evidence):
    activity = an_activity(evidence)
    evidence.ledger.touched.clear()
    evidence.ledger.forged["activity", activity["id"], "delete", activity["athlete_id"], 5] = "delete"
    evidence.rows.execute(
        "INSERT INTO activity_changes (id, activity_id, athlete_id, field, old_value, new_value, changed_at, "
        "cause) VALUES ('1', ?, ?, 'sync_status', '\"synced\"', '\"deleted\"', '', 'event:1')",
        (activity["id"], activity["athlete_id"]),
    )
    assert "because of a forged delete" in found(evidence)


def test_a_forged_deauthorisation_that_was_believed_is_found(evidence):
    athlete_id = an_activity(evidence)["athlete_id"]
    evidence.ledger.forged["athlete", athlete_id, "update", athlete_id, 5] = "deauthorization"
    evidence.rows.execute(
        "INSERT INTO deletion_receipts (id, athlete_id, reason, cause, confirmed_by, purged_at, counts) "
        "VALUES ('1', ?, 'deauthorized', 'event:1', 'x', '2026-03-14T08:00:00.000000Z', '{}')",
        (athlete_id,),
    )
    assert "was purged because of a forged deauthorisation" in found(evidence)
