"""The course of an activity: position, speed, altitude, heart rate, power, in knots of ten seconds.

All measured data of an activity derives from these knots. Summaries add them up in closed form and streams
interpolate between them. The two therefore agree, and a page of summaries needs no second-by-second work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import atan2, cos, exp, hypot, pi, radians, sin
from random import Random

from .athletes import Athlete
from .history import ActivitySpec
from .places import City, temperature
from .seeded_random import seeded_random
from .sports import Sport, sport_named

KNOT_S = 10
METRES_PER_DEGREE = 111_320.0


@dataclass(slots=True)
class Motion:
    """The knots of one activity, from start to end. SI units; `t` in full seconds."""

    t: list[int]
    d: list[float]
    v: list[float]
    moving_s: int
    stopped: set[int] = field(default_factory=set)
    lat: list[float] | None = None
    lng: list[float] | None = None
    heading: list[float] = field(default_factory=list)
    alt: list[float] | None = None
    hr: list[float] | None = None
    cad: list[float] | None = None
    watts: list[float] | None = None
    temp: list[float] | None = None


class Terrain:
    """A smooth landscape around a city: the same place always has the same altitude (metres)."""

    def __init__(self, seed: int, city: City) -> None:
        rng = seeded_random(seed, "terrain", city.name)
        self._base = city.altitude + 1.6 * city.hills
        self._waves = [
            (city.hills * share, *(rng.uniform(0.8, 1.2) * 2 * pi / length for _ in range(2)),
             rng.uniform(0, 2 * pi), rng.uniform(0, 2 * pi))
            for share, length in ((1.0, 9000.0), (0.45, 3600.0), (0.12, 1500.0))
        ]  # fmt: skip

    def height(self, x: float, y: float) -> float:
        """Return the altitude in metres, `x` metres east and `y` metres north of the city centre."""
        total = self._base
        for amplitude, kx, ky, px, py in self._waves:
            total += amplitude * sin(kx * x + px) * cos(ky * y + py)
        return total


def simulate(
    seed: int, athlete: Athlete, spec: ActivitySpec, terrain: Terrain, knot_s: int = KNOT_S
) -> Motion:
    """Return the motion of a recorded activity, always the same; a larger `knot_s` is cheaper but coarser."""
    rng = seeded_random(seed, "motion", spec.id)
    sport = sport_named(spec.shape)
    times = [*range(0, spec.elapsed, knot_s), spec.elapsed]
    effort = _effort(rng, sport, len(times))
    stops = _stops(rng, sport, times, knot_s)
    if sport.speed and not sport.indoor:
        motion = _outdoors(rng, athlete, sport, terrain, times, effort, stops)
    else:
        motion = _indoors(athlete, sport, times, effort, stops)
    if sport.power and athlete.has_power:
        motion.watts = _watts(rng, athlete, motion, effort)
    if athlete.has_hr and not (sport.name == "Swim" and spec.id % 2):
        motion.hr = _heart_rate(athlete, motion, effort, knot_s)
    if sport.cadence:
        motion.cad = [sport.cadence * (0.93 + 0.1 * e / sport.effort) if v > 0.2 else 0.0
                      for e, v in zip(effort, motion.v, strict=True)]  # fmt: skip
    if sport.name != "Swim":
        warm = 21.0 if sport.indoor else temperature(athlete.city, spec.start)
        motion.temp = [warm + 2.5 * exp(-t / 600) for t in times]
    return motion


def _effort(rng: Random, sport: Sport, count: int) -> list[float]:
    """Return a slow random walk around the sport's usual effort (share of the maximum)."""
    level = sport.effort * rng.uniform(0.92, 1.08)
    now, out = level, []
    gauss = rng.gauss
    for i in range(count):
        now += (level - now) * 0.08 + gauss(0, 0.018)
        ease = min(1.0, 0.8 + 0.2 * i / 30, 0.8 + 0.2 * (count - i) / 30)
        out.append(min(max(now, 0.25), 0.98) * ease)
    return out


