"""Google's polyline encoding, which Strava uses for `map.polyline` and `map.summary_polyline`."""

from __future__ import annotations

from collections.abc import Iterable


def encode(points: Iterable[tuple[float, float]]) -> str:
    """Encode latitude/longitude pairs in degrees as one polyline with five decimals."""
    out: list[str] = []
    last_lat = last_lng = 0
    for lat, lng in points:
        ilat, ilng = round(lat * 1e5), round(lng * 1e5)
        _put(ilat - last_lat, out)
        _put(ilng - last_lng, out)
        last_lat, last_lng = ilat, ilng
    return "".join(out)


def decode(text: str) -> list[tuple[float, float]]:
    """Decode a polyline into latitude/longitude pairs in degrees."""
    deltas = _deltas(text)
    points: list[tuple[float, float]] = []
    lat = lng = 0
    for dlat, dlng in zip(deltas[::2], deltas[1::2], strict=True):
        lat, lng = lat + dlat, lng + dlng
        points.append((lat / 1e5, lng / 1e5))
    return points


def _put(delta: int, out: list[str]) -> None:
    value = ~(delta << 1) if delta < 0 else delta << 1
    while value >= 0x20:
        out.append(chr((0x20 | (value & 0x1F)) + 63))
        value >>= 5
    out.append(chr(value + 63))


def _deltas(text: str) -> list[int]:
    deltas: list[int] = []
    value = shift = 0
    for char in text:
        chunk = ord(char) - 63
        value |= (chunk & 0x1F) << shift
        shift += 5
        if chunk < 0x20:
            deltas.append(~(value >> 1) if value & 1 else value >> 1)
            value = shift = 0
    return deltas
