"""Facts that the world knows and the engine does not: checkers compare the engine's rows with them."""

from __future__ import annotations

from dataclasses import dataclass, field

from .witness import Observations

Identity = tuple[str, int, str, int, int]
"""The object type, object id, aspect, owner and time that identify an event."""


@dataclass
class Ledger:
    """The faults and actions of one world. Times are virtual seconds."""

    acknowledged: dict[Identity, float] = field(default_factory=dict)
    """Events that the engine answered with 200."""
    forged: dict[Identity, str] = field(default_factory=dict)
    """Events that Strava never sent, each with its kind of forgery."""
    rotated: dict[str, int] = field(default_factory=dict)
    """Refresh tokens that a rotation replaced, each with its athlete."""
    stale_uses: list[tuple[int, float]] = field(default_factory=list)
    """Athlete and time of each use of a token that a rotation had replaced."""
    concurrent_refreshes: list[tuple[int, float]] = field(default_factory=list)
    """Athlete and time of each refresh that began during another, unless a process was killed or stalled."""
    lost_pairs: dict[int, float] = field(default_factory=dict)
    """Athletes with a rotated pair that never reached the database, with the time.

    The answer was lost, or the process was killed or stalled before it stored the pair.
    """
    deauthorized: dict[int, float] = field(default_factory=dict)
    """Athletes who revoked access at Strava, with the time."""
    removed: set[int] = field(default_factory=set)
    """Athletes that the operator disconnected, until they connect again."""
    ever_left: set[int] = field(default_factory=set)
    """Athletes that disconnected at any time, or that the operator disconnected."""
    needless_reconnects: set[int] = field(default_factory=set)
    """Athletes that the engine asked to connect again although their pair was valid."""
    fetched: dict[int, list[float]] = field(default_factory=dict)
    """The times at which Strava answered a request for an activity, ascending."""
    attacked: int | None = None
    """The athlete about whom a flood of forged events comes."""
    for_nothing: list[float] = field(default_factory=list)
    """The times at which Strava was asked about an activity that it never had."""
    impersonations: list[float] = field(default_factory=list)
    """The times at which somebody else answered instead of Strava, ascending."""
    first_shown: dict[int, float] = field(default_factory=dict)
    """When Strava first answered a request for an activity with its detail."""
    observations: Observations = field(default_factory=Observations)
    """What the witness recorded in the database."""
    touched: set[int] = field(default_factory=set)
    """Activities that their athlete really hid or deleted at some time."""
    kills: int = 0
    stalls: int = 0
    allowed_429: int = 0
