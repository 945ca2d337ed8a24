"""The streams of an activity as one compressed, self-describing Parquet blob, and back without loss.

In:  Strava's answer with `key_by_type=true` (contract section 7): an object that holds, by channel, `data`
     (one value a sample, in recording order) beside `series_type`, `original_size` and `resolution`.
Out: a Parquet file with one column a channel, in Strava's units, as long as the longest channel (shorter
     ones end in nulls). `latlng` becomes `lat` and `lng`, in degrees. Any reader sees the true values.

| values            | Parquet column                                                     |
|-------------------|--------------------------------------------------------------------|
| integers          | INT32, else INT64; DELTA_BINARY_PACKED                             |
| floats            | DECIMAL(9 or 18, d), which are scaled integers; DELTA_BINARY_PACKED |
| floats, no such d | DOUBLE, BYTE_STREAM_SPLIT                                          |
| booleans, strings | BOOLEAN, UTF8                                                      |
| anything else     | UTF8, the JSON of each value                                       |

d is the smallest number of decimals at which every value comes back as the very same float, to the bit. The
file's key-value entry `feedzone.streams` holds, as JSON, what columns cannot say (`_Manifest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, compress
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from ..errors import InvalidInput

# Arrow takes 0.1 s and 40 MB to import: only a process that touches streams pays for it.
if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_KEY = "feedzone.streams"
FORMAT = 1
MAX_DECIMALS = 9
PROBES = 64
"""How many samples are asked for their decimals before all are tried."""

UNITS = {
    "time": "s",
    "distance": "m",
    "latlng": "degree",
    "altitude": "m",
    "velocity_smooth": "m/s",
    "heartrate": "beats/min",
    "cadence": "rev/min",
    "watts": "W",
    "temp": "degree Celsius",
    "grade_smooth": "percent",
}
"""For whoever opens a blob without us; decoding does not need them."""

Kind = Literal["int", "float", "number", "bool", "text", "json"]
"""`number`: floats, except that whole values came as integers (a JSON writer that prints 1.0 as 1)."""


class MalformedStreams(InvalidInput, ValueError):
    """These are not streams: neither an answer of Strava's nor a blob of ours."""


class StreamBlob(msgspec.Struct, frozen=True):
    """Encoded streams. `channels` as Strava names and orders them, `samples` the length of the longest."""

    blob: bytes
    channels: tuple[str, ...]
    samples: int


