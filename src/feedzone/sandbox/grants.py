"""Who has connected the application: codes, scopes, token pairs and seats (contract sections 2 to 5)."""

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
    """Limit of connected athletes exceeded"""


class InvalidGrantError(Exception):
    """The code or the refresh token is not valid (any more)."""


@dataclass(slots=True)
class Grant:
    """A connected athlete: what was allowed, and the current pair of tokens."""

    athlete_id: int
    scopes: frozenset[str]
    access_token: str
    refresh_token: str
    expires_at: int

    @property
    def reads_activities(self) -> bool:
        """Whether any activity may be read, and so whether activity events are sent."""
        return "activity:read" in self.scopes or self.reads_private

    @property
    def reads_private(self) -> bool:
        """Whether "Only You" activities may be read."""
        return "activity:read_all" in self.scopes


class Grants:
    """All connections of one application. Tokens are made from the seed and a counter per athlete."""

    def __init__(self, seed: int, rotation: Rotation, seats: int | None) -> None:
        self.rotation = rotation
        self.seats = seats
        self.live: dict[int, Grant] = {}
        self.stale_token_uses: dict[str, int] = {}
        self._seed = seed
        self._made: dict[int, int] = {}
        self._codes: dict[str, tuple[int, frozenset[str], float]] = {}
        self._access: dict[str, tuple[int, int]] = {}
        self._refresh: dict[str, int] = {}
        self._retired: dict[str, int] = {}

    def full_for(self, athlete_id: int) -> bool:
        """Whether this athlete finds no seat; those connected already keep theirs."""
        return self.seats is not None and athlete_id not in self.live and len(self.live) >= self.seats

    def authorize(self, athlete_id: int, scopes: frozenset[str], now: float) -> str:
        """Consent given: a single-use code."""
        code = self._token(athlete_id)
        self._codes[code] = (athlete_id, scopes, now + CODE_LIFE_S)
        return code

    def exchange(self, code: str, now: float, check_seats: bool) -> Grant:
        """Swap a code for tokens. InvalidGrantError when used, unknown or too old; SeatsFullError."""
        athlete_id, scopes, until = self._codes.pop(code, (0, frozenset(), 0.0))
        if until <= now:
            raise InvalidGrantError
        if check_seats and self.full_for(athlete_id):
            raise SeatsFullError
        held = self.live.get(athlete_id)
        if held and held.scopes == scopes:
            self._renew_access(held, now)
            return held
        if held:
            self.drop(athlete_id)
        grant = Grant(athlete_id, scopes, "", self._token(athlete_id), 0)
        self.live[athlete_id] = grant
        self._refresh[grant.refresh_token] = athlete_id
        self._renew_access(grant, now)
        return grant

    def refresh(self, refresh_token: str, now: float) -> Grant:
        """Answer a refresh. InvalidGrantError for a token that is revoked or was rotated away (section 4)."""
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
        """The connection an access token stands for; None when unknown, expired or revoked."""
        athlete_id, expires_at = self._access.get(access_token, (0, 0))
        return self.live.get(athlete_id) if expires_at > now else None

    def owner_of(self, token: str) -> int | None:
        """The athlete whose live token this is, of either kind."""
        if token in self._refresh:
            return self._refresh[token]
        return self._access[token][0] if token in self._access else None

    def drop(self, athlete_id: int) -> bool:
        """End a connection: every token of it dies at once. False when there was none."""
        grant = self.live.pop(athlete_id, None)
        if grant is None:
            return False
        self._retire(grant)
        self._access = {t: held for t, held in self._access.items() if held[0] != athlete_id}
        return True

    def expire_access(self, athlete_id: int) -> None:
        """Make the athlete's access tokens expire now, as if six hours had passed."""
        self._access = {t: held for t, held in self._access.items() if held[0] != athlete_id}
        self.live[athlete_id].expires_at = 0

    def _renew_access(self, grant: Grant, now: float) -> bool:
        """A new access token when less than an hour is left; the old one lives on until it expires."""
        if grant.expires_at - now > RENEW_BELOW_S:
            return False
        grant.access_token, grant.expires_at = self._token(grant.athlete_id), int(now) + TOKEN_LIFE_S
        self._access[grant.access_token] = (grant.athlete_id, grant.expires_at)
        return True

    def _retire(self, grant: Grant) -> None:
        self._refresh.pop(grant.refresh_token, None)
        self._retired[grant.refresh_token] = grant.athlete_id

    def _token(self, athlete_id: int) -> str:
        count = self._made[athlete_id] = self._made.get(athlete_id, 0) + 1
        return hashlib.sha256(f"{self._seed}:{athlete_id}:{count}".encode()).hexdigest()[:40]
