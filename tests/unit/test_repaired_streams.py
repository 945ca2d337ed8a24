"""Streams are stored as received, whichever way their text was read, and repaired where it must be."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedzone.domain import json_text
from feedzone.store.stream_codec import MalformedStreams, decode, encoded

measured = st.builds(lambda n, d: n / 10**d, st.integers(-(10**8), 10**8), st.integers(0, 7))
columns = st.one_of(
    *(
        st.lists(values, max_size=20)
        for values in (
            st.integers(-300, 300),
            st.integers(-(2**63), 2**63 - 1),
            measured | st.just(-0.0),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
            st.text(max_size=3),
            st.lists(measured, min_size=2, max_size=2),
            st.none() | st.integers() | measured,
        )
    )
)


def stored(body: bytes) -> str:
    """Return the streams as they come out of the database; the text shows 1 from 1.0 and 0.0 from -0.0."""
    return json.dumps(decode(asyncio.run(encoded(body)).blob))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["time", "latlng", "", "a\0"]), columns, max_size=4))
def test_the_stored_streams_are_those_of_the_repaired_text(channels):
    text = json.dumps({name: {"type": "x", "data": data} for name, data in channels.items()}).encode()
    assert stored(text) == json.dumps(json_text.value(json_text.readable(text).encode()))


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"[ 1 , 2\n]", [1, 2]),
        (b"[1.50,2.25]", [1.5, 2.25]),
        (b"[-0.0,0.0,-0.5]", [-0.0, 0.0, -0.5]),
        (b"[-0,1]", [0, 1]),
        (b"[9007199254740993,1]", [9007199254740993, 1]),
        (b"[9223372036854775808]", [9.223372036854775808e18]),
        (b"[" + b"9" * 400 + b".5]", [None]),
        (b"[0." + b"1" * 30 + b"]", [0.1111111111111111]),
        (b"[[1,2],[3,4]]", [[1, 2], [3, 4]]),
        (b"[[1.5,2.5]]", [[1.5, 2.5]]),
        (b"[true,false]", [True, False]),
        (b"[true,1]", [True, 1]),
        (b"[[true],false]", [[True], False]),
    ],
)
@pytest.mark.parametrize("name", ["latlng", "watts"])
def test_values_are_read_from_their_text(name, text, data):
    assert stored(b'{"%s":{"data":%b}}' % (name.encode(), text)) == json.dumps({name: {"data": data}})


@pytest.mark.parametrize("text", [b"[truefalse]", b"[1 2]", b"[01]", b"[1.]", b"[,]", b"[1,]", b'["\xff"]'])
def test_what_is_no_list_of_values_is_refused(text):
    with pytest.raises(MalformedStreams):
        stored(b'{"watts":{"data":%b}}' % text)
