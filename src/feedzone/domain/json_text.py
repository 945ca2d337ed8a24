"""JSON from outside, in a form that every decoder reads.

Decoders disagree about numbers beyond 64 bits or beyond a double, halves of surrogate pairs, deep nesting and
NaN; PostgreSQL refuses U+0000. A text that one decoder accepts may therefore fail later, in another one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from types import NoneType
from typing import Any, NoReturn

import msgspec

from ..errors import InvalidInput

DEPTH = 64
"""The deepest nesting of lists and objects. Standard decoders stop between 200 and 1000."""

LEAST, LARGEST = -(2**63), 2**63 - 1
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_HALF_PAIRS = re.compile("[\ud800-\udfff]")
_CONTAINERS = {list, dict}
_ZERO_ESCAPE = b"\\u0000"
_TO_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_TOO_MANY_DIGITS = b"0" * len(str(LARGEST))

DESCRIBED = 256 * 1024
"""Bytes of a body whose shape is described in detail, at most."""

_TYPES = {dict: "object", list: "list", str: "string", bool: "boolean", NoneType: "null"}
_POSITION = re.compile(
    r"(?:Expected `[^`\n]{1,60}`(?: (?:of length )?(?:<=|>=|<|>) -?[\d.]+)?(?:, got `[^`\n]{1,30}`)?"
    r"|Object missing required field `\w{1,60}`"
    r"|Input data was truncated"
    r"|JSON is malformed: [a-z :,'\"]{1,60}(?: \(byte \d+\))?)"
    r"(?: - at `[\w.$\[\]]{1,80}`)?"
)
"""The texts of a decoder that name types and positions; others may quote a value."""


def clean_text(value: str) -> str:
    """Return the text without the characters that a database rejects.

    PostgreSQL cannot store U+0000, and no database can store half of a surrogate pair.
    """
    if value.isascii():
        return value.replace("\x00", "")
    return _HALF_PAIRS.sub("\ufffd", value.replace("\x00", ""))


def parse(body: bytes) -> Any:
    """Return the value of a JSON text, with repaired text. Raises InvalidInput for any other defect."""
    decoded = _decode_plain(body)  # fast, and fits nearly every body
    if decoded is not None:
        return decoded
    return _repaired(_load(body, _exact_int, _exact_float, _no_number), cut=False)


def repair(body: bytes) -> Any:
    """Return the value of a JSON text, with repaired text.

    A number that no double expresses becomes null, and so does a value below DEPTH, because the rest is worth
    more than an error. Raises InvalidInput when the text is not JSON at all.
    """
    return _repaired(_load(body, _near_int, _near_float, lambda _: None), cut=True)


def readable(body: bytes) -> str:
    """Return the JSON text as received if every decoder reads it, otherwise with the repairs of `repair`."""
    return body.decode() if _decode_plain(body) is not None else msgspec.json.encode(repair(body)).decode()


def is_readable(body: bytes) -> bool:
    """Return whether every decoder reads the JSON text as received. `null` does not count."""
    return _decode_plain(body) is not None


def value(body: bytes) -> Any:
    """Return the value of a JSON text, with the repairs of `repair`, but fast if it needs none."""
    decoded = _decode_plain(body)
    return repair(body) if decoded is None else decoded


def shape(body: bytes) -> str:
    """Describe a body without quoting it: its length, its type, and where it stops being JSON."""
    size = f"{len(body):,} bytes"
    if not body.strip():
        return "an empty body" if not body else f"{size} of white space"
    if len(body) > DESCRIBED:
        return size
    try:
        value = json.loads(body, parse_int=_near_int)
    except UnicodeDecodeError as problem:
        return f"{size}, not UTF-8 at byte {problem.start}"
    except json.JSONDecodeError as problem:
        markup = "markup, " if body.lstrip()[:1] == b"<" else ""
        return f"{size}, {markup}not JSON at character {problem.pos}"
    except (ValueError, RecursionError):
        return f"{size}, JSON that no decoder reads"
    return f"{size}, JSON {_TYPES.get(type(value), 'number')}"


def failure(problem: Exception) -> str:
    """Say why a decoder refused a body: the expected type and the position, never a value."""
    if isinstance(problem, UnicodeDecodeError):
        return f"not UTF-8 at byte {problem.start}"
    if isinstance(problem, json.JSONDecodeError):
        return f"not JSON at character {problem.pos}"
    match = _POSITION.fullmatch(str(problem)) if isinstance(problem, msgspec.MsgspecError) else None
    return match[0] if match else type(problem).__name__


def split_list(body: bytes) -> list[bytes]:
    """Return the texts of the entries of a JSON list, without decoding any: one may be nested too deep.

    Raises InvalidInput when the text is no list.
    """
    text = body.strip()
    if text[:1] != b"[" or text[-1:] != b"]":
        raise InvalidInput("the body is not a JSON list")
    entries, depth, begin = [], 0, 1
    for token in _STRUCTURE.finditer(text, 1, len(text) - 1):
        mark = token.group()
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
        elif mark == b"," and depth == 0:
            entries.append(text[begin : token.start()])
            begin = token.end()
        if depth < 0:
            raise InvalidInput("the body is not a JSON list")
    last = text[begin:-1]
    if depth or (entries and not last.strip()):
        raise InvalidInput("the body is not a JSON list")
    return [*entries, last] if last.strip() else []


def _load(body: bytes, parse_int: Any, parse_float: Any, parse_constant: Any) -> Any:
    """Decode with Python's decoder, because it leaves numbers and half pairs to us."""
    try:
        text = body.decode()
        return json.loads(text, parse_int=parse_int, parse_float=parse_float, parse_constant=parse_constant)
    except UnicodeDecodeError:
        raise InvalidInput("the body is not UTF-8 encoded JSON") from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as problem:
        raise InvalidInput(f"the body is {failure(problem)}") from None


