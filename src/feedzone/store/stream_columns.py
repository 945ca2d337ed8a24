"""Convert the values of one channel to the smallest Arrow column that restores them exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, compress
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

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


def pack_values(text: bytes, decode: Decode, *, pairs: bool) -> tuple[Packed, ...]:
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
        return "float", *floats_or_decimals(pa.array(values, pa.float64()))
    if types <= {int} and (integers := _integers(values)) is not None:
        return "int", integers, ()
    if types == {int, float} and _whole_numbers_are_ints(values):
        return "number", *floats_or_decimals(pa.array(values, pa.float64()))
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


def floats_or_decimals(floats: pa.Array[Any]) -> tuple[pa.Array[Any], tuple[int, ...]]:
    """Return the floats as decimals if only the sign of zeros is lost, else as floats."""
    import pyarrow.compute as pc

    unsigned = pc.add(floats, 0.0)
    for decimals in range(_fewest_decimals(floats), MAX_DECIMALS + 1):
        scaled = scale(unsigned, decimals)
        if scaled is not None:
            return as_decimals(scaled, decimals), negative_zeros(floats)
    return floats, ()


def as_decimals(scaled: pa.Array[Any], decimals: int) -> pa.Array[Any]:
    import pyarrow as pa

    kind = pa.decimal64(9 if fits(scaled, 10**9) else 18, decimals)
    return pa.Array.from_buffers(kind, len(scaled), scaled.buffers())


def negative_zeros(floats: pa.Array[Any]) -> tuple[int, ...]:
    """Return the indexes of -0.0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    changed: Any = pc.not_equal(floats.view(pa.int64()), pc.add(floats, 0.0).view(pa.int64()))
    return tuple(pc.indices_nonzero(changed).to_pylist())


def _fewest_decimals(floats: pa.Array[Any]) -> int:
    """Return how many decimals a few samples have as text, where the search starts."""
    step = len(floats) // PROBES + 1
    texts = [repr(floats[index].as_py()) for index in range(0, len(floats), step)]
    return max(len(text.removesuffix(".0").partition(".")[2]) for text in texts)


def scale(floats: pa.Array[Any], decimals: int) -> pa.Array[Any] | None:
    """Return value * 10^decimals as int64; None unless the division restores every bit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    scaled = pc.round(pc.multiply(floats, 10.0**decimals))
    if not fits(scaled, 10**15):
        return None
    integers = pc.cast(scaled, pa.int64())
    same = _unscale(integers, decimals).view(pa.int64()).equals(floats.view(pa.int64()))
    return integers if same else None


def _unscale(integers: pa.Array[Any], decimals: int) -> pa.Array[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    # Divide, do not multiply by 0.1: only the division rounds like parsing the decimal text.
    return pc.divide(pc.cast(integers, pa.float64()), 10.0**decimals)


def fits(numbers: pa.Array[Any], bound: float) -> bool:
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
    """Return decimals as the original floats, with the arithmetic that `scale` has checked."""
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
