"""The athletes who connected the application: codes, scopes, token pairs and seats.

See docs/strava-api.md#authorize, #token-exchange, #token-refresh and #revoke.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

SCOPES = ("read", "read_all", "profile:read_all", "profile:write", "activity:read", "activity:read_all",
          "activity:write")  # fmt: skip
TOKEN_LIFE_S = 21_600
RENEW_BELOW_S = 3_600
CODE_LIFE_S = 600
Rotation = Literal["always", "on_new_access", "never"]


class SeatsFullError(Exception):
    """The application has no free athlete seat."""


class InvalidGrantError(Exception):
    """The code or the refresh token is not valid, or no longer valid."""


@dataclass(slots=True)
class Grant:
    """The connection of an athlete: the granted scopes and the current pair of tokens."""

    athlete_id: int
    scopes: frozenset[str]
    access_token: str
    refresh_token: str
    expires_at: int

    @property
    def reads_activities(self) -> bool:
        """Return whether any activity may be read, and therefore whether activity events are sent."""
        return "activity:read" in self.scopes or self.reads_private

    @property
    def reads_private(self) -> bool:
        """Return whether "Only You" activities may be read."""
        return "activity:read_all" in self.scopes


class Grants:
    """All connections of one application. Tokens derive from the seed and a counter per athlete."""

    def __init__(self, seed: int, rotation: Rotation, seats: int | None) -> None:
        self.rotation = rotation
        self.seats = seats
        self.live: dict[int, Grant] = {}
        self.stale_token_uses: dict[str, int] = {}
        self._seed = seed
        self._token_counts: dict[int, int] = {}
        self._codes: dict[str, tuple[int, frozenset[str], float]] = {}
        self._access: dict[str, tuple[int, int]] = {}
        self._refresh: dict[str, int] = {}
        self._retired: dict[str, int] = {}

    def has_no_seat_for(self, athlete_id: int) -> bool:
        """Return whether no seat is free for this athlete; connected athletes keep their seat."""
        return self.seats is not None and athlete_id not in self.live and len(self.live) >= self.seats

    def authorize(self, athlete_id: int, scopes: frozenset[str], now: float) -> str:
        """Return a single-use code for a consent that was given."""
        code = self._token(athlete_id)
        self._codes[code] = (athlete_id, scopes, now + CODE_LIFE_S)
        return code

    def exchange(self, code: str, now: float, check_seats: bool) -> Grant:
        """Exchange a code for tokens.

        Raise InvalidGrantError for a used, unknown or expired code, SeatsFullError if no seat is free.
        """
        athlete_id, scopes, until = self._codes.pop(code, (0, frozenset(), 0.0))
        if until <= now:
            raise InvalidGrantError
        if check_seats and self.has_no_seat_for(athlete_id):
            raise SeatsFullError
        existing = self.live.get(athlete_id)
        if existing and existing.scopes == scopes:
            self._renew_access(existing, now)
            return existing
        if existing:
            self.drop(athlete_id)
        grant = Grant(athlete_id, scopes, "", self._token(athlete_id), 0)
        self.live[athlete_id] = grant
        self._refresh[grant.refresh_token] = athlete_id
        self._renew_access(grant, now)
        return grant

    def refresh(self, refresh_token: str, now: float) -> Grant:
        """Return the grant after a refresh. Raise InvalidGrantError for a revoked or rotated token."""
        athlete_id = self._refresh.get(refresh_token)
        if athlete_id is None:
            if refresh_token in self._retired:
                self.stale_token_uses[refresh_token] = self.stale_token_uses.get(refresh_token, 0) + 1
            raise InvalidGrantError
        grant = self.live[athlete_id]
        renewed = self._renew_access(grant, now)
        if self.rotation == "always" or (renewed and self.rotation == "on_new_access"):
            self._retire(grant)
            grant.refresh_token = self._token(athlete_id)
            self._refresh[grant.refresh_token] = athlete_id
        return grant

    def bearer(self, access_token: str, now: float) -> Grant | None:
        """Return the grant of an access token; None if it is unknown, expired or revoked."""
        athlete_id, expires_at = self._access.get(access_token, (0, 0))
        return self.live.get(athlete_id) if expires_at > now else None

    def owner_of(self, token: str) -> int | None:
        """Return the athlete to whom a valid access or refresh token belongs."""
        if token in self._refresh:
            return self._refresh[token]
        return self._access[token][0] if token in self._access else None

    def drop(self, athlete_id: int) -> bool:
        """End a connection and revoke all its tokens at once. Return False if there was none."""
        grant = self.live.pop(athlete_id, None)
        if grant is None:
            return False
        self._retire(grant)
        self._access = {token: entry for token, entry in self._access.items() if entry[0] != athlete_id}
        return True

    def expire_access(self, athlete_id: int) -> None:
        """Expire the athlete's access tokens now, as if six hours had passed."""
        self._access = {token: entry for token, entry in self._access.items() if entry[0] != athlete_id}
        self.live[athlete_id].expires_at = 0

    def _renew_access(self, grant: Grant, now: float) -> bool:
        """Replace the access token if less than an hour is left; the old one stays valid until it expires."""
        if grant.expires_at - now > RENEW_BELOW_S:
            return False
        grant.access_token, grant.expires_at = self._token(grant.athlete_id), int(now) + TOKEN_LIFE_S
        self._access[grant.access_token] = (grant.athlete_id, grant.expires_at)
        return True

    def _retire(self, grant: Grant) -> None:
        self._refresh.pop(grant.refresh_token, None)
        self._retired[grant.refresh_token] = grant.athlete_id

    def _token(self, athlete_id: int) -> str:
        count = self._token_counts[athlete_id] = self._token_counts.get(athlete_id, 0) + 1
        return hashlib.sha256(f"{self._seed}:{athlete_id}:{count}".encode()).hexdigest()[:40]
