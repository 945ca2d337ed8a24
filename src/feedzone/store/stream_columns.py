"""Convert the values of one channel to the smallest Arrow column that restores them exactly."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain, compress
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec

# Arrow takes 0.1 s and 40 MB to import, so only a process that handles streams imports it.
if TYPE_CHECKING:
    import pyarrow as pa

MAX_DECIMALS = 9
PROBES = 64
"""The number of samples whose decimals are counted before all samples are tried."""

Kind = Literal["int", "float", "number", "bool", "text", "json"]
"""The type of the values. `number`: floats whose whole values came as integers (1.0 printed as 1)."""


Decode = Callable[[bytes], Any]

Packed = tuple[Kind, "pa.Array[Any]", tuple[int, ...]]
"""The kind of the values, their column, and the indexes of negative zeros."""

DIGITS = b"0123456789"
SPACE = b" \t\r\n"
_SIGNED = DIGITS + b"-"
_TO_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_DECIMALS = re.compile(rb"\.\d+")
_NEGATIVE_ZERO = re.compile(rb"-0(?:\.0*)?(?![\d.])")
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
    """The largest number of decimals; 0 if all values are whole (`1.0`), None if all are integers (`1`)."""


def pack_lists(lists: Sequence[tuple[bytes, bool]], decode: Decode) -> list[tuple[Packed, ...]]:
    """Pack JSON lists, each as one column; lists of pairs, where the flag says so, as two.

    Arrow reads the numbers of all lists at once, from their text, so that none becomes a Python value. Other
    lists are read with `decode`.
    """
    numbers = [_numbers(text, pairs=pairs) for text, pairs in lists]
    packed = iter(_pack_numbers([each for each in numbers if each is not None]))
    return [
        (each is not None and next(packed)) or _pack_values(text, decode, pairs=pairs)
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
    return _Numbers(text, values, pairs, _decimals_in(text, values) if point else None)


def _pack_numbers(lists: Sequence[_Numbers]) -> list[tuple[Packed, ...] | None]:
    """Pack lists of numbers; None for a list with a number that needs another way.

    Lists with equally many decimals are packed together: a call of Arrow costs more than its work on one.
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
    """Pack lists with equally many decimals, or each alone if one of them has large numbers."""
    decimals, several = group[0].decimals, len(group) > 1
    integers = _integers_of(values, decimals, narrow=several)
    starts = list(accumulate((numbers.size for numbers in group), initial=0))
    if integers is None and several:
        alone = (_pack_group(values.slice(at, n.size), [n]) for at, n in zip(starts, group, strict=False))
        return [columns for packed in alone for columns in packed]
    if integers is None:
        return [_pack_wide(values, group[0])]
    kind: Kind = "int" if decimals is None else "float"
    packed: list[tuple[Packed, ...] | None] = []
    for start, numbers in zip(starts, group, strict=False):
        cells = integers.slice(start, numbers.size)
        zeros = () if decimals is None else _negative_zeros_in(numbers.text)
        if numbers.is_paired:
            halves = tuple(tuple(at // 2 for at in zeros if at % 2 == side) for side in (0, 1))
            packed.append(tuple((kind, *each) for each in zip(_halves(cells), halves, strict=True)))
        else:
            packed.append(((kind, cells, zeros),))
    return packed


def _pack_wide(values: pa.Array[Any], numbers: _Numbers) -> tuple[Packed, ...] | None:
    """Pack floats that are no decimals of 15 digits; None if that is not possible."""
    if numbers.decimals is None or not _fits(values, math.inf):
        return None
    parts = _halves(values) if numbers.is_paired else (values,)
    return tuple(("float", *_decimals(part)) for part in parts)


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


def _integers_of(values: pa.Array[Any], decimals: int | None, *, narrow: bool) -> pa.Array[Any] | None:
    """Return doubles as integers, or as decimals; None if they do not fit, with `narrow` into four bytes.

    A double of at most 15 digits is exactly those digits divided by a power of ten.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if decimals is None:
        if _fits(values, 2**31):
            return values.cast(pa.int32())
        return values.cast(pa.int64()) if not narrow and _fits(values, EXACT) else None
    if decimals > MAX_DECIMALS:
        return None
    scaled: Any = pc.round(pc.multiply(values, 10.0**decimals))
    if not _fits(scaled, 10**9 if narrow else 10**15):
        return None
    return _as_decimals(scaled.cast(pa.int64()), decimals)


def _decimals_in(text: bytes, size: int) -> int:
    """Return the largest number of decimals in the text; 0 if all values are whole (`1.0`)."""
    first = set(_DECIMALS.findall(text[: 4 * PROBES]))
    if first == {b".0"} and text.count(b".0,") + text.count(b".0]") == size:
        return 0
    decimals = max(map(len, first), default=2) - 1
    digits = text.translate(_TO_ZEROS)
    while b"." + b"0" * (decimals + 1) in digits:
        decimals += 1
    return decimals


def _negative_zeros_in(text: bytes) -> tuple[int, ...]:
    """Return the indexes of -0.0 in the text of numbers."""
    found, index, end = [], 0, 0
    for zero in _NEGATIVE_ZERO.finditer(text) if b"-0" in text else ():
        index += text.count(b",", end, zero.start())
        end = zero.start()
        found.append(index)
    return tuple(found)


def _pack_values(text: bytes, decode: Decode, *, pairs: bool) -> tuple[Packed, ...]:
    """Pack a list of any values."""
    if (booleans := _booleans(text)) is not None:
        return (("bool", booleans, ()),)
    values = decode(text)
    coordinates = _coordinates(values) if pairs else None
    return tuple(map(pack, coordinates)) if coordinates else (pack(values),)


def _booleans(text: bytes) -> pa.Array[Any] | None:
    """Return the values of a JSON list of booleans; None if it holds anything else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(text) < len(b"[true]"):
        return None
    bits = text.replace(b"true", b"1").replace(b"false", b"0")[1:-1]
    size = len(bits) // 2 + 1
    if (
        text.translate(None, b"truefals[,]")
        or bits[1::2] != b"," * (size - 1)
        or bits[0::2].translate(None, b"01")
    ):
        return None
    cells = pa.Array.from_buffers(pa.int8(), size, [None, pa.py_buffer(bits[0::2])])
    equal: Any = pc.equal(cells, pa.scalar(ord("1"), pa.int8()))
    return equal  # type: ignore[no-any-return]


def _coordinates(data: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]] | None:
    nulls = data.count(None)
    points = [(None, None) if point is None else point for point in data] if nulls else data
    if not set(map(type, points)) <= {list, tuple} or not set(map(len, points)) <= {2}:
        return None
    flat = list(chain.from_iterable(points))
    # After decoding, a null inside a pair would look like a null instead of the pair.
    return (flat[0::2], flat[1::2]) if not nulls + nulls - flat.count(None) else None


def pack(values: Sequence[Any]) -> Packed:
    """Pack values of any types, nulls among them."""
    import pyarrow as pa

    types = set(map(type, values)) - {NoneType}
    if types == {float}:
        return "float", *_decimals(pa.array(values, pa.float64()))
    if types <= {int} and (integers := _integers(values)) is not None:
        return "int", integers, ()
    if types == {int, float} and _whole_numbers_are_ints(values):
        return "number", *_decimals(pa.array(values, pa.float64()))
    if types == {bool}:
        return "bool", pa.array(values, pa.bool_()), ()
    if types == {str}:
        return "text", pa.array(values, pa.string()), ()
    texts = [None if value is None else msgspec.json.encode(value).decode() for value in values]
    return "json", pa.array(texts, pa.string()), ()


def _integers(values: Sequence[Any]) -> pa.Array[Any] | None:
    import pyarrow as pa

    for width in (pa.int32(), pa.int64()):
        try:
            return pa.array(values, width)
        except (OverflowError, pa.ArrowInvalid):
            continue
    return None


def _whole_numbers_are_ints(values: Sequence[Any]) -> bool:
    """Return True when a value shows its type: each int fits into a double, each float has a fraction."""
    return all(
        value is None or (-(2**53) < value < 2**53 if type(value) is int else not value.is_integer())
        for value in values
    )


def _decimals(floats: pa.Array[Any]) -> tuple[pa.Array[Any], tuple[int, ...]]:
    """Return the floats as decimals if only the sign of zeros is lost, else as floats."""
    import pyarrow.compute as pc

    unsigned = pc.add(floats, 0.0)
    for decimals in range(_fewest_decimals(floats), MAX_DECIMALS + 1):
        scaled = _scale(unsigned, decimals)
        if scaled is not None:
            return _as_decimals(scaled, decimals), _negative_zeros(floats)
    return floats, ()


def _as_decimals(scaled: pa.Array[Any], decimals: int) -> pa.Array[Any]:
    import pyarrow as pa

    kind = pa.decimal64(9 if _fits(scaled, 10**9) else 18, decimals)
    return pa.Array.from_buffers(kind, len(scaled), scaled.buffers())


def _negative_zeros(floats: pa.Array[Any]) -> tuple[int, ...]:
    import pyarrow as pa
    import pyarrow.compute as pc

    changed: Any = pc.not_equal(floats.view(pa.int64()), pc.add(floats, 0.0).view(pa.int64()))
    return tuple(pc.indices_nonzero(changed).to_pylist())


def _fewest_decimals(floats: pa.Array[Any]) -> int:
    """Return how many decimals a few samples have as text, where the search starts."""
    step = len(floats) // PROBES + 1
    texts = [repr(floats[index].as_py()) for index in range(0, len(floats), step)]
    return max(len(text.removesuffix(".0").partition(".")[2]) for text in texts)


def _scale(floats: pa.Array[Any], decimals: int) -> pa.Array[Any] | None:
    """Return value * 10^decimals as int64; None unless the division restores every bit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    scaled = pc.round(pc.multiply(floats, 10.0**decimals))
    if not _fits(scaled, 10**15):
        return None
    integers = pc.cast(scaled, pa.int64())
    same = _unscale(integers, decimals).view(pa.int64()).equals(floats.view(pa.int64()))
    return integers if same else None


def _unscale(integers: pa.Array[Any], decimals: int) -> pa.Array[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    # Divide, do not multiply by 0.1: only the division rounds like parsing the decimal text.
    return pc.divide(pc.cast(integers, pa.float64()), 10.0**decimals)


def _fits(numbers: pa.Array[Any], bound: float) -> bool:
    """Return True when the absolute value of every number is below `bound`."""
    import pyarrow.compute as pc

    extremes: Any = pc.min_max(numbers)
    least, most = extremes["min"].as_py(), extremes["max"].as_py()
    return least is None or (-bound < least and most < bound)


def encoding(column: pa.Array[Any]) -> str | None:
    """Return the Parquet encoding of a column; None for the default one."""
    import pyarrow.types as kinds

    if kinds.is_floating(column.type):
        return "BYTE_STREAM_SPLIT"
    return "DELTA_BINARY_PACKED" if kinds.is_integer(column.type) or kinds.is_decimal(column.type) else None


def pad(array: pa.Array[Any], samples: int) -> pa.Array[Any]:
    """Append nulls until the column has this number of samples."""
    import pyarrow as pa

    missing = samples - len(array)
    return pa.concat_arrays([array, pa.nulls(missing, array.type)]) if missing else array


def unpack(column: pa.Array[Any], kind: Kind) -> list[Any]:
    """Return the values of a column as `pack` received them, except for the sign of zeros."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "int":
        return _to_list(pc.cast(column, pa.int64()), "q")
    if kind == "float":
        return _to_list(_floats(column), "d")
    if kind == "number":
        return [int(v) if v is not None and v.is_integer() else v for v in _to_list(_floats(column), "d")]
    if kind == "bool":
        return [None if v is None else v != 0 for v in _to_list(pc.cast(column, pa.int8()), "b")]
    if kind == "json":
        return [None if v is None else msgspec.json.decode(v) for v in column.to_pylist()]
    return column.to_pylist()


def _floats(column: pa.Array[Any]) -> pa.Array[Any]:
    """Return decimals as the original floats, with the arithmetic that `_scale` has checked."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_decimal(column.type):
        return column
    scale = column.type.scale
    digits = pa.Array.from_buffers(pa.decimal128(38, 0), len(column), column.buffers(), offset=column.offset)
    return _unscale(pc.cast(digits, pa.int64()), scale)


def _to_list(column: pa.Array[Any], code: Literal["q", "d", "b"]) -> list[Any]:
    """Return the column as Python values, ten times faster than `to_pylist`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(column):
        return []
    data: Any = column.buffers()[1]
    cells = memoryview(data).cast("B").cast(code)
    values: list[Any] = cells[column.offset : column.offset + len(column)].tolist()
    if column.null_count:
        nulls = _to_list(pc.cast(pc.is_null(column), pa.int8()), "b")
        for index in compress(range(len(values)), nulls):
            values[index] = None
    return values
