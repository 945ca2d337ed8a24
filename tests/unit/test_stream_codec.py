"""Decoding a blob restores every value, type and key of any channels."""

from __future__ import annotations

import io
import json
import math
import os
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedzone.errors import InvalidInput
from feedzone.store.stream_codec import MANIFEST_KEY, MalformedStreams, StreamBlob, decode, encode

ABOUT = {"series_type": "distance", "original_size": 3, "resolution": "high"}


def packed(streams: dict[str, Any]) -> StreamBlob:
    return encode(json.dumps(streams).encode())


def channel(data: Any, name: str = "x") -> dict[str, Any]:
    return {name: {"data": data, **ABOUT}}


def table(blob: StreamBlob) -> pa.Table:
    return pq.read_table(io.BytesIO(blob.blob))


def exact(value: Any) -> str:
    """Return a text that differs when the values differ: 1 from 1.0, 0.0 from -0.0, the order of keys."""
    return json.dumps(value)


def survives(streams: dict[str, Any]) -> None:
    # Parse once, because JSON has the integer -0 where Python has only the float -0.0.
    streams = json.loads(json.dumps(streams))
    assert exact(decode(packed(streams).blob)) == exact(by_data_last(streams))


def by_data_last(streams: dict[str, Any]) -> dict[str, Any]:
    """Return the streams with `data` as the last key of each channel, as decoding does."""
    ordered = {}
    for name, entry in streams.items():
        data = entry.get("data")
        fields = {key: value for key, value in entry.items() if key != "data" or value is None}
        ordered[name] = fields if data is None else {**fields, "data": data}
    return ordered


