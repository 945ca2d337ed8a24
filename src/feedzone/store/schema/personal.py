"""Whose words each column of each table holds, and when they go.

This is the one list that deletion, leaving, retention and export follow. A test plants a word in every text
column of every table and compares the rest with this list; a column without an entry fails it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Column, Table

from .base import DESCRIPTIONS
from .tables import job_attempts, jobs, metadata, strava_activities

Fate = Literal["removed", "emptied", "stays"]
"""What becomes of a table's rows: they are removed; they stay without words; or they stay."""


class Holdings(NamedTuple):
    """What the columns of one table hold. Each column is named once, in words separated by spaces."""

    ours: str
    """Our bookkeeping: ids, times, counts, codes and texts of ours. They quote nobody."""
    activity: str = ""
    """Values of an activity. They go when it is deleted, and when its athlete leaves."""
    athlete: str = ""
    """Values of an athlete. They go when the athlete leaves."""
    keys: str = ""
    """Keys to an athlete's account. They go when the athlete leaves, and no export holds them."""
    deletion: Fate = "stays"
    """What the deletion of an activity does to its rows."""
    leaving: Fate = "stays"
    """What the departure of an athlete does to their rows."""
    age: str = ""
    """The column from which RETENTION_DAYS counts. Empty: rows do not grow old."""
    file: str = ""
    """Where an export holds the words. Empty: nowhere."""
    why: str = ""
    """Why rows stay, do not grow old, or are not exported."""


HOLDINGS: Mapping[str, Holdings] = {
    "strava_activities": Holdings(
        ours=(
            "id athlete_id sync_status sync_attempts last_sync_error last_event_time webhook_received_at "
            "last_fetched_at deleted_at created_at updated_at"
        ),
        activity=(
            "name sport_type type workout_type start_date start_date_local start_hidden timezone "
            "utc_offset distance moving_time elapsed_time total_elevation_gain elev_high elev_low "
            "average_speed max_speed average_heartrate max_heartrate average_cadence average_watts "
            "max_watts weighted_average_watts device_watts kilojoules calories average_temp "
            "suffer_score perceived_exertion trainer commute manual private visibility flagged "
            "hide_from_home gear_id device_name description upload_id external_id summary_polyline "
            "start_lat start_lng total_photo_count summary detail fingerprint no_track accepted_difference "
            "unconfirmed unconfirmed_until"
        ),
        deletion="emptied",
        leaving="removed",
        file="activities.jsonl",
        why="a tombstone keeps the id; athletes want to keep activities",
    ),
    "activity_streams": Holdings(
        ours="activity_id athlete_id state samples fetched_at fingerprint asked_at streamless_since",
        activity="channels blob",
        deletion="removed",
        leaving="removed",
        file="streams/<id>.parquet",
        why="as old as the activity",
    ),
    "activity_photos": Holdings(
        ours="activity_id athlete_id state photo_count asked_at fetched_at",
        activity="photos",
        deletion="removed",
        leaving="removed",
        file="photos.jsonl",
        why="as old as the activity",
    ),
    "activity_changes": Holdings(
        ours="id activity_id athlete_id kind field changed_at cause",
        activity="old_value new_value",
        deletion="emptied",
        leaving="removed",
        age="changed_at",
        file="changes.jsonl",
        why="the change feed says when the activity was deleted, and that the athlete left (change_log.py)",
    ),
    "change_feed": Holdings(ours="id last_stamp", why="ours"),
    "webhook_events": Holdings(
        ours=(
            "id status attempts created_at processed_at error_message object_type object_id aspect_type "
            "owner_id subscription_id event_time dedup_key signature job_id job_version ignored_because "
            "crowded"
        ),
        activity="event_data",
        deletion="emptied",
        leaving="removed",
        age="created_at",
        file="events.jsonl",
        why="the event that proves a departure stays, without words",
    ),
    "strava_athletes": Holdings(
        ours=(
            "id scopes status status_reason token_expires_at token_generation refresh_lease_owner "
            "refresh_lease_until refresh_uncertain_at initial_sync_started_at initial_sync_completed "
            "initial_sync_completed_at initial_sync_after initial_sync_cursor initial_sync_listed "
            "initial_sync_found webhook_subscription_active last_event_at last_synced_at last_verified_at "
            "comparison_queued_at streams_doubted_at reconcile_due_at connected_at updated_at gear_due_at "
            "operator_may_see sports_changed_at refused_at leaves_at leaving_cause deliveries_lost_at"
        ),
        athlete="username firstname lastname wanted_sports",
        keys="access_token_encrypted refresh_token_encrypted",
        leaving="emptied",
        file="athlete.json",
        why="the id stays, so that late events are recognized",
    ),
    "strava_gear": Holdings(
        ours="athlete_id kind removed_at created_at updated_at",
        athlete="id name nickname is_primary retired distance raw",
        leaving="removed",
        file="gear.json",
        why="athletes want to keep gear",
    ),
    "jobs": Holdings(
        ours=(
            "id kind key athlete_id state hint_time priority fair_position due_at attempts lease_until "
            "lease_owner version last_error error_class http_status wait_reason calls first_received_at "
            "updated_at debounce_until discarded_at"
        ),
        keys="hint",
        leaving="removed",
        age="updated_at",
        why="work of ours; only dead letters grow old. The job that revokes access keeps its sealed token",
    ),
    "job_attempts": Holdings(
        ours="id job_id athlete_id ended_at attempt error_class error",
        leaving="removed",
        age="ended_at",
        why="work of ours",
    ),
    "token_uses": Holdings(
        ours="id athlete_id used_at purpose generation outcome",
        leaving="removed",
        age="used_at",
        why="calls of ours",
    ),
    "reconciliations": Holdings(
        ours="id athlete_id ended_at is_full listed unannounced changed missing calls",
        leaving="removed",
        age="ended_at",
        why="checks of ours",
    ),
    "conflicts": Holdings(
        ours="id athlete_id kind detail status opened_at resolved_at",
        leaving="removed",
        age="resolved_at",
        why="decisions of the operator; they list ids",
    ),
    "call_log": Holdings(
        ours="id sent_at lane athlete_id endpoint status ms usage counted calls activity_id",
        why="counts stay for eight days, after a departure without the athlete's id (removals.py)",
    ),
    "call_counts": Holdings(ours="quarter lane calls in_vain", why="sums over all athletes"),
    "athlete_allowances": Holdings(
        ours="athlete_id calls until",
        why="counts of an hour, so that to leave and come back does not refill them (allowances.is_old)",
    ),
    "fruitless_calls": Holdings(
        ours="athlete_id level updated_at listed_at",
        leaving="removed",
        why="calls of ours; forgotten after two days (fruitless.is_old)",
    ),
    "unknown_owners": Holdings(
        ours="athlete_id events first_at last_at",
        leaving="removed",
        why="counts; forgotten a month after the last event (unknown_owners.is_old)",
    ),
    "deletion_receipts": Holdings(
        ours="id athlete_id reason cause confirmed_by purged_at counts revoked_at revoke_detail",
        why="the proof that the rest is gone",
    ),
    "removals": Holdings(
        ours="athlete_id receipt_id status", why="a row goes when the last one of the athlete is removed"
    ),
    "database_identity": Holdings(ours="id database_id generation", why="ours"),
    "rejected_claims": Holdings(ours="id claim cause noticed_at", age="noticed_at"),
    "oauth_states": Holdings(ours="digest created_at", why="they expire by themselves"),
    "ended_sessions": Holdings(ours="id ended_at", why="they expire by themselves"),
    "storage_probes": Holdings(ours="id filling", why="empty: a row lasts as long as a check of readiness"),
    "leases": Holdings(ours="name holder since until", why="ours"),
    "webhook_subscriptions": Holdings(ours="subscription_id callback_url created_at is_active", why="ours"),
    "api_budget": Holdings(
        ours="window starts_at quota used latched_until updated_at others alone_until history raised_at",
        why="ours",
    ),
    "application_state": Holdings(
        ours="id inactive_since probe_at prober_at reason failing_since", why="ours"
    ),
}


