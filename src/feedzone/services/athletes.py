"""Connect, disconnect, sync."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from ..domain.activity import FUTURE
from ..domain.athlete import AthleteProfile, Consent, TokenGrant, can_read_activities, parse_scopes
from ..domain.comparison import reach
from ..domain.effect import PurgeAthlete
from ..domain.history import joined
from ..domain.job import (
    BackfillHint,
    Lane,
    RefreshHint,
    activity_key,
    athlete_key,
    backfill_job,
    job_now,
    revoke_job,
)
from ..errors import InvalidInput, NotFound
from ..ports import Clock, Wakeup
from ..store import activities, athletes, oauth_states, purge
from ..store.engine.database import Connection, Database
from ..store.jobs import dead_letters, deferral, lifecycle
from ..store.tokens import TokenTable
from ..strava.application import StravaApplication


class Connected(msgspec.Struct, frozen=True):
    """What came of a consent. `missing` are scopes that were asked for and not granted."""

    athlete: AthleteProfile
    status: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class AthleteService:
    database: Database
    clock: Clock
    wakeup: Wakeup
    tokens: TokenTable
    application: StravaApplication
    redirect_uri: str
    initial_sync_days: int

    async def begin_consent(
        self, *, force: bool = False, operator_may_see: bool | None = None
    ) -> tuple[str, str]:
        """A consent URL of Strava's and the one-time state in it, which the browser must bring back."""
        state = secrets.token_urlsafe(24)
        now = self.clock.now()
        await self.database.write(lambda c: oauth_states.issue(c, state, now, operator_may_see))
        return self.application.consent_url(self.redirect_uri, state, force=force), state

    async def redeem_state(self, state: str) -> Consent | None:
        """Once for each state that was issued: what was agreed to; else None."""
        now = self.clock.now()
        return await self.database.write(lambda c: oauth_states.redeem(c, state, now))

    async def connect(self, code: str, scope: str | None, consent: Consent | None = None) -> Connected:
        """Exchange the code, store the athlete and the tokens, and begin the first sync, or nothing of it.

        Who was away for longer than INITIAL_SYNC_DAYS gets what began meanwhile, too.
        Raises SeatsFull, PermanentError (a code that was used before), TransientError, TransportFailure.
        """
        grant, profile = await self.application.exchange(code)
        granted = parse_scopes(scope)
        readable = can_read_activities(granted)
        status, reason = ("active", None) if readable else ("needs_scope", "activity:read was not granted")
        now = self.clock.now()

        def body(connection: Connection) -> None:
            lifecycle.lock(connection, [athlete_key(profile.id)])
            self._store(connection, profile, grant, granted, (status, reason), now)
            if consent is not None and consent.operator_may_see is not None:
                athletes.set_operator_access(connection, profile.id, consent.operator_may_see, now)
            if readable:
                dead_letters.requeue_denied(connection, profile.id, now)
                known = athletes.synced_history(athletes.get(connection, profile.id))
                after = reach(known, self.initial_sync_days, now)
                self._enqueue_sync(
                    connection, profile.id, after or now - timedelta(days=self.initial_sync_days), now
                )

        await self.database.write(body)
        self.wakeup.notify()
        wanted = ("activity:read", "activity:read_all")
        return Connected(profile, status, tuple(name for name in wanted if name not in granted))

    def _store(
        self,
        connection: Connection,
        profile: AthleteProfile,
        grant: TokenGrant,
        granted: frozenset[str],
        state: tuple[str, str | None],
        now: datetime,
    ) -> None:
        purge.cancel_revoke(connection, profile.id)
        athletes.connect(connection, profile, ",".join(sorted(granted)), *state, now)
        self.tokens.save_exchanged(connection, profile.id, grant, now)

    def _enqueue_sync(
        self, connection: Connection, athlete_id: int, after: datetime | None, now: datetime
    ) -> None:
        """List what started since `after` (None: all), and what is being listed already. Jobs are locked."""
        athletes.lock(connection, athlete_id)  # there may be no job yet that another request could wait for
        wanted = BackfillHint(
            before=int((now + FUTURE).timestamp()), after=None if after is None else int(after.timestamp())
        )
        key = athlete_key(athlete_id)
        going_on = deferral.live(connection, "backfill_athlete", [key]).get(athlete_id)
        under_way = going_on.hint if going_on else None
        hint = joined(under_way if isinstance(under_way, BackfillHint) else None, wanted)
        if going_on is None or hint != under_way:
            athletes.begin_sync(connection, athlete_id, after, now)
        elif going_on.running:
            return  # a newer version would have it ask for the same page again
        lifecycle.enqueue(
            connection, [job_now("backfill_athlete", key, athlete_id, hint, Lane.INTERACTIVE)], now
        )

    async def sync(self, athlete_id: int, *, days: int | None = None, everything: bool = False) -> None:
        """List the activities of the last `days` (None: INITIAL_SYNC_DAYS), or all; fetch what differs.

        A longer history that is being listed goes on where it is; a shorter one becomes part of this.
        Raises NotFound for an athlete who is not connected.
        """
        if days is not None and days < 1:
            raise InvalidInput("days takes a whole number from 1")
        now = self.clock.now()
        after = None if everything else now - timedelta(days=days or self.initial_sync_days)

        def body(connection: Connection) -> bool:
            lifecycle.lock(connection, [athlete_key(athlete_id)])
            status = athletes.statuses(connection, [athlete_id]).get(athlete_id)
            if status in (None, "deauthorized"):
                return False
            self._enqueue_sync(connection, athlete_id, after, now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"athlete {athlete_id} is not connected")
        self.wakeup.notify()

    async def refresh_activity(self, activity_id: int) -> None:
        """Fetch one activity again now. Raises NotFound for one that we do not hold."""
        now = self.clock.now()

        def body(connection: Connection) -> bool:
            held = activities.load(connection, activity_id)
            if held is None:
                return False
            hint, key = RefreshHint(cause="request"), activity_key(activity_id)
            spec = job_now("refresh_activity", key, held.athlete_id, hint, Lane.INTERACTIVE)
            lifecycle.enqueue(connection, [spec], now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"activity {activity_id} is not in the database")
        self.wakeup.notify()

    async def let_operator_see(self, athlete_id: int, allowed: bool) -> None:
        """Whether the operator may see the athlete's activities. Raises NotFound."""
        now = self.clock.now()

        def body(connection: Connection) -> bool:
            if athletes.statuses(connection, [athlete_id]).get(athlete_id) in (None, "deauthorized"):
                return False
            athletes.set_operator_access(connection, athlete_id, allowed, now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"athlete {athlete_id} is not connected")

    async def keep_sports(self, athlete_id: int, sports: Collection[str] | None) -> None:
        """Fetch details and streams of these sport types alone (None: of all); others stay summaries.

        What is wanted from now on and was left a summary is fetched. Raises NotFound, InvalidInput.
        """
        wanted = None if sports is None else frozenset(sport.strip() for sport in sports if sport.strip())
        if wanted is not None and not wanted:
            raise InvalidInput("name at least one sport type, such as Ride or TrailRun")
        now = self.clock.now()

        def body(connection: Connection) -> bool:
            if athletes.statuses(connection, [athlete_id]).get(athlete_id) in (None, "deauthorized"):
                return False
            athletes.set_wanted_sports(connection, athlete_id, wanted, now)
            left = activities.summaries_only(connection, athlete_id, wanted)
            lifecycle.enqueue(connection, [backfill_job(athlete_id, *one) for one in left], now)
            activities.mark_pending(connection, [number for number, _ in left], now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"athlete {athlete_id} is not connected")
        self.wakeup.notify()

    async def disconnect(self, athlete_id: int) -> None:
        """Remove the athlete here at once; Strava is told by a job, for as long as that takes.

        Raises NotFound for an athlete who is not connected.
        """
        now = self.clock.now()

        def body(connection: Connection) -> bool:
            row = athletes.get(connection, athlete_id)
            if row is None or row.status == "deauthorized":
                return False
            sealed, refreshed_by = row.refresh_token_encrypted, row.refresh_lease_until
            purge.purge(connection, PurgeAthlete(athlete_id, "disconnected", "request", "the operator"), now)
            # A pair that is just being replaced: it is the new one that is to be revoked (save_rotated).
            due = refreshed_by if refreshed_by is not None and refreshed_by > now else None
            lifecycle.enqueue(connection, [revoke_job(athlete_id, sealed, due)], now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"athlete {athlete_id} is not connected")
        await self.database.erase_deleted()
        self.wakeup.notify()