def _stops(rng: Random, sport: Sport, times: list[int], knot_s: int) -> set[int]:
    """Return the knots at which the athlete stands still; two or more per stop, so that it takes time."""
    stops: set[int] = set()
    if not sport.stop_every_min:
        return stops
    at = rng.expovariate(1 / (sport.stop_every_min * 60))
    while at < times[-1] - 120:
        first, duration = int(at // knot_s), rng.randint(20, 70)
        if first > 1 and at > 60:
            stops.update(range(first, first + max(2, duration // knot_s)))
        at += 120 + rng.expovariate(1 / (sport.stop_every_min * 60))
    return stops


def _outdoors(rng: Random, athlete: Athlete, sport: Sport, terrain: Terrain,
              times: list[int], effort: list[float], stops: set[int]) -> Motion:  # fmt: skip
    last = len(times) - 1
    scale = METRES_PER_DEGREE * cos(radians(athlete.city.lat))
    x = (athlete.home[1] - athlete.city.lng) * scale
    y = (athlete.home[0] - athlete.city.lat) * METRES_PER_DEGREE
    home_x, home_y = x, y
    theta, bend, grade, total = rng.uniform(-pi, pi), 0.0, 0.0, 0.0
    d, v, alt, xs, ys, headings = [0.0], [0.0], [terrain.height(x, y)], [x], [y], [theta]
    gauss, usual = rng.gauss, sport.speed * athlete.fitness
    moving = 0
    stopped: set[int] = set()
    for k in range(1, last + 1):
        span = times[k] - times[k - 1]
        speed = 0.0 if k in stops or k == last else _speed(sport, usual * effort[k] / sport.effort, grade)
        step = (v[-1] + speed) / 2 * span
        if step:
            bend = bend * 0.85 + gauss(0, 0.05)
            theta += bend + _turn_home(theta, x - home_x, y - home_y, k / last, step, last - k)
            x, y = x + step * cos(theta), y + step * sin(theta)
            moving += span
        else:
            stopped.add(k - 1)
        height = terrain.height(x, y) if step else alt[-1]
        grade = (height - alt[-1]) / step if step > 1 else grade
        total += step
        d.append(total)
        v.append(speed)
        alt.append(height)
        xs.append(x)
        ys.append(y)
        headings.append(theta)
    return Motion(times, d, v, moving, stopped,
                  [athlete.city.lat + value / METRES_PER_DEGREE for value in ys],
                  [athlete.city.lng + value / scale for value in xs], headings, alt)  # fmt: skip


def _speed(sport: Sport, flat: float, grade: float) -> float:
    if grade >= 0:
        return flat / (1 + sport.uphill * min(grade, 0.25))
    return min(sport.top_speed, flat * (1 + sport.downhill * min(-grade, 0.2)))


def _turn_home(theta: float, x: float, y: float, progress: float, step: float, left: int) -> float:
    """Return the turn towards home in radians: zero on the way out, strong when time to return runs short."""
    away = hypot(x, y)
    need = away / max(step * left, 1.0)
    if away < 30 or (need < 0.75 and progress < 0.6):
        return 0.0
    off = (atan2(-y, -x) - theta + pi) % (2 * pi) - pi
    return min(max(off * min(1.0, 0.15 + need * 0.35), -0.7), 0.7)


def _indoors(athlete: Athlete, sport: Sport, times: list[int],
             effort: list[float], stops: set[int]) -> Motion:  # fmt: skip
    usual, last = sport.speed * athlete.fitness, len(times) - 1
    v = [0.0 if k in stops or k in (0, last) else min(usual * e / sport.effort, sport.top_speed)
         for k, e in enumerate(effort)]  # fmt: skip
    d, moving, stopped = [0.0], 0, set()
    for k in range(1, last + 1):
        step = (v[k - 1] + v[k]) / 2 * (times[k] - times[k - 1])
        d.append(d[-1] + step)
        # Without distance (weights) no data shows that the athlete stood still.
        if step or not sport.speed:
            moving += times[k] - times[k - 1]
        else:
            stopped.add(k - 1)
    return Motion(times, d, v, moving, stopped)


def _watts(rng: Random, athlete: Athlete, motion: Motion, effort: list[float]) -> list[float]:
    """Return power from effort and slope; zero when the athlete stands or rolls downhill."""
    out, gauss, ftp = [], rng.gauss, athlete.ftp
    for k, e in enumerate(effort):
        slope = 0.0
        if motion.alt and k and motion.d[k] - motion.d[k - 1] > 1:
            slope = (motion.alt[k] - motion.alt[k - 1]) / (motion.d[k] - motion.d[k - 1])
        power = ftp * (e * 1.05 + 3.2 * max(-0.25, min(slope, 0.09))) + gauss(0, 9)
        out.append(max(0.0, power) if motion.v[k] > 0.2 else 0.0)
    return out


def _heart_rate(athlete: Athlete, motion: Motion, effort: list[float], knot_s: int) -> list[float]:
    """Return heart rate: it follows effort with a lag of 30 seconds and drifts up by about 3 % an hour."""
    span, bpm = athlete.max_hr - athlete.rest_hr, athlete.rest_hr + 28.0
    out, blend = [], 1 - exp(-knot_s / 32)
    for k, e in enumerate(effort):
        load = motion.watts[k] / athlete.ftp if motion.watts else e
        # The athlete stands, e.g. at a traffic light. Weights have no speed at all, so they never "stop".
        resting = motion.d[-1] > 0 and motion.v[k] <= 0.2
        goal = athlete.rest_hr + span * (0.35 if resting else 0.22 + 0.68 * min(load, 1.1))
        bpm += (goal * (1 + 0.03 * motion.t[k] / 3600) - bpm) * blend
        out.append(min(bpm, athlete.max_hr))
    return out
