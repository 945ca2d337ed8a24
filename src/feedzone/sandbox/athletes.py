"""The athletes of the sandbox, their gear, and the JSON in which Strava describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from .places import CITIES, City
from .seeded_random import seeded_random
from .sports import MIXES

_FIRST = (
    ("Ada", "F"), ("Bruno", "M"), ("Chiara", "F"), ("Dmitri", "M"), ("Esther", "F"), ("Femi", "M"),
    ("Greta", "F"), ("Hugo", "M"), ("Ines", "F"), ("Jonas", "M"), ("Kavya", "F"), ("Lars", "M"),
    ("Mei", "F"), ("Nils", "M"), ("Olga", "F"), ("Pablo", "M"), ("Rosa", "F"), ("Samir", "M"),
    ("Tamsin", "F"), ("Yuto", "M"),
)  # fmt: skip
_LAST = (
    "Abbott", "Bergström", "Castellanos", "Dupont", "Eriksen", "Fairweather", "Gupta", "Hollander", "Ibáñez",
    "Jansen", "Kowalski", "Lindqvist", "Moreau", "Nakamura", "Okafor", "Pereira", "Quist", "Rossi",
    "Sandoval", "Tanaka", "Underhill", "Vogel", "Whitlock", "Yilmaz", "Zamora",
)  # fmt: skip
_BIKES = ("Slate Rouleur", "Fjord Gravel", "Blackbird TT", "Old Faithful", "Winter Hack", "Marmot 29")
_SHOES = ("Swift Nimbus 4", "Pebble Runner", "Carbon Kite", "Trail Gecko", "Daily Mule", "Featherlight 2")
_WATCHES = ("Garmin Forerunner 955", "COROS PACE 3", "Polar Vantage V3", "Suunto Race")
_COMPUTERS = ("Garmin Edge 840", "Wahoo ELEMNT ROAM", "Hammerhead Karoo 3", "Garmin Edge 1040")


@dataclass(slots=True)
class Gear:
    """A bike (its id starts with b) or a pair of shoes (g); distance in metres."""

    id: str
    name: str
    primary: bool
    distance: int
    retired: bool = False
    deleted: bool = False


@dataclass(slots=True)
class Athlete:
    """One athlete. `fitness` scales speed and power, `ftp` is watts, heart rates are beats per minute."""

    id: int
    number: int
    first_name: str
    last_name: str
    sex: str
    city: City
    home: tuple[float, float]
    fitness: float
    weight: float
    ftp: int
    rest_hr: int
    max_hr: int
    mix: tuple[tuple[str, int], ...]
    premium: bool
    has_hr: bool
    has_power: bool
    auto_laps: bool
    watch: str
    computer: str
    joined_at: float
    gear: list[Gear] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        """Return first and last name."""
        return f"{self.first_name} {self.last_name}"


def make_athlete(seed: int, number: int, now: float) -> Athlete:
    """Return athlete number `number` of the world with this seed; always the same person."""
    rng = seeded_random(seed, "athlete", number)
    first, sex = _FIRST[(number * 7 + seed) % len(_FIRST)]
    city = CITIES[(number * 3 + seed) % len(CITIES)]
    fitness = rng.uniform(0.85, 1.18)
    weight = round(rng.uniform(54, 70) + (12 if sex == "M" else 0), 1)
    athlete = Athlete(
        id=20_450_117 + number * 1_234_577,
        number=number,
        first_name=first,
        last_name=rng.choice(_LAST),
        sex=sex,
        city=city,
        home=(round(city.lat + rng.uniform(-0.03, 0.03), 6), round(city.lng + rng.uniform(-0.03, 0.03), 6)),
        fitness=fitness,
        weight=weight,
        ftp=round(weight * 3.1 * fitness),
        rest_hr=rng.randint(44, 60),
        max_hr=rng.randint(176, 196),
        mix=MIXES[number % len(MIXES)],
        premium=rng.random() < 0.6,
        has_hr=number % 6 != 5,
        has_power=rng.random() < 0.7,
        auto_laps=rng.random() < 0.6,
        watch=rng.choice(_WATCHES),
        computer=rng.choice(_COMPUTERS),
        joined_at=now - rng.randint(2200, 3600) * 86400,
    )
    athlete.gear = _gear_of(rng, athlete.id)
    return athlete


def _gear_of(rng: Random, athlete_id: int) -> list[Gear]:
    bikes = rng.sample(_BIKES, rng.randint(1, 3))
    shoes = rng.sample(_SHOES, rng.randint(1, 3))
    items = [(f"b{athlete_id + i}", name, i == 0) for i, name in enumerate(bikes)]
    items += [(f"g{athlete_id + i}", name, i == 0) for i, name in enumerate(shoes)]
    return [
        Gear(id, name, primary, rng.randint(40, 9000) * 1000, retired=not primary and rng.random() < 0.3)
        for id, name, primary in items
    ]


def new_gear(athlete: Athlete, kind: str, name: str) -> Gear:
    """Return a new, unused `bike` or `shoe`; raise ValueError for any other kind."""
    if kind not in ("bike", "shoe"):
        raise ValueError("kind is bike or shoe")
    letter = "b" if kind == "bike" else "g"
    newest = max(
        (int(gear.id[1:]) for gear in athlete.gear if gear.id.startswith(letter)), default=athlete.id
    )
    return Gear(f"{letter}{newest + 1}", name, primary=False, distance=0)


def gear_json(gear: Gear, resource_state: int = 2) -> dict[str, Any]:
    """Return gear as it appears inside an athlete or activity (state 2) or on its own (3)."""
    body: dict[str, Any] = {
        "id": gear.id,
        "primary": gear.primary,
        "name": gear.name,
        "nickname": "",
        "resource_state": resource_state,
        "retired": gear.retired,
        "distance": gear.distance,
        "converted_distance": round(gear.distance / 1000, 1),
    }
    if resource_state == 3:
        body |= {"brand_name": gear.name.split()[0], "model_name": gear.name, "description": ""}
        if gear.id.startswith("b"):
            body["frame_type"] = 3
    return body


def summary_json(athlete: Athlete) -> dict[str, Any]:
    """Return the summary in the response to a token exchange and to a plain `GET /athlete`."""
    base = f"https://sandbox.invalid/athletes/{athlete.id}"
    joined = datetime.fromtimestamp(athlete.joined_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "id": athlete.id,
        "username": f"{athlete.first_name}_{athlete.number}".lower(),
        "resource_state": 2,
        "firstname": athlete.first_name,
        "lastname": athlete.last_name,
        "bio": "",
        "city": athlete.city.name,
        "state": athlete.city.state,
        "country": athlete.city.country,
        "sex": athlete.sex,
        "premium": athlete.premium,
        "summit": athlete.premium,
        "created_at": joined,
        "updated_at": joined,
        "badge_type_id": 1 if athlete.premium else 0,
        "weight": athlete.weight,
        "profile_medium": f"{base}/medium.jpg",
        "profile": f"{base}/large.jpg",
        "friend": None,
        "follower": None,
    }


def detailed_json(athlete: Athlete) -> dict[str, Any]:
    """Return the athlete as `profile:read_all` shows it: with gear, FTP and preferences."""
    owned = [g for g in athlete.gear if not g.deleted]
    return {
        **summary_json(athlete),
        "resource_state": 3,
        "blocked": False,
        "can_follow": True,
        "follower_count": 20 + athlete.number * 3,
        "friend_count": 25 + athlete.number * 2,
        "mutual_friend_count": 0,
        "athlete_type": 0 if athlete.mix[0][0] == "Ride" else 1,
        "date_preference": "%m/%d/%Y",
        "measurement_preference": "feet" if athlete.city.country == "United States" else "meters",
        "clubs": [],
        "postable_clubs_count": 0,
        "ftp": athlete.ftp if athlete.has_power else None,
        "bikes": [gear_json(g) for g in owned if g.id.startswith("b")],
        "shoes": [gear_json(g) for g in owned if g.id.startswith("g")],
    }
