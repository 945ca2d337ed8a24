"""Connect, sync and disconnect athletes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from ..domain.activity import LIST_AHEAD
from ..domain.athlete import AthleteProfile, Consent, TokenGrant, can_read_activities, parse_scopes
from ..domain.backfill import merge_backfills
from ..domain.effect import PurgeAthlete
from ..domain.job import (
    CALLS_AN_ACTIVITY,
    BackfillHint,
    Lane,
    RefreshHint,
    activity_key,
    athlete_key,
    job_now,
    revoke_job,
)
from ..domain.reconciliation import list_from
from ..errors import InvalidInput, NotFound
from ..ports import Clock, Wakeup
from ..store import activities, athletes, oauth_states, purge, removals
from ..store.engine.database import Connection, Database
from ..store.jobs import dead_letters, deferral, lifecycle, unfinished
from ..store.quota import allowances
from ..store.tokens import TokenTable
from ..strava.application import StravaApplication


class Connected(msgspec.Struct, frozen=True):
    """The result of a consent. `missing` are requested scopes that the athlete did not grant."""

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
    calls_per_hour: int = 30
    """The calls that one athlete may cause within an hour (ATHLETE_CALLS_PER_HOUR)."""
    forget_refused: Callable[[int], None] = lambda _: None
    """Forgets the refused deliveries of an athlete, outside of the database."""

    def consent_url(self, state: str, *, force: bool = False) -> str:
        """Return Strava's consent URL, with the one-time state that the browser must send back."""
        return self.application.consent_url(self.redirect_uri, state, force=force)

    async def use_state(self, state: str) -> bool:
        """Return whether a state is used for the first time."""
        now = self.clock.now()
        return await self.database.write(lambda c: oauth_states.use(c, state, now))

    async def connect(
        self, code: str, scope: str | None, consent: Consent | None = None, *, by_athlete: bool = False
    ) -> Connected:
        """Exchange the code; store athlete and tokens and start the backfill, in one transaction.

        It also retries what failed without access: a hundred jobs, and others in transactions of their own.

        A returning athlete also gets the activities since the disconnect, if that is longer than
        INITIAL_SYNC_DAYS. If the athlete's allowance is spent, the backfill begins when it is renewed.
        Raises SeatsFull, PermanentError (a code that was used before), TransientError, TransportFailure.
        """
        grant, profile = await self.application.exchange(code)
        granted = parse_scopes(scope)
        readable = can_read_activities(granted)
        status, reason = ("active", None) if readable else ("needs_scope", "activity:read was not granted")
        now = self.clock.now()

        def body(connection: Connection) -> bool | None:
            lifecycle.lock(connection, [athlete_key(profile.id)])
            athletes.lock(connection, profile.id)  # waits for a purge that is about to commit
            if removals.is_open(connection, profile.id):
                return None
            self._store(connection, profile, grant, granted, (status, reason), now)
            if consent is not None and consent.operator_may_see is not None:
                athletes.set_operator_access(connection, profile.id, consent.operator_may_see, now)
            return readable and self._sync_connected(connection, profile.id, now, by_athlete=by_athlete)

        while (may_call := await self.database.write(body)) is None:
            # Rows from before the departure must not mix with those of the new consent.
            await removals.complete(self.database, now)
        if may_call:
            await self._retry_denied(profile.id, now, by_athlete=by_athlete)
        self.wakeup.notify()
        missing = (scope for scope in ("activity:read", "activity:read_all") if scope not in granted)
        return Connected(profile, status, tuple(missing))

    def _sync_connected(
        self, connection: Connection, athlete_id: int, now: datetime, *, by_athlete: bool
    ) -> bool:
        """Enqueue or continue the backfill. Return whether the athlete may cause calls now."""
        known = athletes.synced_range(athletes.get(connection, athlete_id))
        default = now - timedelta(days=self.initial_sync_days)
        after = list_from(known, self.initial_sync_days, now) or default
        later = None
        if by_athlete:
            later = allowances.spent_until(connection, athlete_id, self.calls_per_hour, now)
            calls = allowances.cost_of_list(connection, athlete_id, after)
            allowances.charge(connection, athlete_id, calls, now)
        if later is None:
            retried = dead_letters.requeue_denied(connection, athlete_id, now)
            if by_athlete and retried:
                allowances.charge(connection, athlete_id, retried * CALLS_AN_ACTIVITY, now)
        self._enqueue_sync(connection, athlete_id, after, now, due_at=later)
        return later is None

    async def _retry_denied(self, athlete_id: int, now: datetime, *, by_athlete: bool) -> None:
        denied = dead_letters.of_denied(athlete_id)
        retried = await dead_letters.requeue_all(self.database, denied, now)
        if by_athlete and retried:
            calls = retried * CALLS_AN_ACTIVITY
            await self.database.write(lambda c: allowances.charge(c, athlete_id, calls, now))

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
        self,
        connection: Connection,
        athlete_id: int,
        after: datetime | None,
        now: datetime,
        due_at: datetime | None = None,
    ) -> None:
        """List activities that started since `after` (None: all), and those of a running list.

        The caller has locked the jobs.
        """
        athletes.lock(connection, athlete_id)  # no job may exist yet that another request could wait for
        requested = BackfillHint(
            before=int((now + LIST_AHEAD).timestamp()),
            after=None if after is None else int(after.timestamp()),
        )
        key = athlete_key(athlete_id)
        live = deferral.live(connection, "backfill_athlete", [key]).get(athlete_id)
        live_hint = live.hint if live else None
        hint = merge_backfills(live_hint if isinstance(live_hint, BackfillHint) else None, requested)
        if live is None or hint != live_hint:
            athletes.begin_sync(connection, athlete_id, after, now)
        elif live.running:
            return  # a newer version would make it fetch the same page again
        spec = job_now("backfill_athlete", key, athlete_id, hint, Lane.INTERACTIVE)
        lifecycle.enqueue(connection, [msgspec.structs.replace(spec, due_at=due_at)], now)

    async def sync(
        self,
        athlete_id: int,
        *,
        days: int | None = None,
        everything: bool = False,
        by_athlete: bool = False,
    ) -> None:
        """List the activities of the last `days` (None: INITIAL_SYNC_DAYS), or all; fetch those that differ.

        A longer backfill that is running continues; a shorter one becomes part of this.
        `by_athlete`: the athlete asks for it, so their allowance pays.
        Raises NotFound unless the athlete is connected, and AllowanceSpent.
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
            if by_athlete:
                calls = allowances.cost_of_list(connection, athlete_id, after)
                allowances.spend(connection, athlete_id, calls, self.calls_per_hour, now)
            self._enqueue_sync(connection, athlete_id, after, now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"athlete {athlete_id} is not connected")
        self.wakeup.notify()

    async def refresh_activity(self, activity_id: int, *, by_athlete: bool = False) -> None:
        """Fetch one activity again now. Raises NotFound if it is not stored, and AllowanceSpent (`sync`)."""
        now = self.clock.now()

        def body(connection: Connection) -> bool:
            stored = activities.load(connection, activity_id)
            if stored is None:
                return False
            if by_athlete:
                allowances.spend(connection, stored.athlete_id, CALLS_AN_ACTIVITY, self.calls_per_hour, now)
            hint, key = RefreshHint(cause="request"), activity_key(activity_id)
            spec = job_now("refresh_activity", key, stored.athlete_id, hint, Lane.INTERACTIVE)
            lifecycle.enqueue(connection, [spec], now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"activity {activity_id} is not in the database")
        self.wakeup.notify()

    async def let_operator_see(self, athlete_id: int, allowed: bool) -> None:
        """Set whether the operator may see the athlete's activities. Raises NotFound."""
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

        Summaries of newly chosen sports are fetched. Raises NotFound, InvalidInput.
        """
        chosen = None if sports is None else frozenset(sport.strip() for sport in sports if sport.strip())
        if chosen is not None and not chosen:
            raise InvalidInput("name at least one sport type, such as Ride or TrailRun")
        now = self.clock.now()

        def body(connection: Connection) -> bool:
            if athletes.statuses(connection, [athlete_id]).get(athlete_id) in (None, "deauthorized"):
                return False
            athletes.set_wanted_sports(connection, athlete_id, chosen, now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"athlete {athlete_id} is not connected")
        await unfinished.fetch_chosen(self.database, athlete_id, now)
        self.wakeup.notify()

    async def disconnect(self, athlete_id: int) -> None:
        """Delete the athlete's data at once; a job revokes access at Strava, and retries until it succeeds.

        Raises NotFound unless the athlete is connected.
        """
        now = self.clock.now()

        def body(connection: Connection) -> bool:
            row = athletes.get(connection, athlete_id)
            if row is None or row.status == "deauthorized":
                return False
            sealed, refreshed_by = row.refresh_token_encrypted, row.refresh_lease_until
            # A consent that is given at the same moment is a later wish.
            wish = PurgeAthlete(athlete_id, "disconnected", "request", "the operator", row.connected_at)
            if not purge.purge(connection, wish, now):
                return False
            # If a refresh is running, its new token pair is the one to revoke (save_rotated).
            due = refreshed_by if refreshed_by is not None and refreshed_by > now else None
            lifecycle.enqueue(connection, [revoke_job(athlete_id, sealed, due)], now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"athlete {athlete_id} is not connected")
        self.forget_refused(athlete_id)
        await removals.complete(self.database, now)
        await self.database.erase_deleted()
        self.wakeup.notify()
