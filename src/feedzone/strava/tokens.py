"""Access tokens: one caller at a time, across all processes, refreshes an athlete's pair.

Two refreshes at once could end with a stored pair that Strava has already replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from ..domain.athlete import TokenGrant, TokenRow
from ..errors import (
    NotConnected,
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
"""A refresh by another process usually takes less than a second; the pauses between polls double, up to
this."""

CLAIM_SLACK_S = 5.0
"""Seconds by which a claim outlasts the longest possible refresh."""

SAVE_TRIES = 8

Refresh = Callable[[str], Awaitable[TokenGrant]]


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
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def usable(self, athlete_id: int) -> TokenRow:
        """Return a token pair with an hour left if Strava answers; else one that has not expired."""
        row = await self._row(athlete_id)
        left = row.expires_at - self._clock.now()
        # After a refresh without a response the refresh token may be dead: do not try it while the
        # access token works.
        if left > REFRESH_BEFORE or (row.uncertain_at is not None and left > timedelta(0)):
            return row
        return await self._renewed(row)

    async def replace(self, rejected: TokenRow) -> TokenRow:
        """Return a newer pair than the one that Strava has just rejected."""
        return await self._renewed(rejected, rejected=True)

    async def _row(self, athlete_id: int) -> TokenRow:
        row = await self._rows.load(athlete_id)
        if row is None or row.status == "deauthorized":
            raise NotConnected(f"athlete {athlete_id} is not connected")
        if row.status in ("needs_reauth", "leaving"):
            raise NotConnected(f"athlete {athlete_id} has to connect again: Strava revoked our access")
        return row

    async def _renewed(self, stale: TokenRow, *, rejected: bool = False) -> TokenRow:
        # The claim alone decides. The lock only keeps this process's tasks from polling the database.
        lock = self._locks.setdefault(stale.athlete_id, asyncio.Lock())
        async with lock:
            deadline = self._clock.now() + timedelta(seconds=self._patience_s * 2)
            pause = POLL_S
            while True:
                row = await self._row(stale.athlete_id)
                if row.generation != stale.generation:
                    return row
                claiming_at = self._clock.now()
                claimed = await self._rows.claim_refresh(
                    row.athlete_id, row.generation, self._owner, self._patience_s + CLAIM_SLACK_S
                )
                # If the process was suspended meanwhile, another one may have taken the claim over.
                prompt = self._clock.now() - claiming_at < timedelta(seconds=CLAIM_SLACK_S)
                if claimed and prompt:
                    return await self._refresh_claimed(row, rejected=rejected)
                if not claimed and self._clock.now() >= deadline:
                    raise TransportFailure("another process holds the token refresh and does not finish it")
                await self._clock.sleep(pause)
                pause = min(POLL_MOST_S, pause * 2)

    async def _refresh_claimed(self, row: TokenRow, *, rejected: bool) -> TokenRow:
        try:
            grant = await self._ask(row.refresh_token)
        except TokenRevoked as verdict:
            await self._rows.release_refresh(row.athlete_id, self._owner, uncertain=False)
            return await self._judge(row, verdict)
        except StravaError as failure:
            uncertain = isinstance(failure, TransportFailure) and failure.acted is not False
            await self._rows.release_refresh(row.athlete_id, self._owner, uncertain=uncertain)
            if not rejected and row.expires_at > self._clock.now():
                return row  # the access token still works, so Strava's outage need not stop us
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
                return await self._refresh(refresh_token)
            except TransientError:
                if self._clock.now() - began > timedelta(seconds=CLAIM_SLACK_S / 2):
                    raise  # the last try must end before the claim does
                await self._clock.sleep(pause)
        return await self._refresh(refresh_token)

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
