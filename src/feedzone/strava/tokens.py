"""Access tokens: one caller at a time, across all processes, refreshes an athlete's pair.

Two refreshes at once could end with a stored pair that Strava has already replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import datetime, timedelta

from ..domain.athlete import TokenGrant, TokenRow
from ..domain.job import Job, running_job
from ..errors import (
    NotConnected,
    RefreshPending,
    StorageUnavailable,
    StravaError,
    TokenRevoked,
    TransientError,
    TransportFailure,
)
from ..ports import Clock, TokenRows
from .responses import PAUSES_S

REFRESH_BEFORE = timedelta(hours=1)
"""With more than an hour left Strava returns the same access token (docs/strava-api.md#token-refresh)."""

POLL_S = 0.05
POLL_MOST_S = 0.8
"""A refresh by another caller usually takes less than a second; the pauses between looks double, up to
this."""

PATIENCE_S = 2.0
"""How long a caller without a working token waits for a refresh that is under way. Then its job leaves the
slot to other athletes' jobs."""

BUSY_S = 3.0
"""After which such a job looks again."""

AGAIN_S = 10.0
"""After which a silent address is tried again."""

SILENCE_S = 60.0
"""The pause after a request without a response, until the same refresh token is sent again."""

AT_ONCE = 4
"""The most refreshes of this process at a time; one while the address is silent. Each may hold a slot for
SYNC_TIMEOUT_MS."""

CLAIM_SLACK_S = 5.0
"""Seconds by which a claim outlasts the longest possible refresh."""

SAVE_TRIES = 8

REUSED_FOR = timedelta(seconds=5)
"""How long a run uses the pair of its last call again without reading it: it makes several calls in a row."""


Refresh = Callable[[str], Awaitable[TokenGrant]]

_last_pair: ContextVar[tuple[Job, TokenRow, datetime] | None] = ContextVar("last_pair", default=None)
"""The running job, and the pair that its last call has read, with the time. Each run has a context."""


class TokenKeeper:
    """Returns usable tokens; `refresh` asks Strava for a new pair, given the refresh token."""

    def __init__(
        self, rows: TokenRows, clock: Clock, refresh: Refresh, *, owner: str, patience_s: float
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._refresh = refresh
        self._owner = owner
        self._patience_s = patience_s
        self._under_way: set[int] = set()
        """The athletes whose pair this process refreshes now."""
        self._silent_until: datetime | None = None
        """When the token address may be tried again; None: it has answered the last request."""

    async def usable(self, athlete_id: int) -> TokenRow:
        """Return a token pair with an hour left if Strava answers; else one that has not expired."""
        row = self._of_this_run(athlete_id) or await self._row(athlete_id)
        if row.expires_at - self._clock.now() > REFRESH_BEFORE:
            return row
        # While another caller refreshes, and after a refresh without a response, the refresh token may be
        # dead: do not try it while the access token works.
        uncertain = row.uncertain_at is not None or row.refreshing_until is not None
        if uncertain and self._works(row):
            return row
        return await self._renewed(row)

    async def replace(self, rejected: TokenRow) -> TokenRow:
        """Return a newer pair than the one that Strava has just rejected."""
        _last_pair.set(None)
        return await self._renewed(rejected, rejected=True)

    def _of_this_run(self, athlete_id: int) -> TokenRow | None:
        """Return the pair that the running job has just read for its last call."""
        job, last, now = running_job.get(), _last_pair.get(), self._clock.now()
        if last is None or last[0] is not job or last[1].athlete_id != athlete_id:
            return None
        return last[1] if now - REUSED_FOR < last[2] <= now else None

    async def _row(self, athlete_id: int) -> TokenRow:
        row = await self._rows.load(athlete_id)
        if row is None or row.status == "deauthorized":
            raise NotConnected(f"athlete {athlete_id} is not connected")
        if row.status in ("needs_reauth", "leaving"):
            raise NotConnected(f"athlete {athlete_id} has to connect again: Strava revoked our access")
        job = running_job.get()
        _last_pair.set(None if job is None else (job, row, self._clock.now()))
        return row

    def _works(self, row: TokenRow) -> bool:
        return row.expires_at > self._clock.now()

    async def _renewed(self, stale: TokenRow, *, rejected: bool = False) -> TokenRow:
        """Return a newer pair than `stale`, or the stale one while it works and no refresh is possible.

        Raises RefreshPending when a refresh must wait.
        """
        pause, waited = POLL_S, 0.0
        while True:
            row = await self._row(stale.athlete_id)
            if row.generation != stale.generation:
                return row
            not_before = self._not_before(row)
            if not_before is None and not self._is_busy(row.athlete_id):
                renewed = await self._claim_and_refresh(row, rejected=rejected)
                if renewed is not None:
                    return renewed
            if not rejected and self._works(row):
                return row
            if not_before is not None or self._silent_until is not None or waited >= PATIENCE_S:
                raise RefreshPending(not_before or self._clock.now() + timedelta(seconds=BUSY_S))
            await self._clock.sleep(pause)
            pause, waited = min(POLL_MOST_S, pause * 2), waited + pause

    def _is_busy(self, athlete_id: int) -> bool:
        most = AT_ONCE if self._silent_until is None else 1
        return athlete_id in self._under_way or len(self._under_way) >= most

    def _not_before(self, row: TokenRow) -> datetime | None:
        """Return until when the refresh token must not be sent; None: it may be sent now."""
        silences = [self._silent_until] if self._silent_until is not None else []
        if row.uncertain_at is not None:
            silences.append(row.uncertain_at + timedelta(seconds=SILENCE_S))
        longest = max(silences, default=self._clock.now())
        return longest if longest > self._clock.now() else None

    async def _claim_and_refresh(self, row: TokenRow, *, rejected: bool) -> TokenRow | None:
        """Return the new pair; None if another process refreshes it."""
        self._under_way.add(row.athlete_id)
        try:
            claiming_at = self._clock.now()
            claimed = await self._rows.claim_refresh(
                row.athlete_id, row.generation, self._owner, self._patience_s + CLAIM_SLACK_S
            )
            # If the process was suspended meanwhile, another one may have taken the claim over.
            prompt = self._clock.now() - claiming_at < timedelta(seconds=CLAIM_SLACK_S)
            return await self._refresh_claimed(row, rejected=rejected) if claimed and prompt else None
        finally:
            self._under_way.discard(row.athlete_id)

    async def _refresh_claimed(self, row: TokenRow, *, rejected: bool) -> TokenRow:
        try:
            grant = await self._ask(row.refresh_token)
        except TokenRevoked as verdict:
            await self._rows.release_refresh(row.athlete_id, self._owner, uncertain=False)
            return await self._judge(row, verdict)
        except StravaError as failure:
            uncertain = isinstance(failure, TransportFailure) and failure.acted is not False
            await self._rows.release_refresh(row.athlete_id, self._owner, uncertain=uncertain)
            if not rejected and self._works(row):
                return row  # the access token still works, so Strava's outage need not stop us
            if isinstance(failure, TransportFailure):
                silence = SILENCE_S if uncertain else AGAIN_S
                raise RefreshPending(self._clock.now() + timedelta(seconds=silence)) from failure
            raise
        except asyncio.CancelledError:
            await self._rows.release_refresh(row.athlete_id, self._owner, uncertain=True)
            raise
        # Shielded: a pair that Strava has issued must be stored, even if the caller is cancelled.
        await asyncio.shield(self._save(row, grant))
        # Not the new pair itself: a new consent may have replaced it, or the athlete disconnected.
        return await self._row(row.athlete_id)

    async def _ask(self, refresh_token: str) -> TokenGrant:
        """Request a new pair; repeat at once when Strava answers with a transient error.

        Without any response Strava may have rotated the pair and ended the old token. That request is
        never repeated blindly.
        """
        began = self._clock.now()
        for pause in PAUSES_S:
            try:
                return await self._request(refresh_token)
            except TransientError:
                if self._clock.now() - began > timedelta(seconds=CLAIM_SLACK_S / 2):
                    raise  # the last try must end before the claim does
                await self._clock.sleep(pause)
        return await self._request(refresh_token)

    async def _request(self, refresh_token: str) -> TokenGrant:
        """Request a new pair once, and note whether the address answers at all."""
        try:
            grant = await self._refresh(refresh_token)
        except TransportFailure:
            self._silent_until = self._clock.now() + timedelta(seconds=AGAIN_S)
            raise
        except StravaError:
            self._silent_until = None
            raise
        self._silent_until = None
        return grant

    async def _save(self, row: TokenRow, grant: TokenGrant) -> bool:
        """Store the new pair, and retry while the database is busy.

        The old refresh token may be dead already, so the new one must not be lost.
        """
        for attempt in range(1, SAVE_TRIES + 1):
            try:
                return await self._rows.save_rotated(row.athlete_id, row.generation, grant)
            except StorageUnavailable:
                if attempt == SAVE_TRIES:
                    raise
                await self._clock.sleep(0.2 * attempt)
        raise AssertionError("unreachable")

    async def _judge(self, row: TokenRow, verdict: TokenRevoked) -> TokenRow:
        """Handle a refused refresh token: read the row again before declaring the access revoked."""
        newer = await self._newest(row)
        if newer is not None and newer.generation != row.generation:
            return newer
        # A claim that existed before ours had expired: its process died in the middle of a refresh.
        reason = _reason(row.uncertain_at or row.refreshing_until)
        if newer is None or await self._rows.mark(row.athlete_id, row.generation, "needs_reauth", reason):
            raise verdict
        return await self._row(row.athlete_id)

    async def _newest(self, row: TokenRow) -> TokenRow | None:
        """Return the current pair, after waiting for a refresh that may still be under way.

        A claim that has expired by our clock may be valid by another machine's: that process may have just
        received a new pair and be about to store it.
        """
        until = self._clock.now() + timedelta(seconds=CLAIM_SLACK_S)
        while True:
            newer = await self._rows.load(row.athlete_id)
            if newer is None or newer.generation != row.generation:
                return newer
            if row.refreshing_until is None or self._clock.now() >= until:
                return newer
            await self._clock.sleep(POLL_MOST_S)


def _reason(uncertain_at: datetime | None) -> str:
    if uncertain_at is not None:
        when = uncertain_at.strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"a refresh at {when} got no response; Strava has probably rotated the token: connect again"
    return "Strava does not accept the refresh token: access was revoked; connect again"
