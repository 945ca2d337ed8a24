"""Each checker finds the divergence planted for it, and none in a correct database."""

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
from .witness import CompletedEvent, Departure, LeaseViolation, Observations

SEED = 2


class KeptSimulation(Simulation):
    """A simulation that keeps a copy of its last database."""

    def _check(self, result, sender):
        self.copy = sqlite3.connect(":memory:")
        with sqlite3.connect(self.path) as rows:
            rows.backup(self.copy)
        rows.close()
        super()._check(result, sender)


@pytest.fixture(scope="module")
def settled_world(tmp_path_factory):
    """Return a calm world with two athletes, after its end."""
    folder = tmp_path_factory.mktemp("sim")
    scenario = replace(
        SCENARIOS["calm"], days=1.0, athletes=2, settle_hours=26.0, departures_a_day=0.0, acts_a_day=12.0
    )
    simulation = KeptSimulation(SEED, scenario, make_template(folder), folder)
    result = simulation.run()
    assert result.divergences == []
    return simulation


@pytest.fixture
def evidence(settled_world):
    rows = sqlite3.connect(":memory:")
    settled_world.copy.backup(rows)
    rows.row_factory = sqlite3.Row
    start = EPOCH.timestamp()
    now = start + settled_world.loop.time()
    ledger = copy.deepcopy(settled_world.ledger)
    yield Evidence(rows, settled_world.world, ledger, now, settled_world.scenario.sync_days, start)
    rows.close()


def divergences(evidence: Evidence) -> str:
    return "\n".join(line for check in CHECKERS for line in check(evidence))


def an_activity(evidence: Evidence) -> sqlite3.Row:
    query = (
        "SELECT a.* FROM strava_activities a JOIN activity_streams s ON s.activity_id = a.id "
        "WHERE s.state = 'present' ORDER BY a.start_date DESC LIMIT 1"
    )
    return evidence.all(query)[0]


def test_no_divergence_is_found_in_a_correct_database(evidence):
    assert divergences(evidence) == ""


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
        ("DELETE FROM activity_photos", "but 0 are stored, in state None"),
        (
            "UPDATE activity_photos SET photos = replace(photos, 'photos/', 'placeholder/')",
            "has a placeholder",
        ),
        ("DELETE FROM strava_gear", "is in the profile and not here"),
        ("UPDATE strava_gear SET retired = 1 - retired", "at Strava"),
        ("UPDATE strava_gear SET id = 'b1'||id", "is not marked here"),
        ("DELETE FROM webhook_events", "acknowledged event was not stored"),
        ("UPDATE webhook_events SET status = 'processing'", "event is still processing"),
        ("UPDATE webhook_events SET status = 'failed'", "its job is not a dead letter"),
        ("UPDATE strava_athletes SET status = 'needs_reauth'", "is needs_reauth here"),
        ("DELETE FROM strava_athletes", "has no row here"),
        ("UPDATE strava_athletes SET initial_sync_completed = 0", "the backfill never ended"),
        (
            "UPDATE strava_athletes SET refresh_lease_until = '2099-01-01T00:00:00.000000Z'",
            "the lease for the token refresh",
        ),
    ],
)
def test_a_planted_divergence_is_found(evidence, statement, expected):
    evidence.rows.execute(statement, {"id": an_activity(evidence)["id"]})
    assert expected in divergences(evidence)


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
        ("dead", "2026-01-01", "GET activities/1 502", "a dead letter has a transient cause"),
        ("dead", "2026-01-01", "no answer within 30 s", "a dead letter has a transient cause"),
    ],
)
def test_a_job_that_should_not_be_there_is_found(evidence, state, due, error, expected):
    evidence.rows.execute(JOB, (state, due, error))
    assert expected in divergences(evidence)


def test_a_dead_letter_with_a_permanent_cause_may_stay(evidence):
    evidence.rows.execute(JOB, ("dead", "2026-01-01", "the athlete has not granted activity:read"))
    assert divergences(evidence) == ""


