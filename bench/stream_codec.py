"""Measure the time and the saving of the stream codec, on a synthetic run with all channels.

    python -m bench.stream_codec [SAMPLES] [ROUNDS]

Print the medians of encoding and decoding (ms, on one thread), and the sizes of JSON and blob (bytes).
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from feedzone.store import stream_codec


def synthetic_run(samples: int, seed: int = 1) -> dict[str, Any]:
    """Return all eleven channels (docs/strava-api.md#streams), one sample a second, with sensor noise."""
    rng = random.Random(seed)
    series: dict[str, list[Any]] = {name: [] for name in CHANNELS}
    distance, altitude, heart, lat, lng, speed = 0.0, 120.0, 95.0, 48.137154, 11.576124, 3.0
    for second in range(samples):
        speed = min(5.5, max(0.0, speed + rng.gauss(0, 0.15)))
        grade = 4 * math.sin(second / 400) + rng.gauss(0, 0.4)
        distance, altitude = distance + speed, altitude + speed * grade / 100
        heart = min(188.0, max(80.0, heart + rng.gauss(0.01, 0.7)))
        lat += speed * math.cos(second / 900) / 111_320
        lng += speed * math.sin(second / 900) / 74_300
        sample = (
            second,
            round(distance, 1),
            [round(lat, 6), round(lng, 6)],
            round(altitude, 1),
            round(speed, 1),
            round(heart),
            round(84 + rng.gauss(0, 1.5)),
            round(80 * speed + rng.gauss(0, 12)),
            21 + second // 3000,
            speed > 0.3,
            round(grade, 1),
        )
        for values, value in zip(series.values(), sample, strict=True):
            values.append(value)
    metadata = {"series_type": "distance", "original_size": samples, "resolution": "high"}
    return {name: {"data": values, **metadata} for name, values in series.items()}


CHANNELS = (
    "time",
    "distance",
    "latlng",
    "altitude",
    "velocity_smooth",
    "heartrate",
    "cadence",
    "watts",
    "temp",
    "moving",
    "grade_smooth",
)


def median_ms(step: Callable[[], object], rounds: int) -> float:
    """Return the median duration of `step` in milliseconds, after one warm-up round."""
    step()
    durations_ms = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        durations_ms.append((time.perf_counter() - start) * 1000)
    return statistics.median(durations_ms)


def main(samples: int = 13_000, rounds: int = 50) -> None:
    """Measure the codec and print the figures."""
    run = synthetic_run(samples)
    text = msgspec.json.encode(run)
    blob = stream_codec.encode(text).blob
    if stream_codec.decode(blob) != run:
        sys.exit("the decoded streams differ from the original")
    print(f"samples {samples}, channels {len(run)}")
    print(f"parse JSON only  {median_ms(lambda: msgspec.json.decode(text), rounds):8.2f} ms")
    print(f"encode           {median_ms(lambda: stream_codec.encode(text), rounds):8.2f} ms")
    print(f"decode           {median_ms(lambda: stream_codec.decode(blob), rounds):8.2f} ms")
    print(f"size             {len(text)} -> {len(blob)} bytes, {len(text) / len(blob):.1f} times smaller")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
