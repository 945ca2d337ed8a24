"""Examines an installation from outside in: what must be right, whether it is, what to do (pain 1, 5, 7)."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from ..errors import ApiError, StravaError, TransportFailure
from ..ports import Request, Transport
from .subscription import SubscriptionService, remedy_for

if TYPE_CHECKING:
    from ..queries.insights import Insights
    from ..queries.schemas.core import Pulse

HANDSHAKE_WITHIN_S = 2.0


class Finding(msgspec.Struct, frozen=True):
    verdict: Literal["ok", "warn", "fail"]
    what: str
    remedy: str = ""


async def examine(
    subscription: SubscriptionService, insights: Insights, transport: Transport, app_url: str
) -> list[Finding]:
    """All findings, in the order in which they matter."""
    return [
        _address(app_url),
        await _handshake(transport, subscription),
        *await _subscription(subscription),
        *_application(await insights.pulse()),
        *await _athletes(insights),
    ]


def _address(app_url: str) -> Finding:
    parts = urlsplit(app_url)
    paste = f'Strava\'s "Authorization Callback Domain" takes the bare host: {parts.hostname}'
    if parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return Finding(
            "warn", f"APP_URL {app_url} is this machine only: Strava cannot deliver events here", paste
        )
    if parts.scheme != "https":
        return Finding("warn", f"APP_URL {app_url} is not https: Strava wants a public https address", paste)
    return Finding("ok", f"APP_URL {app_url}", paste)


async def _handshake(transport: Transport, subscription: SubscriptionService) -> Finding:
    """Do what Strava will do, and time it."""
    challenge = secrets.token_hex(8)
    params = {
        "hub.mode": "subscribe",
        "hub.challenge": challenge,
        "hub.verify_token": subscription.verify_token,
    }
    url = subscription.callback_url
    began = time.perf_counter()
    try:
        response = await transport.send(Request("GET", url, params=params), HANDSHAKE_WITHIN_S)
    except TransportFailure as failure:
        return Finding(
            "fail",
            f"{url} does not answer: {failure}",
            "Is `feedzone serve` running, and APP_URL its address?",
        )
    took = time.perf_counter() - began
    if response.status == 200 and challenge.encode() in response.body:
        return Finding("ok", f"{url} answers the handshake in {took * 1000:.0f} ms")
    if response.status == 403:
        remedy = "The running server has another STRAVA_VERIFY_TOKEN than this command."
    else:
        remedy = (
            "Something in front of feedzone answers instead: a login page, a bot check, a wrong proxy route."
        )
    return Finding("fail", f"{url} answers {response.status} to the handshake", remedy)


async def _subscription(subscription: SubscriptionService) -> list[Finding]:
    try:
        listed = await subscription.show()
    except StravaError as problem:
        remedy = remedy_for(problem, subscription.callback_url) if isinstance(problem, ApiError) else ""
        return [Finding("fail", f"Strava cannot be asked: {problem}", remedy)]
    found = [Finding("ok", "Strava accepts the client id and secret")]
    if not listed:
        found.append(Finding("fail", "there is no push subscription", "feedzone subscription ensure"))
    for existing in listed:
        if existing.callback_url == subscription.callback_url:
            found.append(Finding("ok", f"subscription {existing.id} delivers here"))
        else:
            found.append(
                Finding(
                    "fail",
                    f"subscription {existing.id} delivers to {existing.callback_url}",
                    "feedzone subscription ensure --replace   takes it over from there",
                )
            )
    return found


def _application(pulse: Pulse) -> list[Finding]:
    """Strava takes the id and secret of a switched-off application all the same."""
    if pulse.paused_since is not None:
        what = f"Strava has switched this application off since {pulse.paused_since:%Y-%m-%d %H:%M} UTC"
        remedy = (
            "Its owner needs a paid Strava subscription: https://www.strava.com/settings/api. "
            "All calls wait; feedzone asks every hour whether it is on again."
        )
        return [Finding("fail", what, remedy)]
    if pulse.failing_since is not None:
        what = f"Strava has been failing at every call since {pulse.failing_since:%Y-%m-%d %H:%M} UTC"
        return [Finding("warn", what, "Nothing is lost; feedzone goes on by itself when Strava answers.")]
    return []


async def _athletes(insights: Insights) -> list[Finding]:
    status = await insights.status()
    found = [Finding("ok", f"{status.athletes.get('active', 0)} athletes are connected")]
    for state, meaning in (
        ("needs_reauth", "must connect again"),
        ("needs_scope", "did not grant activity:read"),
    ):
        if count := status.athletes.get(state, 0):
            found.append(
                Finding(
                    "warn",
                    f"{count} athletes {meaning}",
                    "feedzone athletes list; send them the link /connect?force=1",
                )
            )
    if dead := status.jobs.get("dead", 0):
        found.append(Finding("warn", f"{dead} jobs were given up", "feedzone events list --failed"))
    return found