def test_data_left_after_a_disconnect_is_found(evidence):
    athlete_id = an_activity(evidence)["athlete_id"]
    evidence.ledger.removed.add(athlete_id)
    lines = divergences(evidence)
    for table in ("strava_activities", "activity_streams", "token_uses"):
        assert f"rows stay in {table}" in lines
    assert "refresh_token_encrypted stays" in lines
    assert "there is no deletion receipt" in lines


def test_a_stale_token_is_found_unless_the_pair_was_lost(evidence):
    evidence.ledger.stale_uses.append((1, 5.0))
    assert "a replaced refresh token was used" in divergences(evidence)
    evidence.ledger.lost_pairs[1] = 4.0
    assert divergences(evidence) == ""


def test_two_refreshes_at_once_are_found(evidence):
    evidence.ledger.concurrent_refreshes.append((1, 5.0))
    assert "during another one" in divergences(evidence)


def test_a_needless_reconnect_is_found(evidence):
    evidence.ledger.needless_reconnects.add(1)
    assert "although their pair was valid" in divergences(evidence)


def test_a_call_over_the_limit_is_found(evidence):
    evidence.ledger.allowed_429 = -1
    assert "exceeded a limit" in divergences(evidence)


def test_a_forged_delete_that_was_believed_is_found(evidence):
    activity = an_activity(evidence)
    evidence.ledger.touched.clear()
    evidence.ledger.forged["activity", activity["id"], "delete", activity["athlete_id"], 5] = "delete"
    evidence.rows.execute(
        "INSERT INTO activity_changes (id, activity_id, athlete_id, field, old_value, new_value, changed_at, "
        "cause) VALUES ('1', ?, ?, 'sync_status', '\"synced\"', '\"deleted\"', '', 'event:1')",
        (activity["id"], activity["athlete_id"]),
    )
    assert "because of a forged delete" in divergences(evidence)


def test_a_forged_deauthorization_that_was_believed_is_found(evidence):
    athlete_id = an_activity(evidence)["athlete_id"]
    evidence.ledger.forged["athlete", athlete_id, "update", athlete_id, 5] = "deauthorization"
    evidence.rows.execute(
        "INSERT INTO deletion_receipts (id, athlete_id, reason, cause, confirmed_by, purged_at, counts) "
        "VALUES ('1', ?, 'deauthorized', 'event:1', 'x', '2026-03-14T08:00:00.000000Z', '{}')",
        (athlete_id,),
    )
    assert "was purged because of a forged deauthorization" in divergences(evidence)


def test_a_purge_on_hearsay_is_found_and_one_after_a_refusal_is_not(evidence):
    for refused, heard in ((5_000.0, 1_000.0), (None, 1_000.0), (5_000.0, 5_500.0)):
        purge = Departure(1, 9_000.0, "needs_reauth", refused, heard, "deauthorized")
        evidence.ledger.observations = Observations(departures=(purge,))
        assert "without a proof" not in divergences(evidence)
    purge = Departure(1, 9_000.0, "needs_reauth", 1_000.0, 8_000.0, "deauthorized")
    evidence.ledger.observations = Observations(departures=(purge,))
    assert "athlete 1 was purged without a proof at 9000" in divergences(evidence)
    expired = Departure(1, 9_000.0, "leaving", 1_000.0, 8_000.0, "expired")
    evidence.ledger.observations = Observations(departures=(expired,))
    assert "without a proof" not in divergences(evidence)


def test_a_job_ended_without_its_lease_is_found_unless_the_athlete_was_purged(evidence):
    evidence.ledger.observations = Observations(
        lease_violations=(LeaseViolation(5.0, "b", "a/1", "activity:1", 1),)
    )
    assert "did not hold its lease: activity:1 at 5" in divergences(evidence)
    evidence.rows.execute(
        "INSERT INTO deletion_receipts (id, athlete_id, reason, cause, confirmed_by, purged_at, counts) "
        "VALUES ('1', 1, 'disconnected', 'operator', 'x', '2026-03-14T08:00:00.000000Z', '{}')"
    )
    assert divergences(evidence) == ""


