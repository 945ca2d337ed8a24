"""JSON from outside, in a form that every decoder reads.

Decoders disagree about numbers beyond 64 bits or beyond a double, halves of surrogate pairs, deep nesting and
NaN; PostgreSQL refuses U+0000. A text that one decoder accepts may therefore fail later, in another one.
"""

from __future__ import annotations

import json
import math
import re
from types import NoneType
from typing import Any, NoReturn

import msgspec

from ..errors import InvalidInput

DEPTH = 64
"""The deepest nesting of lists and objects. Standard decoders stop between 200 and 1000."""

LEAST, LARGEST = -(2**63), 2**63 - 1
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_HALF_PAIRS = re.compile("[\ud800-\udfff]")
_ALWAYS_PLAIN = {float, bool, NoneType}


def clean_text(value: str) -> str:
    """Return the text without the characters that a database rejects.

    PostgreSQL cannot store U+0000, and no database can store half of a surrogate pair.
    """
    if value.isascii():
        return value.replace("\x00", "")
    return _HALF_PAIRS.sub("\ufffd", value.replace("\x00", ""))


def parse(body: bytes) -> Any:
    """Return the value of a JSON text, with repaired text. Raises InvalidInput for any other defect."""
    return _repaired(_load(body, _exact_int, _exact_float, _no_number), cut=False)


def repair(body: bytes) -> Any:
    """Return the value of a JSON text, with repaired text.

    A number that no double expresses becomes null, and so does a value below DEPTH, because the rest is worth
    more than an error. Raises InvalidInput when the text is not JSON at all.
    """
    return _repaired(_load(body, _near_int, _near_float, lambda _: None), cut=True)


def readable(body: bytes) -> str:
    """Return the JSON text as received if every decoder reads it, otherwise with the repairs of `repair`."""
    try:
        if _is_plain(msgspec.json.decode(body)):
            return body.decode()
    except (ValueError, RecursionError):
        pass  # repair says whether it is JSON at all
    return msgspec.json.encode(repair(body)).decode()


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
    except ValueError as problem:
        raise InvalidInput(f"the body is not JSON: {problem}") from None


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


def _is_plain(value: Any, depth: int = 1) -> bool:
    """Whether every decoder reads a value that msgspec has decoded."""
    if isinstance(value, str):
        return "\x00" not in value
    if isinstance(value, int):
        return LEAST <= value <= LARGEST
    if not isinstance(value, list | dict):
        return True
    if depth > DEPTH:
        return False
    if isinstance(value, list):
        # Streams have thousands of numbers.
        return set(map(type, value)) <= _ALWAYS_PLAIN or all(_is_plain(item, depth + 1) for item in value)
    return all("\x00" not in key and _is_plain(item, depth + 1) for key, item in value.items())


def _too_deep() -> InvalidInput:
    return InvalidInput(f"the body nests lists and objects deeper than {DEPTH} levels")
