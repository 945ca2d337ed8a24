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

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from .. import offload
from ..domain import json_text
from ..domain.json_text import failure
from ..errors import InvalidInput
from . import stream_columns, stream_numbers

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


BYTES_A_VALUE = 6
"""Of JSON, on average."""

NULL = b"null"

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_channels = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])


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
    try:
        return _encode(_parse(streams), msgspec.json.decode)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise MalformedStreams(f"the streams answer is not JSON: {failure(problem)}") from None


def _encode(entries: dict[str, dict[str, bytes]], decode: stream_columns.Decode) -> StreamBlob:
    channels: list[_Channel] = []
    arrays: dict[str, pa.Array[Any]] = {}
    used_names: set[str] = set()
    data = {name: text for name, entry in entries.items() if (text := entry.get("data", NULL)) != NULL}
    packed = stream_numbers.pack_lists([(text, name == "latlng") for name, text in data.items()], decode)
    columns_of = dict(zip(data, packed, strict=True))
    for name, entry in entries.items():
        fields = {
            key: msgspec.json.decode(text) for key, text in entry.items() if key != "data" or text == NULL
        }
        columns = []
        parts = columns_of.get(name, ())
        for column_name, (kind, array, zeros) in zip(
            ("lat", "lng") if len(parts) == 2 else (name,), parts, strict=False
        ):
            column = _Column(_unused_name(column_name, used_names), kind, zeros)
            columns.append(column)
            arrays[column.name] = array
        length = max((len(arrays[column.name]) for column in columns), default=0)
        channels.append(_Channel(name, fields, tuple(columns), length, UNITS.get(name)))
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


async def encoded(streams: bytes) -> StreamBlob:
    """Encode Strava's response away from the event loop, with repaired text. Raises MalformedStreams."""
    return await offload.compute(_encode_repaired, streams)


def _encode_repaired(streams: bytes) -> StreamBlob:
    try:
        entries = _parse_repaired(streams)
        if not all("data" in entry for entry in entries.values()):
            raise MalformedStreams("a stream lacks its data")
        return _encode(entries, json_text.value)
    except (InvalidInput, msgspec.DecodeError) as problem:
        if isinstance(problem, MalformedStreams):
            raise
        raise MalformedStreams(f"the answer does not have the shape of streams: {failure(problem)}") from None


async def decoded_json(blob: bytes, values: int) -> bytes:
    """Return the JSON of Strava's response, made away from the event loop. Raises MalformedStreams.

    `values`: about how many the blob has. Compression may hide them: a million equal values take a few bytes.
    """
    return await offload.compute(_decode_to_json, blob, size=values * BYTES_A_VALUE)


def _decode_to_json(blob: bytes) -> bytes:
    return msgspec.json.encode(decode(blob))


def without(blob: bytes, channel: str) -> bytes:
    """Return the blob without one channel. Raises MalformedStreams as `decode` does."""
    manifest, table = _read(blob)
    others = tuple(entry for entry in manifest.channels if entry.name != channel)
    samples = max((entry.length for entry in others), default=0)
    columns = {
        column.name: table.column(column.name).combine_chunks().slice(0, samples)
        for entry in others
        for column in entry.columns
    }
    return _write(columns, samples, _Manifest(FORMAT, others))


def _parse_repaired(streams: bytes) -> dict[str, dict[str, bytes]]:
    """Return the members of each channel, repaired; `data` are repaired when they are packed."""
    try:
        entries = _parse(streams)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse(json_text.readable(streams).encode())
    others = [text for entry in entries.values() for key, text in entry.items() if key != "data"]
    names = [msgspec.json.encode(name) for channel, entry in entries.items() for name in (channel, *entry)]
    if json_text.is_readable(b"[" + b",".join((*names, *others)) + b"]"):
        return entries
    return _parse(json_text.readable(streams).encode())


def _parse(streams: bytes) -> dict[str, dict[str, bytes]]:
    """Return the members of each channel as JSON text: most data become columns without Python values."""
    if re.match(rb"\s*[\[\"tfn\-0-9]", streams):
        raise MalformedStreams("the streams answer is not an object of channels (key_by_type=true)")
    try:
        channels = _channels.decode(streams)
    except msgspec.ValidationError:
        texts = enumerate(_object.decode(streams).values(), 1)
        number = next(number for number, text in texts if not bytes(text).startswith(b"{"))
        raise MalformedStreams(f"stream {number} is not an object") from None
    entries = {}
    for number, (name, members) in enumerate(channels.items(), 1):
        entries[name] = {key: bytes(value) for key, value in members.items()}
        data = entries[name].get("data", NULL)
        if not data.startswith(b"[") and data != NULL:
            raise MalformedStreams(f"the data of stream {number} is not a list")
    return entries


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
