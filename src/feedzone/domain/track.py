"""The track of an activity: Strava sends it as Google's encoded polyline."""

from __future__ import annotations

Point = tuple[float, float]
"""Latitude and longitude, in degrees (WGS 84)."""

_DECIMALS = 1e5


def decode_polyline(text: str | None) -> list[Point]:
    """Return the points of a polyline. A damaged one yields the points before the damage."""
    points: list[Point] = []
    deltas = _deltas(text or "")
    lat = lng = 0
    for north, east in zip(deltas[::2], deltas[1::2], strict=False):
        lat, lng = lat + north, lng + east
        if abs(lat) > 90 * _DECIMALS or abs(lng) > 180 * _DECIMALS:
            break
        points.append((lat / _DECIMALS, lng / _DECIMALS))
    return points


def _deltas(text: str) -> list[int]:
    """Decode the numbers: chunks of five bits, the lowest first; a number's lowest bit is its sign."""
    deltas: list[int] = []
    value = shift = 0
    for character in text:
        chunk = ord(character) - 63
        if not 0 <= chunk < 64 or shift > 60:
            break
        value |= (chunk & 0x1F) << shift
        shift += 5
        if chunk < 0x20:
            deltas.append(~(value >> 1) if value & 1 else value >> 1)
            value = shift = 0
    return deltas
