"""Deliberate mutations of the engine, as data: what each breaks, and the text that makes it so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class MutationDoesNotFit(Exception):
    """The engine's source has changed: the text to be replaced is not there exactly once."""


@dataclass(frozen=True)
class Edit:
    """Replace `old`, which stands exactly once in `file` (under src/feedzone)."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """`breaks` says in one line what no longer holds; `guarantee` which one of ARCHITECTURE.md, if any."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    guarantee: int | None = None
    scenarios: tuple[str, ...] = ("hostile",)

    def apply(self, package: Path) -> None:
        """Write the mutation into this copy of the package."""
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
    """One that is a single edit."""
    return Mutation(name, breaks, (Edit(file, old, new),), guarantee, scenarios)


MUTATIONS = (
    mutation(
        "ack before commit",
        "200 is answered while the transaction is still under way, or has failed",
        "ingest/inbox.py",
        "return await asyncio.shield(done)",
        'return AcceptResult("", "accepted")',
        guarantee=1,
        scenarios=("shaky",),
    ),
    Mutation(
        "job in a second transaction",
        "an event and the job it causes are no longer durable together",
        (
            Edit(
                "ingest/dispatcher.py",
                "now: datetime) -> list[AcceptResult]:",
                "now, work) -> list[AcceptResult]:",
            ),
            Edit(
                "ingest/dispatcher.py",
                "_enqueue(connection, [one for one in judged if",
                "work.extend([one for one in judged if",
            ),
            Edit("ingest/dispatcher.py", "one.event_id in new], now)", "one.event_id in new])"),
            Edit(
                "ingest/inbox.py",
                "lambda c: accept(c, deliveries, now))",
                "lambda c: accept(c, deliveries, now, work := []) + [work])\n"
                "            from .dispatcher import _enqueue\n"
                "            work = receipts.pop()\n"
                "            await self._database.write(lambda c: _enqueue(c, work, now))",
            ),
        ),
        guarantee=1,
        scenarios=("shaky",),
    ),
    mutation(
        "events deduplicated by object",
        "a second event of an object is taken for a copy of the first",
        "domain/event.py",
        '"|".join(map(str, parts)).encode() + b"|" + updates',
        "str((self.object_type, self.object_id)).encode()",
        guarantee=1,
    ),
    mutation(
        "no lease guard",
        "whoever has lost a job's lease may still finish it, with what it knew then",
        "store/jobs/lifecycle.py",
        '_columns.state == "running",\n        _columns.lease_owner == bindparam("holder"),',
        '_columns.state != "dead",',
        guarantee=2,
    ),
    mutation(
        "overtaken job completed",
        "a job ends although events came while it ran",
        "store/jobs/lifecycle.py",
        "overtaken = current.version > job.version",
        "overtaken = False",
        guarantee=2,
        scenarios=("crowd",),
    ),
    mutation(
        "event swallowed by a live job",
        "an event that comes while its job runs causes no other run",
        "store/jobs/lifecycle.py",
        '"version": old.version + 1,',
        '"version": old.version,',
        guarantee=2,
        scenarios=("crowd",),
    ),
    mutation(
        "abandoned leases stay",
        "nobody runs again what a dead process had leased",
        "worker/rescuer.py",
        "await self._queue.rescue()",
        "0",
        guarantee=2,
    ),
    mutation(
        "tombstone ignored",
        "an activity that is gone at Strava stays here",
        "store/effects.py",
        "activities.tombstone(connection, activity_id, athlete_id, cause, now)",
        "pass",
        guarantee=2,
    ),
    mutation(
        "tombstone for ever",
        "an activity that is shown again stays buried",
        "store/activities.py",
        '    if row.sync_status == "deleted":\n        _log(',
        '    if row.sync_status == "deleted":\n        return\n        _log(',
        guarantee=2,
        scenarios=("crowd",),
    ),
    mutation(
        "delete believed",
        "an unsigned delete buries an activity that is alive",
        "handlers/refresh_activity.py",
        "not held.live or (hint.verified and not _seen_since(held, job.hint_time)):",
        "not held.live or True:",
        guarantee=3,
    ),
    mutation(
        "deauthorisation believed",
        "an unsigned event purges an athlete who has not left",
        "handlers/revoke_athlete.py",
        "if hint.verified and await self._is_still_true(job):",
        "if True:",
        guarantee=3,
    ),
    mutation(
        "half a list is a list",
        "a list that could not be read to its end counts as all there is",
        "handlers/reconcile_athlete.py",
        "return ending(error, job, self.clock.now(), self.rng)",
        "listed, calls = [], 1",
        guarantee=3,
        scenarios=("inactive",),
    ),
    mutation(
        "budget not reserved",
        "calls are made without asking whether there is room for them",
        "strava/limiter.py",
        "leave = await self._budget.reserve(job.lane if job else Lane.INTERACTIVE)",
        "leave = Reservation()",
        guarantee=4,
        scenarios=("narrow",),
    ),
    mutation(
        "429 not heeded",
        "a refusal for the limit closes no window, and costs its job attempts",
        "strava/limiter.py",
        "if response.status in (429, 403) and",
        "if response.status == 429:\n            return response\n        if",
        guarantee=4,
        scenarios=("shared",),
    ),
    mutation(
        "breaker never closes",
        "the application is on again, and feedzone does not notice",
        "strava/limiter.py",
        "await self._breaker.close()",
        "pass",
        scenarios=("inactive",),
    ),
    mutation(
        "breaker spends attempts",
        "jobs use their attempts up while the application is switched off",
        "strava/limiter.py",
        "raise await self._breaker.open_inactive(str(error))",
        "raise error",
        scenarios=("inactive",),
    ),
    mutation(
        "rotated pair not stored",
        "the old refresh token stays, which Strava has just ended",
        "strava/tokens.py",
        "return await self._rows.save_rotated(row.athlete_id, row.generation, grant)",
        "return True",
        guarantee=5,
    ),
    mutation(
        "refresh without a claim",
        "two processes may use the same refresh token",
        "store/tokens.py",
        'or_(_columns.refresh_lease_until.is_(None), _columns.refresh_lease_until <= bindparam("now")),',
        "",
        guarantee=5,
        scenarios=("crowd",),
    ),
    mutation(
        "5xx means revoked",
        "an outage of the token address is taken for the athlete's leaving",
        "strava/answers.py",
        "status == 408:\n        return TransientError",
        "status == 408:\n        return TokenRevoked if token_endpoint else TransientError",
        guarantee=5,
        scenarios=("shaky",),
    ),
    mutation(
        "late refresh revives",
        "a refresh that was under way brings the tokens of somebody back who has left",
        "store/tokens.py",
        ".where(_columns.id == athlete_id, _columns.token_generation == generation)",
        ".where(_columns.id == athlete_id)",
        guarantee=6,
        scenarios=("farewell",),
    ),
    mutation(
        "purge keeps streams",
        "the streams of an athlete who has left stay",
        "store/schema/personal.py",
        "KEPT_OF_ATHLETE: Mapping[str, str] = {\n",
        'KEPT_OF_ATHLETE: Mapping[str, str] = {\n    "activity_streams": "a mistake",\n',
        guarantee=6,
        scenarios=("farewell",),
    ),
    mutation(
        "purge keeps payloads",
        "the events of an athlete who has left stay, with the titles in them",
        "store/purge.py",
        "events.purge_athlete(connection, athlete_id, kept)",
        "0",
        guarantee=6,
        scenarios=("farewell",),
    ),
    mutation(
        "early 404 is final",
        "an activity that Strava announces and does not show yet is given up",
        "handlers/refresh_activity.py",
        'return Snooze(now + timedelta(seconds=delay), f"not ready: {absent}")',
        'return Done(note="not_visible")',
        scenarios=("crowd",),
    ),
    mutation(
        "early streams are final",
        "streams that Strava is still making are called absent",
        "handlers/refresh_activity.py",
        "hopeful = seen is not None and",
        "hopeful = False and",
    ),
    mutation(
        "reconciliations see no deletion",
        "what a list does not have is not asked for",
        "handlers/reconcile_athlete.py",
        "missing = [number for number in held if number not in seen]",
        "missing = []",
        scenarios=("deaf",),
    ),
    mutation(
        "no reconciliations",
        "nothing is compared: an event that was lost is lost",
        "store/jobs/schedule.py",
        "if full or polling:",
        "if False:",
        scenarios=("deaf",),
    ),
    mutation(
        "no later looks",
        "a fresh activity is not looked at again",
        "handlers/refresh_activity.py",
        "if look is None:",
        "if True:",
    ),
)