def words_of_activity(table: Table) -> list[str]:
    """Return the columns of the table that hold values of an activity."""
    return HOLDINGS[table.name].activity.split()


_LOCKED_FIRST = (jobs, job_attempts, strava_activities)
"""Every transaction locks jobs before activities (lifecycle.lock)."""


def _removed_by(owner: str, fate: Literal["deletion", "leaving"]) -> tuple[Table, ...]:
    """Return the tables whose rows go, in the order in which they are locked."""
    order = {table.name: place for place, table in enumerate(_LOCKED_FIRST)}
    tables = [
        table
        for table in metadata.sorted_tables
        # A table without an entry is emptied, too: to forget the entry must not keep words.
        if owner in table.c
        and (table.name not in HOLDINGS or getattr(HOLDINGS[table.name], fate) == "removed")
    ]
    return tuple(sorted(tables, key=lambda table: order.get(table.name, len(order))))


ATHLETE_TABLES = _removed_by("athlete_id", "leaving")
"""Emptied of an athlete's rows by store/removals.py; webhook_events, too."""

ACTIVITY_TABLES = _removed_by("activity_id", "deletion")
"""Emptied of an activity's rows by its tombstone."""


TOUCHED = tuple(
    table
    for table in metadata.sorted_tables
    if (held := HOLDINGS.get(table.name)) is None or held.deletion != "stays" or held.leaving != "stays"
)
"""The tables whose rows a deletion or a departure removes or empties."""


def _age(table: Table) -> Column[datetime] | None:
    held = HOLDINGS.get(table.name)
    return table.c[held.age] if held and held.age else None


PRUNED_BY = tuple(age for table in metadata.sorted_tables if (age := _age(table)) is not None)
"""The tables that RETENTION_DAYS empties, each by the column that tells a row's age."""

LABELS: Mapping[str, str] = {
    name: description.label for name, description in DESCRIPTIONS.items() if description.label
}
"""What pages call the rows of a table: a receipt counts them."""
