"""What the world knows and the engine does not: the facts that checkers hold the engine's rows against."""

from __future__ import annotations

from dataclasses import dataclass, field

from .witness import Sightings

Identity = tuple[str, int, str, int, int]
"""Object type, object id, aspect, owner, event time: what an event is known by."""


@dataclass
class Ledger:
    """Times are virtual seconds."""

    acknowledged: dict[Identity, float] = field(default_factory=dict)
    """Events that the engine answered with 200."""
    forged: dict[Identity, str] = field(default_factory=dict)
    """Events that Strava never sent, and what kind of forgery each is."""
    rotated: dict[str, int] = field(default_factory=dict)
    """Refresh tokens that were replaced by a rotation, and whose they were."""
    stale_uses: list[tuple[int, float]] = field(default_factory=list)
    """Athlete and time of each use of a token that had been rotated away."""
    asked_together: list[tuple[int, float]] = field(default_factory=list)
    """Athlete and time of each refresh that began while another was under way, and nobody had been killed."""
    lost_pairs: dict[int, float] = field(default_factory=dict)
    """Athletes of whom a rotated pair never reached the database: answer lost, or killed or stalled
    before storing."""
    left: dict[int, float] = field(default_factory=dict)
    """Athletes who are gone from Strava's point of view, and since when."""
    removed: set[int] = field(default_factory=set)
    """Athletes whom the operator has removed, and who have not come back."""
    ever_left: set[int] = field(default_factory=set)
    wrongly_cut_off: set[int] = field(default_factory=set)
    """Athletes who were told to connect again although nothing had happened to their pair."""
    asked: dict[int, list[float]] = field(default_factory=dict)
    """When Strava answered what it shows of an activity, in order."""
    sightings: Sightings = field(default_factory=Sightings)
    """What happened in the database meanwhile."""
    touched: set[int] = field(default_factory=set)
    """Activities that were really hidden or deleted at some time."""
    kills: int = 0
    stalls: int = 0
    allowed_429: int = 0
