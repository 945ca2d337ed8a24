"""One odd entry of a list costs only itself: every other entry of the page is read."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedzone.domain import json_text
from feedzone.errors import InvalidInput, TransientError
from feedzone.strava import calls, payloads

ATHLETE = 134815
GOOD = {
    "id": 7, "athlete": {"id": ATHLETE}, "name": "Ride", "start_date": "2026-11-01T10:00:00Z",
    "distance": 1000.0, "sport_type": "Ride",
}  # fmt: skip
ANOTHER = msgspec.json.encode({**GOOD, "id": 8})
DEEP = b'{"id":9,"athlete":{"id":1},"x":' + b"[" * 5000 + b"]" * 5000 + b',"y":"\\"],["}'


def changed(**members: object) -> bytes:
    return msgspec.json.encode({**GOOD, "id": 9, **members})


SKIPPED = {
    "null": b"null", "number": b"7", "huge number": b"1" * 400, "string": b'"x"', "true": b"true",
    "list": b"[]", "nested list": b"[[1]]", "object": b"{}",
    "30 digits": changed(id=0).replace(b'"id":0', b'"id":' + b"9" * 30), "text id": changed(id="x"),
    "negative id": changed(id=-7), "no id": changed(id=None), "id 0": changed(id=0),
    "list id": changed(id=[9]), "fraction": changed(id=9.5), "too large": changed(id=2**63),
    "deep": DEEP, "bytes": changed(name="x").replace(b'"x"', b'"\xff"'),
}  # fmt: skip
READ_IN_PART = {
    "digits as text": changed(id="9"), "no athlete": changed(athlete=None),
    "athlete number": changed(athlete=5),
    "date zero": changed(start_date="0000-00-00"), "date number": changed(start_date=5),
    "date far": changed(start_date="9999-12-31T23:59:59Z"), "distance text": changed(distance="far"),
    "infinite": changed(distance=0).replace(b'"distance":0', b'"distance":1e999'),
    "not a number": changed(distance=0).replace(b'"distance":0', b'"distance":NaN'),
    "seconds": changed(moving_time=10**18), "map": changed(map=5), "point": changed(start_latlng=["a", None]),
    "name object": changed(name={"a": 1}), "zero byte": changed(name="a\x00b"),
    "flag": changed(private="maybe"),
    "half a pair": changed(name="x").replace(b'"x"', b'"\\ud83d"'),
}  # fmt: skip


def page(*entries: bytes, number: int = 1):
    return calls.activity_page(number, ATHLETE).parse(b"[" + b",".join(entries) + b"]")


@pytest.mark.parametrize("name", SKIPPED)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_entry_that_cannot_be_read_leaves_the_others(name, place):
    entries = [msgspec.json.encode(GOOD), ANOTHER]
    entries.insert(place, SKIPPED[name])
    records = page(*entries)
    assert [record.id for record in records if record.athlete_id == ATHLETE] == [7, 8]
    assert records[place] is payloads.NOBODYS


@pytest.mark.parametrize("name", READ_IN_PART)
def test_an_entry_with_a_readable_id_is_listed(name):
    records = page(msgspec.json.encode(GOOD), READ_IN_PART[name], ANOTHER)
    assert [record.id for record in records] == [7, 9, 8]
    assert {record.athlete_id for record in records} == {ATHLETE}
    for record in records:
        assert msgspec.json.decode(record.raw)
        assert "\x00" not in str(record.columns.get("name"))


def test_all_odd_entries_at_once_leave_the_good_ones():
    records = page(*SKIPPED.values(), msgspec.json.encode(GOOD), *READ_IN_PART.values())
    assert sum(record is payloads.NOBODYS for record in records) == len(SKIPPED)
    assert len(records) == len(SKIPPED) + len(READ_IN_PART) + 1


@pytest.mark.parametrize("name", SKIPPED)
def test_a_later_page_of_one_odd_entry_is_not_the_end_of_the_list(name):
    """It is no failure either, or the history could never be read to its end."""
    if name in ("object", "deep", "bytes"):
        with pytest.raises((TransientError, ValueError)):
            page(SKIPPED[name], number=2)
    else:
        assert page(SKIPPED[name], number=2) == [payloads.NOBODYS]


@pytest.mark.parametrize("body", [b"[", b"[1,]", b"[]]", b"[[]", b"{}", b"[1]x", b"", b"[1,2]"])
def test_what_is_no_list_of_activities_is_not_stravas(body):
    with pytest.raises((TransientError, ValueError)):
        calls.activity_page(1, ATHLETE).parse(body)


@given(st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=9), max_size=5))
def test_a_list_is_split_as_it_was_joined(values):
    body = msgspec.json.encode(values)
    assert [json_text.repair(entry) for entry in json_text.split_list(body)] == json_text.repair(body)


@pytest.mark.parametrize("body", [b"{}", b"[1", b"[1,]", b"[}]", b"[{]", b""])
def test_what_is_no_list_is_not_split(body):
    with pytest.raises(InvalidInput):
        json_text.split_list(body)
