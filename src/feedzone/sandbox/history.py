"""The small spec of an activity, from which everything else about it is generated on demand.

Six years of a dozen athletes are about twenty thousand specs. A spec therefore holds only facts that cannot
be derived: athlete, sport, start, duration, and the fields that an athlete can edit later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from .athletes import Athlete
from .places import utc_offset_s
from .seeded_random import seeded_random
from .sports import SPORTS, WINTER_ONLY, sport_named

VISIBILITIES = ("everyone", "followers_only", "only_me")
_IDS_START = 1_420_070_400  # 2015-01-01: with 44 ids a second, ids of late 2026 are around 1.6e10 as recorded
_DESCRIPTIONS = (
    "Legs like lead, head like a feather.",
    "Tested the new tyres. Verdict: round.",
    "Negative split, positive mood ☀️",
    "Headwind both ways, as tradition demands.",
    "With Ines and the Thursday crew.\r\nCoffee after, twice.",
    "Intervals: 5 x 4 min, last one ugly.",
    "Überraschend schön heute.",
)
_RACES = {"Run": (1, 2, 3), "TrailRun": (1, 2, 3), "Ride": (11, 12), "GravelRide": (11, 12)}


@dataclass(slots=True)
class ActivitySpec:
    """The spec of one activity. `shape` is the recorded sport; `sport_type` may be edited later."""

    id: int
    athlete_id: int
    shape: str
    sport_type: str
    start: int
    elapsed: int
    name: str
    created_at: float
    description: str | None = None
    manual: bool = False
    visibility: str = "everyone"
    workout_type: int | None = None
    gear_id: str | None = None
    commute: bool = False
    start_hidden: bool = False
    deleted: bool = False
    photos: list[float] | None = None
    """When each photo was added. If None, the id decides the number of photos, added with the upload."""
    climb: float = 1.0
    """The factor by which a correction changed all heights above the start."""
    lost: tuple[str, ...] = ()
    """The channels that the athlete removed."""
    map_hidden: bool = False
    streams_since: float = 0.0
    """When Strava began to make the streams again."""

    @property
    def private(self) -> bool:
        """Return whether only its owner may see the activity ("Only You")."""
        return self.visibility == "only_me"

    @property
    def legacy_type(self) -> str:
        """Return the legacy `type` that belongs to the sport type."""
        return sport_named(self.sport_type).legacy


def id_at(created_at: float, athlete_number: int) -> int:
    """Return an id for an activity uploaded at this time: ids grow with time and exceed 2^31."""
    raw = int(max(created_at - _IDS_START, 0.0) * 44) + athlete_number % 40
    return raw if raw > 2**32 else raw + 2**33


def default_name(athlete: Athlete, sport: str, start: float) -> str:
    """Return the title that a device gives: the part of the day, in local time, and the sport."""
    hour = datetime.fromtimestamp(start + utc_offset_s(athlete.city, start), UTC).hour
    for limit, part in ((4, "Night"), (11, "Morning"), (14, "Lunch"), (17, "Afternoon"), (21, "Evening")):
        if hour < limit:
            return f"{part} {sport_named(sport).label}"
    return f"Night {sport_named(sport).label}"


def default_gear(athlete: Athlete, sport: str) -> str | None:
    """Return the id of the athlete's first bike or pair of shoes for this sport."""
    kind = sport_named(sport).gear
    owned = [g.id for g in athlete.gear if kind and g.id.startswith(kind) and not g.retired]
    return owned[0] if owned else None


def make_history(seed: int, athlete: Athlete, now: float, days: int, per_week: float) -> list[ActivitySpec]:
    """Return the athlete's activities of the last `days` days, oldest first; repeatable."""
    rng = seeded_random(seed, "history", athlete.id)
    today = int(now // 86400)
    specs: list[ActivitySpec] = []
    for day in range(today - days, today + 1):
        chance = per_week / 7
        while chance > 0 and rng.random() < chance:
            spec = _one_day(rng, athlete, day)
            # Skip a recording of today that has not ended: it is not uploaded yet.
            if spec.created_at < now:
                specs.append(spec)
            chance -= 1
    specs.sort(key=lambda s: s.start)
    return specs


def _one_day(rng: Random, athlete: Athlete, day: int) -> ActivitySpec:
    sport = sport_named(_pick_sport(rng, athlete, day))
    hour = rng.choice((6.2, 7.0, 7.5, 8.5, 9.5, 12.1, 17.4, 18.2, 19.0)) + rng.random()
    start = int(day * 86400 + hour * 3600 - athlete.city.standard_offset_s + rng.random() * 60)
    weekend = 1.5 if (day + 3) % 7 >= 5 else 1.0
    elapsed = int(max(600, sport.minutes * 60 * weekend * rng.lognormvariate(0, 0.32)))
    manual = rng.random() < 0.03
    created = start + elapsed + rng.randint(20, 400)
    gear = default_gear(athlete, sport.name)
    races = _RACES.get(sport.name, ())
    return ActivitySpec(
        id=id_at(created, athlete.number),
        athlete_id=athlete.id,
        shape=sport.name,
        sport_type=sport.name,
        start=start,
        elapsed=elapsed,
        name=default_name(athlete, sport.name, start),
        created_at=float(created),
        description=rng.choice(_DESCRIPTIONS) if rng.random() < 0.18 else None,
        manual=manual,
        visibility=rng.choices(VISIBILITIES, (86, 9, 5))[0],
        workout_type=rng.choice(races) if races and rng.random() < 0.12 else None,
        gear_id=gear if rng.random() < 0.9 else None,
        commute=sport.name == "Ride" and elapsed < 2400 and rng.random() < 0.5,
    )


def _pick_sport(rng: Random, athlete: Athlete, day: int) -> str:
    month = datetime.fromtimestamp(day * 86400, UTC).month
    winter = month in ((12, 1, 2, 3) if athlete.city.lat > 0 else (6, 7, 8, 9))
    choices = [(name, weight) for name, weight in athlete.mix if winter or name not in WINTER_ONLY]
    return rng.choices([n for n, _ in choices], [w for _, w in choices])[0]


def sport_names() -> list[str]:
    """Return the sports that the sandbox can simulate."""
    return sorted(SPORTS)