class _Column(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    kind: Kind
    negative_zeros: tuple[int, ...] = ()
    """Where -0.0 stands, which a decimal cannot say (rounded slopes are full of it)."""


class _Channel(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    fields: dict[str, Any]
    """Everything beside `data`; and `data` itself when it was null."""
    columns: tuple[_Column, ...] = ()
    """None when there was no `data`, two for pairs."""
    length: int = 0
    unit: str | None = None


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    channels: tuple[_Channel, ...]


def encode(streams: bytes) -> StreamBlob:
    """Pack the JSON of Strava's streams answer; `{}` gives a blob with no channels and no samples.

    Raises MalformedStreams when it is not JSON, or not an object of channels whose `data` are lists.
    """
    channels: list[_Channel] = []
    arrays: dict[str, pa.Array[Any]] = {}
    taken: set[str] = set()
    for name, entry in _parse(streams).items():
        data = entry.get("data")
        fields = {key: value for key, value in entry.items() if key != "data" or value is None}
        columns = []
        for wanted, values in _split(name, data):
            kind, array, zeros = _pack(values)
            column = _Column(_free(wanted, taken), kind, zeros)
            columns.append(column)
            arrays[column.name] = array
        channels.append(_Channel(name, fields, tuple(columns), len(data or ()), UNITS.get(name)))
    samples = max((channel.length for channel in channels), default=0)
    blob = _write(arrays, samples, _Manifest(FORMAT, tuple(channels)))
    return StreamBlob(blob, tuple(channel.name for channel in channels), samples)


def decode(blob: bytes) -> dict[str, dict[str, Any]]:
    """What `encode` was given, in the shape of Strava's answer, equal down to int versus float.

    Raises MalformedStreams when the blob is damaged, not ours, or of a later format.
    """
    manifest, table = _read(blob)
    streams: dict[str, dict[str, Any]] = {}
    for channel in manifest.channels:
        entry = dict(channel.fields)
        columns = [_values(table, column, channel.length) for column in channel.columns]
        if len(columns) == 1:
            entry["data"] = columns[0]
        elif columns:
            entry["data"] = [None if lat is None else [lat, lng] for lat, lng in zip(*columns, strict=True)]
        streams[channel.name] = entry
    return streams


def _parse(streams: bytes) -> dict[str, dict[str, Any]]:
    try:
        answer = msgspec.json.decode(streams)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise MalformedStreams(f"the streams answer is not JSON: {problem}") from None
    if not isinstance(answer, dict):
        raise MalformedStreams("the streams answer is not an object of channels (key_by_type=true)")
    for name, entry in answer.items():
        if not isinstance(entry, dict):
            raise MalformedStreams(f"stream {name!r} is not an object")
        if not isinstance(entry.get("data"), list | None):
            raise MalformedStreams(f"the data of stream {name!r} is not a list")
    return answer


def _split(name: str, data: list[Any] | None) -> Iterable[tuple[str, Sequence[Any]]]:
    """The columns a channel becomes, with the values of each."""
    if data is None:
        return ()
    if name == "latlng" and (pairs := _pairs(data)) is not None:
        return zip(("lat", "lng"), pairs, strict=True)
    return ((name, data),)


def _pairs(data: list[Any]) -> tuple[Sequence[Any], Sequence[Any]] | None:
    """Both coordinates apart; None when the data are not pairs (or nulls) throughout."""
    absent = data.count(None)
    points = [(None, None) if point is None else point for point in data] if absent else data
    if not set(map(type, points)) <= {list, tuple} or not set(map(len, points)) <= {2}:
        return None
    flat = list(chain.from_iterable(points))
    # A pair with a null inside could not be told from a null in place of the pair.
    return (flat[0::2], flat[1::2]) if not absent + absent - flat.count(None) else None


def _free(wanted: str, taken: set[str]) -> str:
    """A column name that no other column has, also for readers that ignore case."""
    name = wanted or "_"
    while name.casefold() in taken:
        name += "_"
    taken.add(name.casefold())
    return name


def _pack(values: Sequence[Any]) -> tuple[Kind, pa.Array[Any], tuple[int, ...]]:
    """The smallest column that gives exactly these values back, and where it needs a sign for its zeros."""
    import pyarrow as pa

    types = set(map(type, values)) - {NoneType}
    if types == {float}:
        return "float", *_decimals(values)
    if types <= {int} and (integers := _integers(values)) is not None:
        return "int", integers, ()
    if types == {int, float} and _whole_are_ints(values):
        return "number", *_decimals(values)
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


def _whole_are_ints(values: Sequence[Any]) -> bool:
    """True when the value tells its type: integers that a double can hold, floats with a fraction."""
    return all(
        value is None or (-(2**53) < value < 2**53 if type(value) is int else not value.is_integer())
        for value in values
    )


def _decimals(values: Sequence[Any]) -> tuple[pa.Array[Any], tuple[int, ...]]:
    """The floats as decimals when that loses nothing but the sign of zeros, else as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    floats = pa.array(values, pa.float64())
    unsigned = pc.add(floats, 0.0)
    for decimals in range(_least_decimals(values), MAX_DECIMALS + 1):
        scaled = _scale(unsigned, decimals)
        if scaled is not None:
            digits = 9 if _fits(scaled, 10**9) else 18
            kind = pa.decimal64(digits, decimals)
            changed: Any = pc.not_equal(floats.view(pa.int64()), unsigned.view(pa.int64()))
            zeros = tuple(pc.indices_nonzero(changed).to_pylist())
            return pa.Array.from_buffers(kind, len(scaled), scaled.buffers()), zeros
    return floats, ()


def _least_decimals(values: Sequence[Any]) -> int:
    """How many decimals a few samples need as text: where the search begins."""
    texts = map(repr, values[:: len(values) // PROBES + 1])
    return max(len(text.removesuffix(".0").partition(".")[2]) for text in texts)


def _scale(floats: pa.Array[Any], decimals: int) -> pa.Array[Any] | None:
    """value * 10^decimals as int64; None unless dividing gives back every bit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    scaled = pc.round(pc.multiply(floats, 10.0**decimals))
    if not _fits(scaled, 10**15):
        return None
    whole = pc.cast(scaled, pa.int64())
    same = _unscale(whole, decimals).view(pa.int64()).equals(floats.view(pa.int64()))
    return whole if same else None


def _unscale(whole: pa.Array[Any], decimals: int) -> pa.Array[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    # Divided, not multiplied by 0.1: only division rounds as reading the decimal text does.
    return pc.divide(pc.cast(whole, pa.float64()), 10.0**decimals)


def _fits(numbers: pa.Array[Any], bound: int) -> bool:
    """True when every number is nearer to zero than `bound`."""
    import pyarrow.compute as pc

    extremes: Any = pc.min_max(numbers)
    least, most = extremes["min"].as_py(), extremes["max"].as_py()
    return least is None or (-bound < least and most < bound)


def _encoding(column: pa.Array[Any]) -> str | None:
    import pyarrow.types as kinds

    if kinds.is_floating(column.type):
        return "BYTE_STREAM_SPLIT"
    return "DELTA_BINARY_PACKED" if kinds.is_integer(column.type) or kinds.is_decimal(column.type) else None


def _write(arrays: dict[str, pa.Array[Any]], samples: int, manifest: _Manifest) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    even = {name: _padded(array, samples) for name, array in arrays.items()}
    table = pa.table(even)
    encodings = {name: how for name, array in even.items() if (how := _encoding(array))}
    texts = [name for name, array in even.items() if array.type == pa.string()]
    sink = pa.BufferOutputStream()
    writer = pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        use_dictionary=cast(bool, texts),  # the stubs do not know that column names do as well
        column_encoding=encodings or None,
        store_decimal_as_integer=True,
        # Arrow's copy of the schema and the statistics would be a tenth of a short activity's blob.
        store_schema=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    with writer:
        writer.write_table(table)
        writer.add_key_value_metadata({MANIFEST_KEY: msgspec.json.encode(manifest).decode()})
    return sink.getvalue().to_pybytes()


def _padded(array: pa.Array[Any], samples: int) -> pa.Array[Any]:
    import pyarrow as pa

    missing = samples - len(array)
    return pa.concat_arrays([array, pa.nulls(missing, array.type)]) if missing else array


def _read(blob: bytes) -> tuple[_Manifest, pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(blob), page_checksum_verification=True)
        found = (file.metadata.metadata or {}).get(MANIFEST_KEY.encode())
        if found is None:
            raise MalformedStreams(f"the Parquet file has no {MANIFEST_KEY} entry: feedzone did not write it")
        manifest = msgspec.json.decode(found, type=_Manifest)
        if manifest.format != FORMAT:
            raise MalformedStreams(f"the blob has format {manifest.format}; this version reads {FORMAT}")
        return manifest, file.read(use_threads=False)
    except (pa.ArrowException, msgspec.DecodeError, OSError) as problem:
        raise MalformedStreams(f"the blob cannot be read: {problem}") from None


def _values(table: pa.Table, column: _Column, length: int) -> list[Any]:
    try:
        array = table.column(column.name).combine_chunks().slice(0, length)
    except KeyError:
        raise MalformedStreams(f"the blob lacks its column {column.name!r}") from None
    values = _unpack(array, column.kind)
    for index in column.negative_zeros:
        values[index] = -0.0
    return values


def _unpack(column: pa.Array[Any], kind: Kind) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "int":
        return _listed(pc.cast(column, pa.int64()), "q")
    if kind == "float":
        return _listed(_floats(column), "d")
    if kind == "number":
        return [int(v) if v is not None and v.is_integer() else v for v in _listed(_floats(column), "d")]
    if kind == "bool":
        return [None if v is None else v != 0 for v in _listed(pc.cast(column, pa.int8()), "b")]
    if kind == "json":
        return [None if v is None else msgspec.json.decode(v) for v in column.to_pylist()]
    return column.to_pylist()


def _floats(column: pa.Array[Any]) -> pa.Array[Any]:
    """Decimals back to the floats they were; `_scale` has proven this very arithmetic."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_decimal(column.type):
        return column
    scale = column.type.scale
    digits = pa.Array.from_buffers(pa.decimal128(38, 0), len(column), column.buffers(), offset=column.offset)
    return _unscale(pc.cast(digits, pa.int64()), scale)


def _listed(column: pa.Array[Any], code: Literal["q", "d", "b"]) -> list[Any]:
    """The column as Python values, ten times faster than `to_pylist`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(column):
        return []
    data: Any = column.buffers()[1]
    cells = memoryview(data).cast("B").cast(code)
    values: list[Any] = cells[column.offset : column.offset + len(column)].tolist()
    if column.null_count:
        absent = _listed(pc.cast(pc.is_null(column), pa.int8()), "b")
        for index in compress(range(len(values)), absent):
            values[index] = None
    return values