@pytest.mark.parametrize(
    ("fetched", "live", "deleted_at", "expected"),
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
def test_an_event_completed_without_asking_strava_is_found(evidence, fetched, live, deleted_at, expected):
    activity = an_activity(evidence)
    number, owner = activity["id"], activity["athlete_id"]
    evidence.ledger.fetched = {number: fetched}
    deletes = {} if deleted_at is None else {number: deleted_at}
    completed = (CompletedEvent(12.0, 10.0, number, owner, None, live),)
    evidence.ledger.observations = Observations(completed_events=completed, deletes=deletes)
    assert ("completed without asking Strava" in divergences(evidence)) is expected


def test_an_activity_that_became_not_visible_while_strava_shows_it_is_found(evidence):
    activity = an_activity(evidence)
    number, owner = activity["id"], activity["athlete_id"]
    evidence.ledger.touched.discard(number)
    evidence.ledger.fetched = {number: [10.5]}
    evidence.ledger.observations = Observations(
        completed_events=(CompletedEvent(12.0, 10.0, number, owner, "not_visible", 0),)
    )
    assert "became not_visible although Strava shows it" in divergences(evidence)
    evidence.ledger.touched.add(number)
    assert divergences(evidence) == ""


def test_streams_that_became_absent_too_early_are_found(evidence):
    activity = an_activity(evidence)
    spec = evidence.world.activities[activity["id"]]
    evidence.ledger.touched.discard(spec.id)
    evidence.ledger.observations = Observations(absent_streams=frozenset({spec.id}))
    assert ("became absent although Strava has them" in divergences(evidence)) is (
        spec.created_at - spec.start < 43_200
    )


def test_a_conflict_without_a_mass_deletion_is_found(evidence):
    activity = an_activity(evidence)
    evidence.ledger.touched.discard(activity["id"])
    evidence.rows.execute(
        "INSERT INTO conflicts (id, athlete_id, kind, detail, status, opened_at) "
        "VALUES ('1', ?, 'mass_deletion', ?, 'settled', '')",
        (activity["athlete_id"], f'{{"missing": [{activity["id"]}], "held": 9}}'),
    )
    assert "a conflict lists missing activities that Strava shows" in divergences(evidence)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("GET activities/1 429 Rate Limit Exceeded", True),
        ("GET activities/1 403 Forbidden (Application/Status/Inactive)", True),
        ("GET activities/1 502", False),
    ],
)
def test_a_dead_letter_that_only_had_to_wait_is_found(evidence, error, expected):
    evidence.ledger.observations = Observations(dead_letters=(("activity:1", error),))
    assert ("only had to wait" in divergences(evidence)) is expected


def test_the_witness_records_no_violation_in_a_correct_world(settled_world):
    observations = settled_world.ledger.observations
    assert observations.lease_violations == ()
    assert len(observations.completed_events) > 3
    assert all(event.at > event.received for event in observations.completed_events)
    assert {
        event.object_id for event in observations.completed_events if event.live
    } <= settled_world.ledger.fetched.keys()


@pytest.mark.parametrize(
    ("seconds", "looks", "impersonated", "expected"),
    [
        (9.0, [], [], ""),
        (11.0, [], [], "was fetched only after 11.0 s"),
        (11.0, [1.0, 11.0], [], "was fetched only after 11.0 s"),
        (11.0, [1.0, 5.0, 11.0], [], ""),
        (100.0, [], [-61.0, 100.5], "was fetched only after 100.0 s"),
        (100.0, [], [-59.0], ""),
        (100.0, [], [50.0], ""),
    ],
)
def test_an_upload_that_waits_during_a_flood_is_found_unless_the_answers_explain_it(
    evidence, seconds, looks, impersonated, expected
):
    ledger = evidence.ledger
    ledger.attacked = 1
    identity, at = next(
        (identity, at)
        for identity, at in ledger.acknowledged.items()
        if identity[1] in ledger.first_shown and identity[2] == "create" and identity[1] not in ledger.touched
    )
    ledger.first_shown = {identity[1]: at + seconds}
    ledger.acknowledged = {identity: at}
    ledger.fetched[identity[1]] = [at + offset for offset in looks]
    ledger.impersonations = [at + offset for offset in impersonated]
    lines = divergences(evidence)
    assert (expected in lines) if expected else ("was fetched only" not in lines)