def _exact_int(digits: str) -> int:
    # Python refuses to convert thousands of digits.
    number = int(digits) if len(digits) <= 20 else None
    if number is None or not LEAST <= number <= LARGEST:
        raise InvalidInput("the body has an integer that does not fit into 64 bits")
    return number


def _exact_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise InvalidInput("the body has a number that is too large for a double")
    return number


def _no_number(name: str) -> NoReturn:
    raise InvalidInput(f"the body is not JSON: {name} is not a JSON value")


def _near_int(digits: str) -> int | float | None:
    try:
        return _exact_int(digits)
    except InvalidInput:
        return _near_float(digits)


def _near_float(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _repaired(value: Any, *, cut: bool, depth: int = 1) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if not isinstance(value, list | dict):
        return value
    if depth > DEPTH:
        if cut:
            return None
        raise _too_deep()
    if isinstance(value, list):
        return [_repaired(item, cut=cut, depth=depth + 1) for item in value]
    if len(set(map(clean_text, value))) < len(value):
        value = dict(
            sorted(value.items())
        )  # of keys that repair makes equal, the same one stays in any order
    return {clean_text(key): _repaired(item, cut=cut, depth=depth + 1) for key, item in value.items()}


def _decode_plain(body: bytes) -> Any:
    """Return the value of a JSON text; None if a decoder may refuse it, or read something else."""
    try:
        decoded = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    # Streams have thousands of numbers, so a search for suspicious bytes comes before a look at each.
    suspicious = _ZERO_ESCAPE in body or _TOO_MANY_DIGITS in body.translate(_TO_ZEROS)
    return decoded if _is_plain(decoded, suspicious=suspicious) else None


def _is_plain(decoded: Any, *, suspicious: bool) -> bool:
    """Whether every decoder reads the value: its depth, and if it is suspicious its texts and numbers."""
    parts: list[Collection[Any]] = [[decoded]]
    for _ in range(DEPTH + 1):
        if suspicious and not all(_is_plain_item(item) for part in parts for item in part):
            return False
        inner = [part for part in parts if not _CONTAINERS.isdisjoint(map(type, part))]
        containers = [item for part in inner for item in part if type(item) in _CONTAINERS]
        if not containers:
            return True
        parts = [item.values() if type(item) is dict else item for item in containers]
        parts += [item.keys() for item in containers if type(item) is dict]
    return False


def _is_plain_item(item: Any) -> bool:
    if isinstance(item, str):
        return "\x00" not in item
    return not isinstance(item, int) or LEAST <= item <= LARGEST


def _too_deep() -> InvalidInput:
    return InvalidInput(f"the body nests lists and objects deeper than {DEPTH} levels")
