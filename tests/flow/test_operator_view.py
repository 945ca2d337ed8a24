"""Every page of operators, for an athlete who has not agreed that the operator sees activities."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from activity_world import RUN, STREAMS, detail, stream_set, write
from browsing import sign_in, words
from litestar.routes import HTTPRoute
from web_world import World

from feedzone.domain.effect import (
    AskForPhotos,
    NoteFailure,
    OpenConflict,
    StoreGear,
    StorePhotos,
    StoreReconciliation,
)
from feedzone.domain.gear import GearListing, GearRecord
from feedzone.domain.job import Lane
from feedzone.web.auth.disclosure import disclosed

VALUES: dict[str, Any] = {
    "name": "Zqtitle over the pass",
    "sport_type": "GravelRide",
    "type": "Zqtype",
    "start_date": "2019-04-05T03:17:23Z",
    "start_date_local": "2019-04-05T05:17:23Z",
    "timezone": "(GMT+01:00) Africa/Ouagadougou",
    "utc_offset": 7200.0,
    "distance": 73_219.0,
    "moving_time": 9431,
    "elapsed_time": 9877,
    "total_elevation_gain": 1371.0,
    "elev_high": 2643.0,
    "elev_low": 517.0,
    "average_speed": 7.763,
    "max_speed": 19.37,
    "average_heartrate": 143.7,
    "max_heartrate": 187.0,
    "average_cadence": 83.1,
    "average_watts": 217.3,
    "max_watts": 873.0,
    "weighted_average_watts": 239.0,
    "kilojoules": 2043.7,
    "calories": 1987.3,
    "average_temp": 17.3,
    "suffer_score": 153.0,
    "perceived_exertion": 6.7,
    "visibility": "followers_only",
    "gear_id": "b7351",
    "device_name": "Zqdevice 530",
    "description": "Zqdescription of the ride",
    "external_id": "Zqexternal.fit",
    "start_latlng": [12.3714, -1.5197],
    "total_photo_count": 1,
}
SHOWN = (
    r"Zq|Gravel|Ouagadougou|2019|Apr\b|3:17|5:17|73[.,]2|2:37:|2:44:|1[,.]?371\b|2[,.]?643\b"
    r"|27[.,]9|69[.,]7|143[.,]7|143 bpm|\b187\b|217[.,]3|217 W|\b873\b|2[,.]?044\b|1[,.]?987\b|\b153\b"
    r"|12[.]37|-1[.]51|b7351|60 samples|_p~iF"
)
"""The texts of the values above, in the forms in which pages show them."""
RANDOM_ID = r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"
"""Ids of jobs and traces are random: their digits may spell a value."""


def without_ids(text: str) -> str:
    return re.sub(RANDOM_ID, "", text)


@pytest.fixture
async def full(public: World) -> World:
    """An activity, streams, gear, photos, edits, failures, a dead letter, a conflict, a running backfill."""
    await public.connect()
    first = VALUES | {"name": "Zqold title", "distance": 73_218.0}
    bike = GearRecord("b7351", "bike", "Zqbike", "Zqnick", True, False, 4_321_000.0, '{"id":"b7351"}')
    await write(public, detail(**first), stream_set(STREAMS))
    public.clock.pass_by(minutes=3)
    await write(
        public,
        detail("reconciliation", **VALUES),
        StoreGear(GearListing(42, (bike,), ())),
        AskForPhotos(RUN, 42, 1, Lane.RECHECK),
        StorePhotos(RUN, 42, "present", '[{"caption":"Zqphoto"}]'),
        NoteFailure(RUN, 42, "503 from Strava"),
        StoreReconciliation(42, True, (), ()),
        OpenConflict(42, (RUN, 8), 9),
    )
    await public.dead_letter(RUN)
    public.event = await public.deliver(RUN, "update", title="Zqevent title", type="Zqtype")
    await public.deliver(RUN + 1, "create", title="Zqnever stored")
    public.unknown = await public.deliver(RUN + 2, "update", title="Zqunknown title")
    return public


def addresses(world: World) -> Iterator[str]:
    """Every page that an operator can open, from the routes themselves."""
    ids = {"athlete_id": [42], "activity_id": [RUN, RUN + 1], "event_id": [world.event, world.unknown]}
    for route in world.site.routes:
        if not isinstance(route, HTTPRoute):
            continue
        handlers = (handler for handler in route.route_handlers if "GET" in handler.http_methods)
        rules = {handler.opt.get("access") for handler in handlers}
        if not rules & {"operator", "member", "anyone", "metrics"} or route.path in ("/live", "/logout"):
            continue
        parameter = re.search(r"\{(\w+):\w+\}", route.path)
        if parameter is None:
            yield route.path
        elif parameter[1] in ids:
            for value in ids[parameter[1]]:
                address = re.sub(r"\{\w+:\w+\}", str(value), route.path)
                yield from (address, f"{address}?on=2019-04") if address == "/athletes/42" else (address,)
        else:
            assert rules == {"anyone"}, f"{route.path}: which {parameter[1]} does the test open?"


async def read_all(world: World) -> dict[str, str]:
    pages = {}
    async with world.browser() as browser:
        await sign_in(browser)
        for address in addresses(world):
            answer = await browser.get(address)
            assert answer.status_code < 500, address
            if "html" in answer.headers.get("content-type", "") or "/curves" in address:
                pages[address] = answer.text
    return pages


def found(html: str) -> set[str]:
    text = re.sub(r"<(svg|script|style)\b.*?</\1>", " ", html, flags=re.S)
    attributes = " ".join(re.findall(r'(?:title|aria-label|data-\w+)="(.*?)"', text))
    return set(re.findall(SHOWN, without_ids(f"{words(text)} {attributes}")))


async def test_no_page_shows_any_value_of_an_athlete_without_consent(full: World) -> None:
    pages = await read_all(full)
    known = {"/", "/athletes", "/events", "/failures", "/health", "/athletes/42", f"/activities/{RUN}"}
    assert known <= pages.keys()
    leaks = {address: texts for address, html in pages.items() if (texts := found(html))}
    assert leaks == {}
    for html in pages.values():
        assert "Zq" not in html


async def test_the_same_pages_show_them_with_consent(full: World) -> None:
    """Otherwise the test above would look for texts that no page ever shows."""
    await full.parts.athletes.let_operator_see(42, True)
    pages = await read_all(full)
    overview, activity = (found(pages[address]) for address in ("/", f"/activities/{RUN}"))
    assert {"Zq", "Gravel", "Apr", "3:17"} <= overview
    assert {"Zq", "Gravel", "2019", "5:17", "2:37:"} <= activity
    assert "Zqevent title" in pages["/athletes/42?on=2019-04"]
    assert "Zqevent title" in pages[f"/events/{full.event}"]


async def test_a_template_gets_no_value_that_the_viewer_may_not_see(full: World) -> None:
    overview = await full.parts.queries.dashboard.overview()
    history = await full.parts.queries.activity_history.get(RUN)
    events = await full.parts.queries.events.summaries(None, None, 50)
    for value in (overview, {"deep": [{"er": history}]}, events):
        assert re.search("Zq|73219|2019", without_ids(repr(value)))
        hidden = without_ids(repr(disclosed(value, lambda _: False)))
        assert not re.search("Zq|73219|73218|2019|Ouaga|12[.]37|b7351", hidden)
        assert repr(disclosed(value, lambda _: True)) == repr(value)


async def test_a_forged_event_that_names_another_owner_opens_nothing(full: World) -> None:
    """The consent of the activity's athlete is not that of the event's owner."""
    await full.parts.athletes.let_operator_see(42, True)
    full.desk.profile = type(full.desk.profile)(43, None, "Grace", "Hopper")
    await full.connect()
    event = await full.deliver(RUN, "update", owner=43, title="Zqforged")
    async with full.browser() as browser:
        await sign_in(browser)
        assert "Zqforged" not in (await browser.get(f"/events/{event}")).text
