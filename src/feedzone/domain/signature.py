"""X-Strava-Signature: whether Strava sent a delivery (docs/strava-api.md#webhook-events).

The header is `t=<unix s>,v1=<hex>`: HMAC-SHA256 over `<t>.<raw body>`, valid for 300 s. Strava documents
neither the key that it signs with nor whether it signs at all. Therefore several candidate keys are tried,
the verdict names the one that fits, and an absent header is a verdict of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

import msgspec

from .event import Signature


class Verdict(msgspec.Struct, frozen=True):
    """Whether Strava signed a body. `key_name` is set when verified, `reason` when mismatched."""

    status: Signature
    key_name: str | None = None
    reason: str | None = None


class _Header(msgspec.Struct, frozen=True):
    t: str
    """Seconds as written, because the signature covers the text."""
    digests: tuple[bytes, ...]


def verify(
    header: str | None,
    body: bytes,
    *,
    now: float,
    candidates: Sequence[tuple[str, str]],
    tolerance_s: float = 300,
) -> Verdict:
    """Check the raw `body` against its `X-Strava-Signature` header (None when it has no such header).

    `now` is in unix seconds, and `candidates` are (name, key). An empty key never fits: anyone could sign
    with it. Nothing raises: an unreadable header is a mismatch.
    """
    if header is None:
        return Verdict("absent")
    keys = [(name, key) for name, key in candidates if key]
    if not keys:
        return _mismatch("no key configured")
    parsed = _parse(header)
    if isinstance(parsed, str):
        return _mismatch(parsed)
    name = _signer(parsed, body, keys)
    if name is None:
        return _mismatch("no configured key gives this signature")
    age = now - int(parsed.t)
    if abs(age) > tolerance_s:
        side = "behind" if age > 0 else "ahead of"
        return _mismatch(f"t is {abs(age):.0f} s {side} this clock; {tolerance_s:g} s are tolerated")
    return Verdict("verified", key_name=name)


def sign(body: bytes, key: str, t: int) -> str:
    """Return the header that verifies `body` with `key` at unix second `t`."""
    return f"t={t},v1={_digest(body, key, str(t)).hex()}"


def _mismatch(reason: str) -> Verdict:
    return Verdict("mismatch", reason=reason)


def _digest(body: bytes, key: str, t: str) -> bytes:
    return hmac.digest(key.encode(), t.encode() + b"." + body, hashlib.sha256)


def _signer(header: _Header, body: bytes, keys: Sequence[tuple[str, str]]) -> str | None:
    """Return the name of the first key that made one of the header's digests."""
    for name, key in keys:
        expected = _digest(body, key, header.t)
        if any(hmac.compare_digest(expected, digest) for digest in header.digests):
            return name
    return None


def _parse(header: str) -> _Header | str:
    """Return the header's parts, or a message that names its error and never quotes the header.

    The parts may come in any order and spacing.
    """
    parts = [
        (key.strip(), value.strip()) for key, _, value in (part.partition("=") for part in header.split(","))
    ]
    times = {value for key, value in parts if key == "t"}
    digests = tuple(
        bytes.fromhex(value)
        for key, value in parts
        if key == "v1" and re.fullmatch(r"[0-9A-Fa-f]{64}", value)
    )
    if len(times) != 1:
        return "the header has more than one t" if times else "the header has no t"
    t = times.pop()
    # [0-9], because \d and int() accept digits of other scripts, which no signer writes.
    if not re.fullmatch(r"[0-9]{1,15}", t):
        return "the header's t is not unix seconds"
    if not digests:
        return "the header has no v1 of 64 hex digits"
    return _Header(t, digests)
