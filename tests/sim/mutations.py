"""Deliberate mutations of the engine: the source text that each replaces, and its effect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class MutationDoesNotFit(Exception):
    """The engine's source has changed: it does not contain the text to replace exactly once."""


@dataclass(frozen=True)
class Edit:
    """Replaces `old`, which occurs exactly once in `file` (under src/feedzone)."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """A deliberate mistake; `breaks` is its effect in one line.

    `guarantee` is the number of the guarantee in ARCHITECTURE.md that it breaks, if any.
    """

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    guarantee: int | None = None
    scenarios: tuple[str, ...] = ("hostile",)

    def apply(self, package: Path) -> None:
        """Apply the mutation to a copy of the package."""
        for edit in self.edits:
            path = package / edit.file
            source = path.read_text()
            if (count := source.count(edit.old)) != 1:
                raise MutationDoesNotFit(
                    f"{self.name}: src/feedzone/{edit.file} has its text {count} times, not once: "
                    f"{edit.old!r}"
                )
            path.write_text(source.replace(edit.old, edit.new))


def mutation(
    name: str,
    breaks: str,
    file: str,
    old: str,
    new: str,
    *,
    guarantee: int | None = None,
    scenarios: tuple[str, ...] = ("hostile",),
) -> Mutation:
    """Return a mutation with a single edit."""
    return Mutation(name, breaks, (Edit(file, old, new),), guarantee, scenarios)


MUTATIONS = (
    mutation(
        "ack before commit",
        "the answer 200 leaves before the transaction has committed, or although it failed",
        "ingest/inbox.py",
        "return await done",
        'return AcceptResult("", "accepted")',
        guarantee=1,
        scenarios=("shaky",),
    ),
    mutation(
        "dispatched without a job",
        "now and then an event is marked as dispatched, and its job is lost",
        "ingest/dispatcher.py",
        "undispatched.link_jobs(connection, jobs_of)",
        "undispatched.link_jobs(connection, jobs_of)\n"
        "    if now.second % 4 == 0:\n"
        "        for job in jobs_of.values():\n"
        '            connection.exec_driver_sql("DELETE FROM jobs WHERE id = ?", (job.id,))',
        guarantee=1,
        scenarios=("shaky",),
    ),
    mutation(
        "crash leaves events behind",
        "a dispatcher takes only what has just arrived, and forgets what a crash left",
        "ingest/dispatcher.py",
        "self._write(partial(undispatched.claim, most=BATCH))",
        "self._write(lambda c: undispatched.Claim([row for row in undispatched.claim(c, BATCH).rows"
        " if (self._clock.now() - row.created_at).total_seconds() < 1]))",
        guarantee=1,
        scenarios=("shaky",),
    ),
    mutation(
        "events deduplicated by object",
        "a second event of an object counts as a copy of the first",
        "domain/event.py",
        '"|".join(map(str, parts)).encode() + b"|" + updates',
        "str((self.object_type, self.object_id)).encode()",
        guarantee=1,
    ),
    mutation(
        "no lease guard",
        "a process that lost a job's lease can still finish the job, with outdated knowledge",
        "store/jobs/endings.py",
        "is not None and row.lease_owner == ending.job.lease_owner",
        "is not None",
        guarantee=2,
    ),
    mutation(
        "overtaken job completed",
        "a job ends although events arrived while it ran",
        "store/jobs/endings.py",
        "overtaken = current.version > job.version",
        "overtaken = False",
        guarantee=2,
        scenarios=("crowd",),
    ),
    mutation(
        "event swallowed by a live job",
        "an event that arrives while its job runs causes no further run",
        "store/jobs/lifecycle.py",
        '"version": old.version + 1,',
        '"version": old.version,',
        guarantee=2,
        scenarios=("crowd",),
    ),
    mutation(
        "abandoned leases stay",
        "the leased jobs of a dead process never run again",
        "worker/rescuer.py",
        "await self._queue.rescue()",
        "0",
        guarantee=2,
    ),
    mutation(
        "tombstone ignored",
        "an activity that Strava no longer has stays in our database",
        "store/effects.py",
        "activities.tombstone(connection, activity_id, athlete_id, cause, now, at)",
        "pass",
        guarantee=2,
    ),
    mutation(
        "tombstone forever",
        "an activity that Strava shows again stays a tombstone",
        "store/activities.py",
        '    if row.sync_status == "deleted":\n        log_change(',
        '    if row.sync_status == "deleted":\n        return\n        log_change(',
        guarantee=2,
        scenarios=("crowd",),
    ),
    mutation(
        "delete believed",
        "an unsigned delete turns an existing activity into a tombstone",
        "handlers/refresh_activity.py",
        "not stored.live or (hint.verified and not _seen_since(stored, job.hint_time)):",
        "not stored.live or True:",
        guarantee=3,
    ),
    mutation(
        "deauthorization believed",
        "an unsigned event purges a connected athlete",
        "handlers/revoke_athlete.py",
        "if hint.verified and is_news:",
        "if True:",
        guarantee=3,
    ),
    mutation(
        "unproven departure purges",
        "an unproven event purges an athlete whose tokens Strava refused before it",
        "handlers/revoke_athlete.py",
        "if access.refused_since(job.first_received_at):",
        "if True:",
        guarantee=3,
    ),
    mutation(
        "half a list is a list",
        "a list that broke off counts as the complete list",
        "handlers/reconcile_athlete.py",
        "return ending(error, job, self.clock.now(), self.rng)",
        "listed, calls = [], 1",
        guarantee=3,
        scenarios=("inactive",),
    ),
    mutation(
        "budget not reserved",
        "calls leave without a reservation in the budget",
        "strava/limiter.py",
        "reservation = await self._budget.reserve(job.lane if job else Lane.INTERACTIVE)",
        "reservation = Reservation()",
        guarantee=4,
        scenarios=("narrow",),
    ),
    mutation(
        "429 not heeded",
        "a 429 closes no window, and costs its job an attempt",
        "strava/limiter.py",
        "if isinstance(error, RateLimited):",
        "if isinstance(error, RateLimited):\n            return answer\n        if False:",
        guarantee=4,
        scenarios=("shared",),
    ),
    mutation(
        "breaker never closes",
        "the application is active again, and feedzone does not notice",
        "strava/limiter.py",
        "await self._breaker.close()",
        "pass",
        scenarios=("inactive",),
    ),
    mutation(
        "breaker spends attempts",
        "jobs use up their attempts while the application is switched off",
        "strava/limiter.py",
        "raise await self._breaker.open_inactive(str(error))",
        "raise error",
        scenarios=("inactive",),
    ),
    mutation(
        "rotated pair not stored",
        "the old refresh token stays, although Strava has just replaced it",
        "strava/tokens.py",
        "return await self._rows.save_rotated(row.athlete_id, row.generation, grant)",
        "return True",
        guarantee=5,
    ),
    mutation(
        "refresh without a claim",
        "two processes can use the same refresh token",
        "store/tokens.py",
        'or_(_columns.refresh_lease_until.is_(None), _columns.refresh_lease_until <= bindparam("now")),',
        "",
        guarantee=5,
        scenarios=("crowd",),
    ),
    mutation(
        "5xx means revoked",
        "an outage of the token address counts as a revocation by the athlete",
        "strava/responses.py",
        "if not 400 <= status < 500:\n        return TransientError",
        "if status >= 500:\n        return TokenRevoked if call.token_endpoint else TransientError",
        guarantee=5,
        scenarios=("shaky",),
    ),
    mutation(
        "late refresh revives",
        "a refresh that was under way restores the tokens of a disconnected athlete",
        "store/tokens.py",
        ".where(_columns.id == athlete_id, _columns.token_generation == generation)",
        ".where(_columns.id == athlete_id)",
        guarantee=6,
        scenarios=("farewell",),
    ),
    mutation(
        "purge keeps streams",
        "the streams of a disconnected athlete stay",
        "store/schema/personal.py",
        'activity="channels blob",\n        deletion="removed",\n        leaving="removed",',
        'activity="channels blob",\n        deletion="removed",\n        leaving="stays",',
        guarantee=6,
        scenarios=("farewell",),
    ),
    mutation(
        "purge keeps payloads",
        "the events of a disconnected athlete stay, with the titles in them",
        "store/removals.py",
        "    _DELETE_EVENTS,\n",
        "",
        guarantee=6,
        scenarios=("farewell",),
    ),
    mutation(
        "early 404 is final",
        "an announced activity that Strava does not show yet is never stored",
        "handlers/missing_activity.py",
        'return Snooze(now + timedelta(seconds=delay), f"not ready: {absent}", hint=hint)',
        'return Done(note="not_visible")',
        scenarios=("crowd",),
    ),
    mutation(
        "early streams are final",
        "streams that Strava is still processing are marked absent",
        "handlers/refresh_activity.py",
        "may_come = look.expected and",
        "may_come = False and",
    ),
    mutation(
        "reconciliation sees no deletion",
        "an activity that is missing from a list is not checked at Strava",
        "handlers/reconcile_athlete.py",
        "missing = [number for number in stored if number not in seen]",
        "missing = []",
        scenarios=("lost_events",),
    ),
    mutation(
        "no reconciliation",
        "nothing finds the changes of lost events",
        "store/jobs/schedule.py",
        "if full or polling:",
        "if False:",
        scenarios=("lost_events",),
    ),
    mutation(
        "no rechecks",
        "a fresh activity is never fetched again",
        "handlers/refresh_activity.py",
        "if recheck is None:",
        "if True:",
    ),
    mutation(
        "any 404 is gone",
        "a 404 of anybody is Strava's word about the activity",
        "strava/responses.py",
        "    if not message or not faults:\n        return TransientError\n",
        "    if status == 404:\n        return NotVisible\n    if not message or not faults:\n"
        "        return TransientError\n",
        guarantee=3,
        scenarios=("impostor",),
    ),
    Mutation(
        "unknown answer is final",
        "what is neither a success nor a known error ends its job for good",
        (
            Edit(
                "strava/responses.py",
                "    if not 400 <= status < 500:\n        return TransientError\n",
                "    if not 400 <= status < 500:\n"
                "        return PermanentError if status < 400 else TransientError\n",
            ),
            Edit(
                "strava/responses.py",
                "    if not message or not faults:\n        return TransientError\n",
                "    if not message or not faults:\n        return PermanentError\n",
            ),
        ),
        guarantee=3,
        scenarios=("impostor",),
    ),
)
