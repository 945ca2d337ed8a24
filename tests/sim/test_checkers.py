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
from .witness import Answer, Sightings, TakenLease

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
    "INSERT INTO jobs (id, kind, key, athlete_id, state, hint, hint_time, priority, fair_position, due_at, "
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


def test_two_refreshes_at_once_are_found(evidence):
    evidence.ledger.asked_together.append((1, 5.0))
    assert "while another was under way" in found(evidence)


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


def test_a_job_ended_without_its_lease_is_found_unless_the_athlete_was_purged(evidence):
    evidence.ledger.sightings = Sightings(leases=(TakenLease(5.0, "b", "a/1", "activity:1", 1),))
    assert "did not hold its lease: activity:1 at 5" in found(evidence)
    evidence.rows.execute(
        "INSERT INTO deletion_receipts (id, athlete_id, reason, cause, confirmed_by, purged_at, counts) "
        "VALUES ('1', 1, 'disconnected', 'operator', 'x', '2026-03-14T08:00:00.000000Z', '{}')"
    )
    assert found(evidence) == ""


@pytest.mark.parametrize(
    ("asked", "live", "deleted_at", "expected"),
    [
        ([], 1, None, True),
        ([9.9], 1, None, True),
        ([12.1], 1, None, True),
        ([10.5], 1, None, False),
        ([], 1, 5.0, True),
        ([], 0, 5.0, False),
        ([], 0, 13.0, True),
    ],
)
def test_an_event_answered_without_a_question_after_it_came_is_found(
    evidence, asked, live, deleted_at, expected
):
    activity = an_activity(evidence)
    number, owner = activity["id"], activity["athlete_id"]
    evidence.ledger.asked = {number: asked}
    deletes = {} if deleted_at is None else {number: deleted_at}
    answers = (Answer(12.0, 10.0, number, owner, None, live),)
    evidence.ledger.sightings = Sightings(answers=answers, deletes=deletes)
    assert ("answered without asking Strava" in found(evidence)) is expected


def test_an_activity_that_was_given_up_while_strava_shows_it_is_found(evidence):
    activity = an_activity(evidence)
    number, owner = activity["id"], activity["athlete_id"]
    evidence.ledger.touched.discard(number)
    evidence.ledger.asked = {number: [10.5]}
    evidence.ledger.sightings = Sightings(answers=(Answer(12.0, 10.0, number, owner, "not_visible", 0),))
    assert "given up that Strava shows" in found(evidence)
    evidence.ledger.touched.add(number)
    assert found(evidence) == ""


def test_streams_called_absent_too_early_are_found(evidence):
    activity = an_activity(evidence)
    spec = evidence.world.activities[activity["id"]]
    evidence.ledger.touched.discard(spec.id)
    evidence.ledger.sightings = Sightings(absences=frozenset({spec.id}))
    assert ("called absent that Strava has" in found(evidence)) is (spec.created_at - spec.start < 43_200)


def test_a_question_about_a_mass_deletion_that_was_none_is_found(evidence):
    activity = an_activity(evidence)
    evidence.ledger.touched.discard(activity["id"])
    evidence.rows.execute(
        "INSERT INTO conflicts (id, athlete_id, kind, detail, status, opened_at) "
        "VALUES ('1', ?, 'mass_deletion', ?, 'settled', '')",
        (activity["athlete_id"], f'{{"missing": [{activity["id"]}], "held": 9}}'),
    )
    assert "asked about missing activities that Strava shows" in found(evidence)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("GET activities/1 429 Rate Limit Exceeded", True),
        ("GET activities/1 403 Forbidden (Application/Status/Inactive)", True),
        ("GET activities/1 502", False),
    ],
)
def test_a_job_that_was_given_up_while_it_only_had_to_wait_is_found(evidence, error, expected):
    evidence.ledger.sightings = Sightings(deaths=(("activity:1", error),))
    assert ("only had to wait" in found(evidence)) is expected


def test_the_witness_sees_no_wrong_in_a_world_where_nothing_is_wrong(world_at_rest):
    sightings = world_at_rest.ledger.sightings
    assert sightings.leases == ()
    assert len(sightings.answers) > 3
    assert all(answer.at > answer.received for answer in sightings.answers)
    assert {
        answer.object_id for answer in sightings.answers if answer.live
    } <= world_at_rest.ledger.asked.keys()
