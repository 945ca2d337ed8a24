"""Webhook events: how they are read, which deliveries are one event, and the jobs they cause."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedzone.domain.event import StravaEvent, VisibleUpdate, job_for, parse_event, visible_update
from feedzone.domain.job import Lane, RefreshHint, RevokeHint
from feedzone.errors import InvalidInput

BASE = {
    "object_type": "activity",
    "object_id": 1360128428,
    "aspect_type": "create",
    "owner_id": 134815,
    "subscription_id": 120475,
    "event_time": 1516126040,
    "updates": {},
}
UNKNOWN = {"title": "Canary"}
ATHLETE_UPDATE = {"object_type": "athlete", "object_id": 134815, "aspect_type": "update"}
OFFICIAL = [
    b'{"object_type":"activity","object_id":1360128428,"aspect_type":"create","owner_id":134815,'
    b'"subscription_id":120475,"event_time":1516126040,"updates":{}}',
    b'{"object_type":"activity","object_id":1360128428,"aspect_type":"update","owner_id":134815,'
    b'"subscription_id":120475,"event_time":1516126040,"updates":{"title":"Messy"}}',
    b'{"object_type":"activity","object_id":1360128428,"aspect_type":"update","owner_id":134815,'
    b'"subscription_id":120475,"event_time":1516126040,"updates":{"private":"true"}}',
    b'{"object_type":"activity","object_id":1360128428,"aspect_type":"delete","owner_id":134815,'
    b'"subscription_id":120475,"event_time":1516126040,"updates":{}}',
    b'{"object_type":"athlete","object_id":134815,"aspect_type":"update","owner_id":134815,'
    b'"subscription_id":120475,"event_time":1516126040,"updates":{"authorized":"false"}}',
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
RECEIVED_MS = 1516126041500
RECEIVED = datetime.fromtimestamp(RECEIVED_MS / 1000, UTC)


def event(**changes: object) -> StravaEvent:
    return parse_event(msgspec.json.encode(BASE | changes))


@pytest.mark.parametrize("body", OFFICIAL)
def test_reads_the_payloads_that_strava_documents(body):
    read = parse_event(body)
    documented = msgspec.json.decode(body)
    assert {name: getattr(read, name) for name in documented} == documented
    assert read.raw == body.decode()


def test_the_documented_payloads_are_five_events():
    assert len({parse_event(body).dedup_key for body in OFFICIAL}) == 5


@pytest.mark.parametrize("empty", [b"{}", b"[]", b"null", None])
def test_updates_may_be_missing_or_empty_in_any_spelling(empty):
    body = OFFICIAL[0].replace(b',"updates":{}', b"" if empty is None else b',"updates":' + empty)
    assert parse_event(body).updates == {}
    assert parse_event(body).dedup_key == event().dedup_key


@pytest.mark.parametrize("value", [True, False, "true", "false", None, 1, "x", {"deep": [1]}])
def test_updates_take_any_key_and_any_kind_of_value(value):
    assert event(updates={"unknown": value}).updates == {"unknown": value}


def test_unknown_fields_are_stored():
    body = OFFICIAL[0].replace(b'"updates"', b'"delivery": 1.50, "updates"')
    assert msgspec.json.decode(parse_event(body).raw) == BASE | {"delivery": 1.5}


def test_of_duplicate_fields_the_stored_event_has_the_one_that_counts():
    body = OFFICIAL[0].replace(b'"object_id"', b'"object_id":5,"object_id"')
    assert parse_event(body).raw == OFFICIAL[0].decode()


@pytest.mark.parametrize(
    ("escaped", "title"),
    [("a\\ud800b", "a\ufffdb"), ("a\\u0000b", "ab"), ("\\ud83d\\ude00", "\U0001f600"), ("\u00e9", "\u00e9")],
)
def test_text_that_no_database_can_store_is_repaired(escaped, title):
    body = OFFICIAL[1].replace(b"Messy", escaped.encode())
    read = parse_event(body)
    assert read.updates == {"title": title}
    assert msgspec.json.decode(read.raw)["updates"] == {"title": title}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"1e999", "double"),
        (b"-1e999", "double"),
        (b"NaN", "NaN"),
        (b"-Infinity", "Infinity"),
        (b"9" * 5000, "64 bits"),
        (b"9223372036854775808", "64 bits"),
        (b"-9223372036854775809", "64 bits"),
        (b"[" * 975 + b"]" * 975, "levels"),
        (b"[" * 15000 + b"]" * 15000, "levels"),
        (b'{"a":' * 64 + b"1" + b"}" * 64, "levels"),
    ],
)
@pytest.mark.parametrize("place", [b'"z":%b,"updates":{}', b'"updates":{"z":%b}'])
def test_a_value_that_some_decoder_cannot_read_is_refused(place, value, says):
    """Stored, it would make the event unreadable: its page, the API, and the deletion of its activity."""
    with pytest.raises(InvalidInput, match=says):
        parse_event(OFFICIAL[0].replace(b'"updates":{}', place % value))


def test_updates_have_a_limit():
    assert event(updates={"title": "x" * 16_000}).updates
    with pytest.raises(InvalidInput, match=r"at most 16384 bytes - at `\$\.updates`"):
        event(updates={"title": "x" * 17_000})


@pytest.mark.parametrize(
    "changes",
    [{"object_type": "club"}, {"aspect_type": "destroy"}, {"object_type": "x" * 64, "aspect_type": "\ufffd"}],
)
def test_an_unknown_kind_of_event_is_read_and_causes_no_job(changes):
    """Strava announces new kinds. Refused, they would be delivered again and again."""
    read = event(**changes)
    assert not read.is_known_kind
    assert job_for(read, "e1", "verified", RECEIVED) is None


@pytest.mark.parametrize("field", ["object_id", "owner_id", "subscription_id", "event_time"])
def test_ids_have_64_bits(field):
    assert getattr(event(**{field: 2**63 - 1}), field) == 2**63 - 1
    with pytest.raises(InvalidInput, match="64 bits"):
        event(**{field: 2**63})


@pytest.mark.parametrize("field", [name for name in BASE if name != "updates"])
def test_a_missing_field_is_refused_by_name(field):
    body = {name: value for name, value in BASE.items() if name != field}
    with pytest.raises(InvalidInput, match=field):
        parse_event(msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("object_type", 1),
        ("object_type", ""),
        ("aspect_type", "x" * 65),
        ("object_id", "1360128428"),
        ("object_id", 1.5),
        ("object_id", -1),
        ("object_id", True),
        ("owner_id", None),
        ("event_time", "now"),
        ("updates", [1]),
        ("updates", "title"),
        ("updates", 5),
    ],
)
def test_a_wrong_field_is_refused_by_name(field, value):
    with pytest.raises(InvalidInput, match=field):
        event(**{field: value})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b"\xff\xfe",
        OFFICIAL[0] + b"x",
        b"[" * 100_000,
        b'{"updates":"\\ud800"}',
    ],
)
def test_a_body_that_is_no_event_is_refused(body):
    with pytest.raises(InvalidInput):
        parse_event(body)


@given(st.binary(max_size=200))
def test_no_body_breaks_the_parser(body):
    with pytest.raises(InvalidInput):
        parse_event(body)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
@example({"": None, "\x00": []})
def test_any_updates_have_an_identity(updates):
    assert event(updates=updates).dedup_key == event(updates=dict(reversed(updates.items()))).dedup_key


def test_copies_of_an_event_are_one_event_in_any_spelling():
    spaced = msgspec.json.format(OFFICIAL[1], indent=2)
    reordered = msgspec.json.encode(dict(reversed(msgspec.json.decode(OFFICIAL[1]).items())))
    assert (
        parse_event(spaced).dedup_key
        == parse_event(reordered).dedup_key
        == parse_event(OFFICIAL[1]).dedup_key
    )


def test_the_order_of_updates_is_no_part_of_the_identity():
    title_first = event(updates={"title": "a", "type": "Run"})
    type_first = event(updates={"type": "Run", "title": "a"})
    assert title_first.dedup_key == type_first.dedup_key


@pytest.mark.parametrize(
    "change",
    [
        {"object_type": "athlete"},
        {"object_id": 7},
        {"aspect_type": "update"},
        {"owner_id": 7},
        {"subscription_id": 7},
        {"event_time": 7},
        {"updates": {"title": "x"}},
    ],
)
def test_each_field_is_part_of_the_identity(change):
    assert event(**change).dedup_key != event().dedup_key


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"updates": {"authorized": "false"}}, True),
        ({"updates": {"authorized": False}}, True),
        ({"updates": {"authorized": "false", "more": 1}}, True),
        ({"updates": {"authorized": "true"}}, False),
        ({"updates": {"authorized": True}}, False),
        ({"updates": {"authorized": None}}, False),
        ({"updates": {"authorized": 0}}, False),
        ({"updates": {"authorized": ""}}, False),
        ({"updates": {}}, False),
        ({"updates": {"authorized": "false"}, "aspect_type": "delete"}, False),
        ({"updates": {"authorized": "false"}, "aspect_type": "create"}, False),
        ({"updates": {"authorized": "false"}, "object_type": "activity"}, False),
        ({"updates": {}, "aspect_type": "delete"}, False),
    ],
)
def test_only_an_athlete_update_with_authorized_false_is_a_deauthorization(changes, gone):
    parsed = event(**(ATHLETE_UPDATE | changes))
    assert parsed.is_deauthorization is gone
    if parsed.object_type == "athlete":
        assert (job_for(parsed, "e1", "absent", RECEIVED) is not None) is gone


@pytest.mark.parametrize(
    ("aspect", "action"), [("create", "refresh"), ("update", "refresh"), ("delete", "delete")]
)
@pytest.mark.parametrize(
    ("signature", "verified"), [("verified", True), ("mismatch", False), ("absent", False)]
)
def test_an_activity_event_causes_a_refresh_of_its_activity(aspect, action, signature, verified):
    spec = job_for(event(aspect_type=aspect), "e1", signature, RECEIVED)
    assert (spec.kind, spec.key, spec.athlete_id) == ("refresh_activity", "activity:1360128428", 134815)
    assert spec.hint == RefreshHint(action=action, verified=verified, cause="event:e1")
    assert (spec.hint_time, spec.lane) == (1516126040, Lane.LIVE)


@pytest.mark.parametrize(("aspect", "after"), [("create", None), ("update", 3.0), ("delete", None)])
def test_only_an_update_waits_for_more_updates(aspect, after):
    """The values of the update are shown at once."""
    due = job_for(event(aspect_type=aspect), "e1", "absent", RECEIVED).due_at
    assert (due and due.timestamp() - RECEIVED_MS / 1000) == after


FUTURE = 2**63 - 1
RETITLED = {"aspect_type": "update", "updates": {"title": "x"}}


def test_an_event_from_the_future_does_not_hide_later_events():
    """A forged one would block the values of newer events."""
    latest = RECEIVED_MS // 1000
    forged = event(**RETITLED, event_time=FUTURE)
    assert job_for(forged, "e1", "absent", RECEIVED).hint_time == latest
    assert visible_update(forged, "e1", RECEIVED).event_time == latest
    gone = event(**ATHLETE_UPDATE, updates={"authorized": "false"}, event_time=FUTURE)
    assert job_for(gone, "e1", "absent", RECEIVED).hint_time == latest
    assert forged.dedup_key != event(**RETITLED, event_time=latest).dedup_key


@pytest.mark.parametrize(
    ("changes", "signature", "lane"),
    [
        (RETITLED, "absent", Lane.RECONCILE),
        (RETITLED, "mismatch", Lane.LIVE),  # nothing of it is shown
        (RETITLED | {"updates": {"private": "false"}}, "absent", Lane.LIVE),
        ({"aspect_type": "create"}, "absent", Lane.LIVE),
        ({"aspect_type": "delete"}, "absent", Lane.LIVE),
    ],
)
def test_many_edits_that_are_shown_already_are_confirmed_behind_live_work(changes, signature, lane):
    """If somebody edits hundreds of activities at once, new rides must still get their calls."""
    edit = event(**changes)
    assert job_for(edit, "e1", signature, RECEIVED, in_bulk=True).lane is lane
    assert job_for(edit, "e1", signature, RECEIVED).lane is Lane.LIVE


@pytest.mark.parametrize(("signature", "verified"), [("verified", True), ("absent", False)])
def test_a_deauthorization_causes_a_check_for_its_owner(signature, verified):
    spec = job_for(event(**ATHLETE_UPDATE, updates={"authorized": "false"}), "e1", signature, RECEIVED)
    assert (spec.kind, spec.key, spec.athlete_id) == ("revoke_athlete", "athlete:134815", 134815)
    assert spec.hint == RevokeHint(action="confirm", verified=verified, cause="event:e1")
    assert spec.hint.sealed_token is None


@pytest.mark.parametrize(
    ("updates", "shown"),
    [
        ({"title": "Messy"}, {"name": "Messy"}),
        ({"title": ""}, {"name": ""}),
        ({"type": "Ride"}, {"type": "Ride"}),
        ({"private": "true"}, {"private": True}),
        ({"private": "FALSE"}, {"private": False}),
        ({"private": True}, {"private": True}),
        ({"title": "a", "private": "maybe", "type": 5}, {"name": "a"}),
        ({"private": "maybe"}, None),
        ({"title": None}, None),
        ({"visibility": "only_me"}, None),
        ({}, None),
    ],
)
def test_an_update_shows_title_type_and_privacy_at_once(updates, shown):
    visible = visible_update(event(aspect_type="update", updates=updates), "e1", RECEIVED)
    expected = None if shown is None else VisibleUpdate(1360128428, 134815, 1516126040, "e1", **shown)
    assert visible == expected


@pytest.mark.parametrize("changes", [{"aspect_type": "create"}, {"aspect_type": "delete"}, ATHLETE_UPDATE])
def test_only_activity_updates_show_anything_at_once(changes):
    assert visible_update(event(**changes, updates={"title": "x"}), "e1", RECEIVED) is None


@pytest.mark.parametrize(
    ("changes", "without", "has_words"),
    [
        ({}, (), False),
        ({}, ("updates",), False),
        ({"updates": {"title": "Canary"}}, (), True),
        (UNKNOWN, (), True),
        (UNKNOWN, ("updates",), True),
        ({"more": {"updates": {}}}, ("updates",), True),
    ],
)
def test_an_event_says_whether_it_may_hold_words(changes, without, has_words):
    """Only such an event is compared with deleted activities before it is stored."""
    body = {name: value for name, value in (BASE | changes).items() if name not in without}
    assert parse_event(msgspec.json.encode(body)).has_words is has_words
