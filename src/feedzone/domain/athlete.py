"""Athletes: profile, granted scopes, tokens."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Literal

import msgspec

AthleteStatus = Literal["active", "needs_reauth", "needs_scope", "leaving", "deauthorized"]

DEPARTED = timedelta(days=30)
"""How long data is kept of an athlete whose tokens do not work: Strava's own limit after a departure."""


class Access(msgspec.Struct, frozen=True):
    """Our access to an athlete's data, as far as the database knows it."""

    status: AthleteStatus
    connected_at: datetime
    """When the athlete consented last."""
    refused_at: datetime | None = None
    """Since when no token works; None: the tokens work, or their key was lost."""
    uncertain: bool = False
    """Whether a refresh got no response: Strava may have replaced the pair, and refuse it for that reason."""

    @property
    def is_doubtful(self) -> bool:
        """Whether Strava cannot be asked with the stored tokens."""
        return self.status in ("needs_reauth", "leaving")

    def refused_since(self, instant: datetime) -> bool:
        """Return whether Strava itself has refused our access since then."""
        if self.uncertain:
            return False
        return not self.is_doubtful or (self.refused_at is not None and self.refused_at >= instant)


REQUESTED_SCOPES = ("read", "activity:read", "activity:read_all", "profile:read_all")
"""Requesting `activity:read_all` alone can yield no webhooks at all (docs/strava-api.md#authorize)."""


class AthleteProfile(msgspec.Struct, frozen=True):
    """An athlete's identity, from the token exchange or `GET /athlete`."""

    id: int
    username: str | None = None
    firstname: str | None = None
    lastname: str | None = None


class Consent(msgspec.Struct, frozen=True):
    """The choices that the athlete made before going to Strava's consent page."""

    operator_may_see: bool | None = None
    """Whether the operator may see the activities; None: not asked, the stored choice stays."""


class TokenGrant(msgspec.Struct, frozen=True):
    """A token pair as Strava issued it. Its repr hides the tokens, so that no log shows them."""

    access_token: str
    refresh_token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"TokenGrant(expires_at={self.expires_at})"


class TokenRow(msgspec.Struct, frozen=True):
    """The stored pair, decrypted, with the state of its refresh claim. Its repr hides the tokens."""

    athlete_id: int
    access_token: str
    refresh_token: str
    expires_at: datetime
    generation: int
    status: AthleteStatus
    refreshing_until: datetime | None
    uncertain_at: datetime | None
    """When a refresh of this generation got no response: Strava may have rotated the pair."""

    def __repr__(self) -> str:
        return f"TokenRow(athlete_id={self.athlete_id}, generation={self.generation}, status={self.status})"


SEATS = 10
"""How many athletes an application may have before Strava has reviewed it."""


def seats_of(configured: int | None, used: int) -> int | None:
    """Return the application's seats; None when unknown.

    That is so when more athletes are connected than a new application may have, and STRAVA_SEATS is not
    set.
    """
    return configured or (SEATS if used <= SEATS else None)


def parse_scopes(text: str | None) -> frozenset[str]:
    """Return the granted scopes. Strava separates them by commas in the redirect, by spaces elsewhere."""
    return frozenset(part for part in re.split(r"[,\s]+", text or "") if part)


def parse_sports(text: str | None) -> frozenset[str] | None:
    """Return the sport types whose details the athlete selected, as stored; None: all."""
    return None if text is None else frozenset(part for part in text.split(",") if part)


def wants_details(sports: frozenset[str] | None, sport_type: str | None) -> bool:
    """Return whether to fetch the details of such an activity.

    For an unknown sport the answer is yes: only the details show the sport.
    """
    return sports is None or sport_type is None or sport_type in sports


def can_read_activities(scopes: frozenset[str]) -> bool:
    """Return whether one of the two scopes is granted that give access to activities and events."""
    return bool(scopes & {"activity:read", "activity:read_all"})
