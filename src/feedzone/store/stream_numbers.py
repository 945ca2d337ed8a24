"""Read the numbers of JSON lists without making Python values of them, and pack them as columns."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .stream_columns import (
    MAX_DECIMALS,
    PROBES,
    Decode,
    Kind,
    Packed,
    as_decimals,
    fits,
    floats_or_decimals,
    negative_zeros,
    pack_values,
    scale,
)

# Arrow takes 0.1 s and 40 MB to import, so only a process that handles streams imports it.
if TYPE_CHECKING:
    import pyarrow as pa

DIGITS = b"0123456789"
SPACE = b" \t\r\n"
_SIGNED = DIGITS + b"-"
_DECIMALS = re.compile(rb"\.\d+")
_TO_LINES = bytes.maketrans(b",", b"\n")

EXACT = 2**53
"""Below this, a double restores every integer."""


class _Numbers(NamedTuple):
    """The numbers of one JSON list, as text."""

    text: bytes
    """Without white space."""
    size: int
    is_paired: bool
    """Whether they are pairs: the first and the second numbers become columns of their own."""
    decimals: int | None
    """How many decimals they seem to have: 0 for whole values (`1.0`); None if all are integers (`1`)."""


def pack_lists(lists: Sequence[tuple[bytes, bool]], decode: Decode) -> list[tuple[Packed, ...]]:
    """Pack JSON lists, each as one column; lists of pairs, where the flag says so, as two.

    Arrow reads the numbers of all lists at once, from their text, so that none becomes a Python value. Other
    lists are read with `decode`.
    """
    numbers = [_numbers(text, pairs=pairs) for text, pairs in lists]
    packed = iter(_pack_numbers([each for each in numbers if each is not None]))
    return [
        (each is not None and next(packed)) or pack_values(text, decode, pairs=pairs)
        for each, (text, pairs) in zip(numbers, lists, strict=True)
    ]


def _numbers(text: bytes, *, pairs: bool) -> _Numbers | None:
    """Return the numbers of a list; None if it has others, integers beside floats, or exponents."""
    frame = text.translate(None, _SIGNED)
    if any(space in frame for space in SPACE):
        text = text.translate(None, SPACE)
        frame = text.translate(None, _SIGNED)
    point = b"." if frame.lstrip(b"[").startswith(b".") else b""
    one = b"[" + point + b"," + point + b"]" if pairs else point
    size = (len(frame) - 1) // (len(one) + 1)
    if size < 1 or text == b"[]" or frame != b"[" + (one + b",") * (size - 1) + one + b"]":
        return None
    values = size * 2 if pairs else size
    return _Numbers(text, values, pairs, _decimals_at_first(text) if point else None)


def _pack_numbers(lists: Sequence[_Numbers]) -> list[tuple[Packed, ...] | None]:
    """Pack lists of numbers; None for a list with a number that needs another way.

    Lists that seem to have equally many decimals are packed together: a call of Arrow costs more than its
    work on one list.
    """
    alike: dict[int | None, list[int]] = {}
    for index, numbers in enumerate(lists):
        alike.setdefault(numbers.decimals, []).append(index)
    order = list(chain.from_iterable(alike.values()))
    column = _read_numbers([lists[index] for index in order]) if lists else None
    packed: list[tuple[Packed, ...] | None] = [None] * len(lists)
    if column is None:
        return packed
    start = 0
    for indexes in alike.values():
        group = [lists[index] for index in indexes]
        size = sum(numbers.size for numbers in group)
        for index, columns in zip(indexes, _pack_group(column.slice(start, size), group), strict=True):
            packed[index] = columns
        start += size
    return packed


def _pack_group(values: pa.Array[Any], group: Sequence[_Numbers]) -> list[tuple[Packed, ...] | None]:
    """Pack lists that seem to have equally many decimals, or each alone if that is not so."""
    decimals, several = group[0].decimals, len(group) > 1
    cells = _cells(values, decimals, narrow=several)
    starts = list(accumulate((numbers.size for numbers in group), initial=0))
    if cells is None and several:
        alone = (_pack_group(values.slice(at, n.size), [n]) for at, n in zip(starts, group, strict=False))
        return [columns for packed in alone for columns in packed]
    if cells is None:
        return [_pack_wide(values, group[0])]
    kind: Kind = "int" if decimals is None else "float"
    zeros = () if decimals is None else negative_zeros(values)
    packed: list[tuple[Packed, ...] | None] = []
    for start, numbers in zip(starts, group, strict=False):
        part = cells.slice(start, numbers.size)
        minus = [at - start for at in zeros if start <= at < start + numbers.size]
        if numbers.is_paired:
            halves = (tuple(at // 2 for at in minus if at % 2 == side) for side in (0, 1))
            packed.append(tuple((kind, *each) for each in zip(_halves(part), halves, strict=True)))
        else:
            packed.append(((kind, part, tuple(minus)),))
    return packed


def _pack_wide(values: pa.Array[Any], numbers: _Numbers) -> tuple[Packed, ...] | None:
    """Pack floats as decimals, if they have as many digits as such, else as doubles; None if that fails."""
    if numbers.decimals is None or not fits(values, math.inf):
        return None
    parts = _halves(values) if numbers.is_paired else (values,)
    return tuple(("float", *floats_or_decimals(part)) for part in parts)


def _read_numbers(lists: Sequence[_Numbers]) -> pa.Array[Any] | None:
    """Read all numbers as doubles; None if that is not possible."""
    import pyarrow as pa
    from pyarrow import csv

    lines = b",".join([numbers.text for numbers in lists]).translate(_TO_LINES, b"[]")
    try:
        table = csv.read_csv(
            cast(Any, pa.BufferReader(lines)),  # the stubs know only files
            csv.ReadOptions(use_threads=False, column_names=["number"], block_size=len(lines) + 1),
            csv.ParseOptions(quote_char=False),
            csv.ConvertOptions(column_types={"number": pa.float64()}, null_values=[], check_utf8=False),
        )
    except pa.ArrowInvalid:
        return None
    column = table.column(0).combine_chunks()
    return column if len(column) == sum(numbers.size for numbers in lists) else None


def _halves(values: pa.Array[Any]) -> tuple[pa.Array[Any], pa.Array[Any]]:
    """Return the first and the second numbers of pairs."""
    import pyarrow as pa

    width = values.type.bit_width // 8
    data: Any = values.buffers()[1]
    cells = array("i" if width == 4 else "q")
    cells.frombytes(memoryview(data)[values.offset * width : (values.offset + len(values)) * width])
    first, second = (
        pa.Array.from_buffers(values.type, len(values) // 2, [None, pa.py_buffer(cells[side::2])])
        for side in (0, 1)
    )
    return first, second


def _cells(values: pa.Array[Any], decimals: int | None, *, narrow: bool) -> pa.Array[Any] | None:
    """Return doubles as integers or decimals; None if they are none, or are not `narrow` enough."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if decimals is None:
        if fits(values, 2**31):
            return values.cast(pa.int32())
        return values.cast(pa.int64()) if not narrow and fits(values, EXACT) else None
    scaled = scale(pc.add(values, 0.0), decimals) if decimals <= MAX_DECIMALS else None
    if scaled is None or (narrow and not fits(scaled, 10**9)):
        return None
    return as_decimals(scaled, decimals)


def _decimals_at_first(text: bytes) -> int:
    """Return the largest number of decimals of the first numbers; 0 if they are whole (`1.0`)."""
    first = set(_DECIMALS.findall(text[: 4 * PROBES]))
    return 0 if first == {b".0"} else max(map(len, first), default=2) - 1