names = st.sampled_from(["time", "latlng", "lat", "LAT", "lng", "", "a.b", "moving"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
floats = st.floats(allow_nan=False, allow_infinity=False)
measured = st.builds(lambda n, d: n / 10**d, st.integers(-(10**8), 10**8), st.integers(0, 7))
scalars = st.none() | st.booleans() | st.integers() | floats | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def column(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=20) | st.lists(st.none() | values, max_size=20)


points = st.lists(measured, min_size=2, max_size=2)
columns = st.one_of(
    column(st.integers(-300, 300)),
    column(st.integers(-(2**63), 2**63 - 1)),
    column(st.integers()),
    column(measured),
    column(floats),
    column(measured.map(lambda v: int(v) if v.is_integer() else v)),
    column(st.booleans()),
    column(texts),
    column(points),
    column(scalars),
    column(anything),
)
fields = st.dictionaries(texts.filter(lambda key: key != "data"), anything, max_size=3)
entries = st.builds(
    lambda extra, data: {**extra, **data},
    fields,
    st.fixed_dictionaries({}, optional={"data": columns | st.none()}),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, entries, max_size=6))
def test_every_response_is_restored_exactly(streams):
    survives(streams)


@settings(max_examples=200, deadline=None)
@given(st.lists(measured | st.just(-0.0), min_size=1, max_size=300))
def test_measurements_are_restored_exactly(data):
    survives(channel(data))


@pytest.mark.parametrize(
    "data",
    [
        [0.0, 1.4, 2.8, 4.2],
        [0, 1, 2, 3],
        [1.0, 2.0],
        [0.0, -0.0, -0.1, -0.0],
        [0.1, None, -0.0, None],
        [None, None],
        [],
        [1, 2.5, 3],
        [1, 1.0],
        [2**31, -(2**31) - 1],
        [2**63 - 1, -(2**63)],
        [2**63],
        [2**80, None, 1],
        [2**53, 0.5],
        [2**53 + 1, 0.5],
        [-(2**53) - 1, 0.5],
        [0.1 + 0.2, 1e300, 5e-324],
        [1e-5, 2.5e-7],
        [123456789.1, 999999999999999.0, 1e15],
        [0.1] * 200 + [0.123456],
        [True, False, None],
        [True, 1],
        ["a", None, ""],
        ["nul\0", "é"],
        [[1.5, 2], None],
        [{"a": [1]}, 3, "x"],
    ],
)
def test_values_are_restored_with_their_types(data):
    survives(channel(data))
    survives(channel(data, "latlng"))


@pytest.mark.parametrize(
    "data",
    [
        [[48.137154, 11.576124], [48.1372, 11.5761]],
        [[48.0, 11], [48, 11.5]],
        [None, [48.1, 11.5], None],
        [[None, None], None, [1.5, 2.5]],
        [[None, 1.5], [2.5, None]],
        [[1.5, 2.5, 3.5], [1.5]],
        [[]],
        [None],
        [],
        ["ab", "cd"],
        [{"a": 1, "b": 2}],
    ],
)
def test_positions_are_restored_exactly(data):
    survives({"latlng": {"data": data, **ABOUT}, "time": {"data": [0], **ABOUT}})


@pytest.mark.parametrize(
    "entry", [{}, {"data": None}, {"data": []}, {**ABOUT, "data": None}, {"new": [1.0, {}]}]
)
def test_empty_channels_keep_their_members(entry):
    survives({"heartrate": entry})
    assert packed({"heartrate": entry}) == StreamBlob(packed({"heartrate": entry}).blob, ("heartrate",), 0)


def test_a_response_without_channels_is_encoded():
    blob = encode(b"{}")
    assert (blob.channels, blob.samples) == ((), 0)
    assert decode(blob.blob) == {}


def test_channels_may_have_different_lengths():
    streams = {
        **channel([1, 2, 3], "time"),
        **channel([1.5], "altitude"),
        **channel([], "watts"),
        **channel([None], "temp"),
    }
    survives(streams)
    assert packed(streams).samples == 3
    assert table(packed(streams))["altitude"].to_pylist() == [Decimal("1.5"), None, None]


def test_channels_are_named_and_ordered_as_received():
    streams = {
        **channel([[1.5, 2.5]], "latlng"),
        **channel([1], "time"),
        **channel([2], "private_new_channel"),
    }
    assert packed(streams).channels == ("latlng", "time", "private_new_channel")
    assert list(decode(packed(streams).blob)) == ["latlng", "time", "private_new_channel"]


def test_any_parquet_reader_sees_true_values_under_sensible_names():
    read = table(
        packed(
            {
                **channel([0, 1], "time"),
                **channel([[48.137154, 11.5], [48.1, 11.576124]], "latlng"),
                **channel([2.8, 3.0], "velocity_smooth"),
                **channel([True, False], "moving"),
                **channel([1 / 3, 0.5], "odd"),
            }
        )
    )
    assert read.to_pydict() == {
        "time": [0, 1],
        "lat": [Decimal("48.137154"), Decimal("48.100000")],
        "lng": [Decimal("11.500000"), Decimal("11.576124")],
        "velocity_smooth": [Decimal("2.8"), Decimal("3.0")],
        "moving": [True, False],
        "odd": [1 / 3, 0.5],
    }
    assert read.schema.field("time").type == pa.int32()


def test_column_names_differ_for_readers_that_ignore_case():
    streams = {
        **channel([[1.5, 2.5]], "latlng"),
        **channel([1], "lat"),
        **channel([2], "LAT"),
        **channel([3], ""),
    }
    survives(streams)
    assert table(packed(streams)).column_names == ["lat", "lng", "lat_", "LAT__", "_"]


def test_the_encodings_are_the_compact_ones():
    streams = {**channel([1, 2], "time"), **channel([1.5, 2.5], "altitude"), **channel([1 / 3, 2 / 3], "odd")}
    group = pq.ParquetFile(io.BytesIO(packed(streams).blob)).metadata.row_group(0)
    chunks = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert "DELTA_BINARY_PACKED" in chunks["time"].encodings
    assert "DELTA_BINARY_PACKED" in chunks["altitude"].encodings
    assert chunks["altitude"].physical_type == "INT32"
    assert "BYTE_STREAM_SPLIT" in chunks["odd"].encodings
    assert {chunk.compression for chunk in chunks.values()} == {"ZSTD"}


def test_the_blob_describes_itself():
    manifest = json.loads(
        pq.read_metadata(io.BytesIO(packed(channel([1, 2, 3], "watts")).blob)).metadata[MANIFEST_KEY.encode()]
    )
    assert manifest == {
        "format": 1,
        "channels": [
            {
                "name": "watts",
                "fields": ABOUT,
                "columns": [{"name": "watts", "kind": "int"}],
                "length": 3,
                "unit": "W",
            }
        ],
    }


RUN_CHANNELS = (
    "time",
    "distance",
    "latlng",
    "altitude",
    "velocity_smooth",
    "heartrate",
    "cadence",
    "moving",
    "grade_smooth",
)


def realistic_run(samples: int) -> dict[str, Any]:
    dice, series = random.Random(7), {}
    distance, lat, lng = 0.0, 48.137154, 11.576124
    rows = []
    for second in range(samples):
        speed = max(0.0, 3 + dice.gauss(0, 0.3))
        distance += speed
        lat, lng = (
            lat + speed * math.cos(second / 900) / 111_320,
            lng + speed * math.sin(second / 900) / 74_300,
        )
        height, beats = 520 + 20 * math.sin(second / 300), 150 + 10 * math.sin(second / 500)
        rows.append(
            (second, round(distance, 1), [round(lat, 6), round(lng, 6)], round(height, 1), round(speed, 1))
        )
        rows[-1] += (round(beats), round(84 + dice.gauss(0, 1)), speed > 0.5, round(dice.gauss(0, 1), 1))
    for name, data in zip(RUN_CHANNELS, zip(*rows, strict=True), strict=True):
        series[name] = {"data": list(data), **ABOUT}
    return series


def test_a_run_shrinks_to_less_than_a_fifth():
    run = realistic_run(3600)
    survives(run)
    assert len(packed(run).blob) * 5 <= len(json.dumps(run, separators=(",", ":")))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"x":{"data":[NaN]}}', "not JSON"),
        (b'{"x":{"data":[1e999]}}', "not JSON"),
        (b"[" * 100_000, "not an object of channels"),
        (b'{"x":{"data":' + b"[" * 100_000, "not JSON"),
        (b'{"x":{"data":[1,]}}', "not JSON"),
        (b"null", "not an object of channels"),
        (b'[{"type":"time","data":[1]}]', "key_by_type"),
        (b'{"message":"Record Not Found","errors":[]}', "stream 1 is not an object"),
        (b'{"time":{"data":"abc"}}', "data of stream 1 is not a list"),
        (b'{"time":{"data":{}}}', "data of stream 1 is not a list"),
    ],
)
def test_a_malformed_response_is_refused(answer, message):
    with pytest.raises(MalformedStreams, match=message) as caught:
        encode(answer)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, InvalidInput)


