"""A wrong base URL is named, and so is the prefix at which Strava answers."""

from __future__ import annotations

import pytest
from fakes import FakeTransport, refusal, unanswered

from feedzone.ports import Request
from feedzone.services.api_address import address_problem
from feedzone.strava.application import StravaApplication
from odd_answers import ODD

REFUSED = refusal(401, "Authorization Error", ("Application", "", "invalid"))
OLD, NEW = "https://strava.test/api/v3", "https://api-v3.strava.test"


def application(clock, base: str, elsewhere: object, *right: str) -> tuple[StravaApplication, FakeTransport]:
    """Return an application for Strava below the `right` addresses; `elsewhere` answers below all others."""

    def reply(request: Request):
        if request.url.removesuffix("/athlete") in right:
            return REFUSED
        if isinstance(elsewhere, Exception):
            raise elsewhere
        return elsewhere

    transport = FakeTransport(reply)
    made = StravaApplication(
        transport,
        client_id="1",
        secret="canary",
        api_base=base,
        oauth_base=f"{base}/oauth",
        timeout_s=3,
        clock=clock,
    )
    return made, transport


@pytest.mark.parametrize("base", [OLD, NEW])
async def test_the_right_address_costs_one_call_without_credentials(clock, base):
    made, transport = application(clock, base, ODD["404 path"], base)
    assert await address_problem(made) is None
    assert [(request.url, request.headers) for request in transport.requests] == [(f"{base}/athlete", {})]
    assert "canary" not in str(transport.requests)


@pytest.mark.parametrize(
    "elsewhere",
    [ODD["302 empty"], ODD["200 html"], ODD["404 path"], ODD["410 empty"], ODD["401 json"], unanswered()],
)
@pytest.mark.parametrize(
    ("base", "right"),
    [
        (f"{NEW}/api/v3", NEW),
        ("https://strava.test", OLD),
        ("https://strava.test/api/v2", OLD),
        ("https://strava.test/v3", OLD),
    ],
)
async def test_a_wrong_prefix_is_named_whatever_answers_there(clock, base, right, elsewhere):
    made, _ = application(clock, base, elsewhere, right)
    problem = await address_problem(made)
    assert f"{base} has a wrong prefix: Strava answers at {right}" in problem.text
    assert f"STRAVA_API_BASE_URL={right}" in problem.remedy


@pytest.mark.parametrize("elsewhere", [ODD["200 html"], ODD["404 html"], unanswered()])
async def test_an_address_without_strava_is_named_too(clock, elsewhere):
    made, _ = application(clock, "https://nobody.test/api/v3", elsewhere)
    problem = await address_problem(made)
    assert "does not answer at STRAVA_API_BASE_URL https://nobody.test/api/v3" in problem.text
