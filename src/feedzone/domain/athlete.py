"""Athletes: profile, granted scopes, tokens."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

import msgspec

AthleteStatus = Literal["active", "needs_reauth", "needs_scope", "deauthorized"]

REQUESTED_SCOPES = ("read", "activity:read", "activity:read_all", "profile:read_all")
"""Asking for `activity:read_all` alone can yield no webhooks at all (contract section 12, fact 11)."""


class AthleteProfile(msgspec.Struct, frozen=True):
    """Who an athlete is, as the token exchange or `GET /athlete` says."""

    id: int
    username: str | None = None
    firstname: str | None = None
    lastname: str | None = None


class Consent(msgspec.Struct, frozen=True):
    """What was agreed to before the browser was sent to Strava."""

    operator_may_see: bool | None = None
    """Whether the operator may see the activities; None: it was not asked, and stays as it was."""


class TokenGrant(msgspec.Struct, frozen=True):
    """A token pair as Strava gave it out. Never printed: its repr hides the tokens."""

    access_token: str
    refresh_token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"TokenGrant(expires_at={self.expires_at})"


class TokenRow(msgspec.Struct, frozen=True):
    """The stored pair, decrypted, with what tells who may refresh it. Its repr hides the tokens."""

    athlete_id: int
    access_token: str
    refresh_token: str
    expires_at: datetime
    generation: int
    status: AthleteStatus
    refreshing_until: datetime | None
    uncertain_at: datetime | None
    """When a refresh of this generation got no answer: Strava may have rotated the pair."""

    def __repr__(self) -> str:
        return f"TokenRow(athlete_id={self.athlete_id}, generation={self.generation}, status={self.status})"


SEATS = 10
"""How many athletes an application may have before Strava has looked at it."""

SEATS_WARN = 0.8


def seats_of(configured: int | None, used: int) -> int | None:
    """The application's seats; None when it must have more than the usual, and nobody said how many."""
    return configured or (SEATS if used <= SEATS else None)


def parse_scopes(text: str | None) -> frozenset[str]:
    """Granted scopes; Strava separates them by comma in the redirect and by space elsewhere."""
    return frozenset(part for part in re.split(r"[,\s]+", text or "") if part)


def parse_sports(text: str | None) -> frozenset[str] | None:
    """The sport types whose details are wanted, as stored; None: all."""
    return None if text is None else frozenset(part for part in text.split(",") if part)


def wants_details(sports: frozenset[str] | None, sport_type: str | None) -> bool:
    """Whether the details of such an activity are wanted; of an unknown sport they are, to find out."""
    return sports is None or sport_type is None or sport_type in sports


def can_read_activities(scopes: frozenset[str]) -> bool:
    """Without one of these two there are neither activities nor events (pain 30)."""
    return bool(scopes & {"activity:read", "activity:read_all"})