def foreign(metadata: dict[str, str] | None) -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, pa.schema([("a", pa.int32())])) as writer:
        writer.write_table(pa.table({"a": pa.array([1], pa.int32())}))
        if metadata:
            writer.add_key_value_metadata(metadata)
    return sink.getvalue()


WITHOUT_COLUMN = (
    '{"format":1,"channels":[{"name":"b","fields":{},"columns":[{"name":"b","kind":"int"}],"length":1}]}'
)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "cannot be read"),
        (b"not parquet at all", "cannot be read"),
        (foreign(None), "feedzone did not write it"),
        (foreign({MANIFEST_KEY: "nonsense"}), "cannot be read"),
        (foreign({MANIFEST_KEY: '{"format":2,"channels":[]}'}), "has format 2; this version reads 1"),
        (foreign({MANIFEST_KEY: WITHOUT_COLUMN}), "lacks one of its columns"),
    ],
)
def test_an_unreadable_blob_is_refused(blob, message):
    with pytest.raises(MalformedStreams, match=message):
        decode(blob)


def test_a_damaged_value_is_detected():
    # Noise does not compress, so zstd stores it unchanged and would not detect the damage.
    dice = random.Random(3)
    blob = bytearray(packed(channel([dice.random() for _ in range(4000)])).blob)
    blob[len(blob) // 2] ^= 0xFF
    with pytest.raises(MalformedStreams, match="cannot be read"):
        decode(bytes(blob))


def test_importing_the_codec_does_not_import_arrow():
    program = "import sys, feedzone.store.stream_codec; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_recorded_run_is_restored_exactly():
    folder = os.environ.get("FEEDZONE_RECORDED")
    if not folder:
        pytest.skip("FEEDZONE_RECORDED is not set: no recorded Strava answers here")
    answer = (Path(folder) / "activity_run_streams_distance.json").read_bytes()
    blob = encode(answer)
    assert exact(decode(blob.blob)) == exact(by_data_last(json.loads(answer)))
    assert (blob.channels, blob.samples) == (("distance",), 13129)
    assert len(blob.blob) * 5 <= len(answer)
