"""Encode the streams of an activity as one compressed Parquet file, and decode it without loss.

Input:  Strava's response with `key_by_type=true` (docs/strava-api.md#streams): an object that has, for each
        channel, `data` (one value per sample, in recording order) and `series_type`, `original_size` and
        `resolution`.
Output: a Parquet file with one column per channel, in Strava's units. All columns are as long as the longest
        channel; shorter ones end in nulls. `latlng` becomes `lat` and `lng`, in degrees. Any Parquet reader
        sees the true values.

| values                   | Parquet column                                                      |
|--------------------------|---------------------------------------------------------------------|
| integers                 | INT32, else INT64; DELTA_BINARY_PACKED                              |
| floats                   | DECIMAL(9 or 18, d), which are scaled integers; DELTA_BINARY_PACKED |
| floats without such a d  | DOUBLE, BYTE_STREAM_SPLIT                                           |
| booleans, strings        | BOOLEAN, UTF8                                                       |
| anything else            | UTF8, the JSON of each value                                        |

d is the smallest number of decimals at which every value is restored as exactly the same float, to the bit
(stream_columns.py). The file's key-value entry `feedzone.streams` stores, as JSON, the facts that columns
cannot express (`_Manifest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..domain.json_text import failure
from ..errors import InvalidInput
from . import stream_columns

# Arrow takes 0.1 s and 40 MB to import, so only a process that handles streams imports it.
if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_KEY = "feedzone.streams"
FORMAT = 1

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
"""The units, for readers that open a blob without feedzone. Decoding does not need them."""


class MalformedStreams(InvalidInput, ValueError):
    """These bytes are neither a streams response of Strava nor a blob of feedzone."""


class StreamBlob(msgspec.Struct, frozen=True):
    """Encoded streams: `channels` in Strava's order, `samples` in the longest channel."""

    blob: bytes
    channels: tuple[str, ...]
    samples: int


class _Column(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    kind: stream_columns.Kind
    negative_zeros: tuple[int, ...] = ()
    """The indexes of -0.0, which a decimal cannot express. Rounded slopes have many of them."""


class _Channel(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    fields: dict[str, Any]
    """All members except `data`; and `data` itself when it was null."""
    columns: tuple[_Column, ...] = ()
    """Empty when there was no `data`; two columns for pairs."""
    length: int = 0
    unit: str | None = None


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    channels: tuple[_Channel, ...]


def encode(streams: bytes) -> StreamBlob:
    """Encode the JSON of Strava's streams response; `{}` gives a blob without channels and samples.

    Raises MalformedStreams when it is not JSON, or not an object of channels whose `data` are lists.
    """
    channels: list[_Channel] = []
    arrays: dict[str, pa.Array[Any]] = {}
    used_names: set[str] = set()
    for name, entry in _parse(streams).items():
        data = entry.get("data")
        fields = {key: value for key, value in entry.items() if key != "data" or value is None}
        columns = []
        for column_name, values in _split(name, data):
            kind, array, zeros = stream_columns.pack(values)
            column = _Column(_unused_name(column_name, used_names), kind, zeros)
            columns.append(column)
            arrays[column.name] = array
        channels.append(_Channel(name, fields, tuple(columns), len(data or ()), UNITS.get(name)))
    samples = max((channel.length for channel in channels), default=0)
    blob = _write(arrays, samples, _Manifest(FORMAT, tuple(channels)))
    return StreamBlob(blob, tuple(channel.name for channel in channels), samples)


def decode(blob: bytes) -> dict[str, dict[str, Any]]:
    """Return the input of `encode`, in the shape of Strava's response, equal down to int versus float.

    Raises MalformedStreams when the blob is damaged, of another program, or of a later format.
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
        response = msgspec.json.decode(streams)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise MalformedStreams(f"the streams answer is not JSON: {failure(problem)}") from None
    if not isinstance(response, dict):
        raise MalformedStreams("the streams answer is not an object of channels (key_by_type=true)")
    for number, entry in enumerate(response.values(), 1):
        if not isinstance(entry, dict):
            raise MalformedStreams(f"stream {number} is not an object")
        if not isinstance(entry.get("data"), list | None):
            raise MalformedStreams(f"the data of stream {number} is not a list")
    return response


def _split(name: str, data: list[Any] | None) -> Iterable[tuple[str, Sequence[Any]]]:
    """Return the columns of a channel, each with its name and values."""
    if data is None:
        return ()
    if name == "latlng" and (coordinates := _coordinates(data)) is not None:
        return zip(("lat", "lng"), coordinates, strict=True)
    return ((name, data),)


def _coordinates(data: list[Any]) -> tuple[Sequence[Any], Sequence[Any]] | None:
    """Return both coordinates separately; None unless all data are pairs or nulls."""
    nulls = data.count(None)
    points = [(None, None) if point is None else point for point in data] if nulls else data
    if not set(map(type, points)) <= {list, tuple} or not set(map(len, points)) <= {2}:
        return None
    flat = list(chain.from_iterable(points))
    # After decoding, a null inside a pair would look like a null instead of the pair.
    return (flat[0::2], flat[1::2]) if not nulls + nulls - flat.count(None) else None


def _unused_name(name: str, used: set[str]) -> str:
    """Return a column name that no other column has, even for readers that ignore case."""
    name = name or "_"
    while name.casefold() in used:
        name += "_"
    used.add(name.casefold())
    return name


def _write(arrays: dict[str, pa.Array[Any]], samples: int, manifest: _Manifest) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    padded = {name: stream_columns.pad(array, samples) for name, array in arrays.items()}
    table = pa.table(padded)
    encodings = {
        name: encoding for name, array in padded.items() if (encoding := stream_columns.encoding(array))
    }
    texts = [name for name, array in padded.items() if array.type == pa.string()]
    sink = pa.BufferOutputStream()
    writer = pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        use_dictionary=cast(bool, texts),  # the stubs do not know that column names are allowed, too
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


def _read(blob: bytes) -> tuple[_Manifest, pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(blob), page_checksum_verification=True)
        encoded = (file.metadata.metadata or {}).get(MANIFEST_KEY.encode())
        if encoded is None:
            raise MalformedStreams(f"the Parquet file has no {MANIFEST_KEY} entry: feedzone did not write it")
        manifest = msgspec.json.decode(encoded, type=_Manifest)
        if manifest.format != FORMAT:
            raise MalformedStreams(f"the blob has format {manifest.format}; this version reads {FORMAT}")
        return manifest, file.read(use_threads=False)
    except (pa.ArrowException, msgspec.DecodeError, OSError) as problem:
        raise MalformedStreams(f"the blob cannot be read: {failure(problem)}") from None


def _values(table: pa.Table, column: _Column, length: int) -> list[Any]:
    try:
        array = table.column(column.name).combine_chunks().slice(0, length)
    except KeyError:
        raise MalformedStreams("the blob lacks one of its columns") from None
    values = stream_columns.unpack(array, column.kind)
    for index in column.negative_zeros:
        values[index] = -0.0
    return values
