"""Check an installation from outside in: address, handshake, subscription, conditions."""

from __future__ import annotations

import secrets
import time
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from ..errors import ApiError, StravaError, TransportFailure
from ..ports import Request, Transport
from ..queries.status import Pulse, StatusQueries
from .api_address import address_problem
from .conditions import conditions, problems
from .subscription import SubscriptionService, remedy_for, shown_url

HANDSHAKE_WITHIN_S = 2.0

CHECKED_AT_STRAVA = "Subscription"
"""The condition that the doctor does not take from the database: it asks Strava."""


class Finding(msgspec.Struct, frozen=True):
    verdict: Literal["ok", "warn", "fail"]
    text: str
    remedy: str = ""


async def examine(
    subscription: SubscriptionService, status: StatusQueries, transport: Transport, app_url: str
) -> list[Finding]:
    """Return all findings, in the order in which they matter."""
    return [
        _address(app_url),
        await _handshake(transport, subscription),
        await _api_address(subscription),
        *await _subscription(subscription),
        *_conditions(await status.pulse()),
    ]


def _address(app_url: str) -> Finding:
    parts = urlsplit(app_url)
    hint = f'Strava\'s "Authorization Callback Domain" takes the bare host: {parts.hostname}'
    if parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return Finding(
            "warn", f"APP_URL {app_url} is this machine only: Strava cannot deliver events here", hint
        )
    if parts.scheme != "https":
        return Finding("warn", f"APP_URL {app_url} is not https: Strava wants a public https address", hint)
    return Finding("ok", f"APP_URL {app_url}", hint)


async def _handshake(transport: Transport, subscription: SubscriptionService) -> Finding:
    """Send the validation request that Strava sends, and time it."""
    challenge = secrets.token_hex(8)
    params = {
        "hub.mode": "subscribe",
        "hub.challenge": challenge,
        "hub.verify_token": subscription.verify_token,
    }
    url, shown = subscription.callback_url, shown_url(subscription.callback_url)
    started = time.perf_counter()
    try:
        response = await transport.send(Request("GET", url, params=params), HANDSHAKE_WITHIN_S)
    except TransportFailure as failure:
        return Finding(
            "fail",
            f"{shown} does not answer: {failure}",
            "Is `feedzone serve` running, and APP_URL its address?",
        )
    elapsed_ms = (time.perf_counter() - started) * 1000
    if response.status == 200 and challenge.encode() in response.body:
        return Finding("ok", f"{shown} answers the handshake in {elapsed_ms:.0f} ms")
    if response.status == 403:
        remedy = "The running server has another STRAVA_VERIFY_TOKEN than this command."
    else:
        remedy = (
            "Something in front of feedzone answers instead: a login page, a bot check, a wrong proxy route."
        )
    return Finding("fail", f"{shown} answers {response.status} to the handshake", remedy)


async def _api_address(subscription: SubscriptionService) -> Finding:
    problem = await address_problem(subscription.application)
    if problem is None:
        return Finding("ok", f"Strava's API answers at {subscription.application.api_base}")
    return Finding("fail", problem.text, problem.remedy)


async def _subscription(subscription: SubscriptionService) -> list[Finding]:
    try:
        listed = await subscription.show()
    except StravaError as problem:
        remedy = remedy_for(problem, subscription.callback_url) if isinstance(problem, ApiError) else ""
        return [Finding("fail", f"Strava does not list subscriptions: {problem}", remedy)]
    findings = [Finding("ok", "Strava accepts the client id and secret")]
    if not listed:
        findings.append(Finding("fail", "there is no push subscription", "feedzone subscription ensure"))
    for existing in listed:
        if existing.callback_url == subscription.callback_url:
            findings.append(Finding("ok", f"subscription {existing.id} delivers here"))
        else:
            findings.append(
                Finding(
                    "fail",
                    f"subscription {existing.id} delivers to {shown_url(existing.callback_url)}",
                    "feedzone subscription ensure --replace   takes it over from there",
                )
            )
    return findings


def _conditions(pulse: Pulse) -> list[Finding]:
    """Return the problems. Only a condition that stops all is a failure of the setup.

    Strava accepts the id and secret of a switched-off application, so this finding comes from the pulse.
    """
    shown = [
        condition
        for condition in problems(conditions(pulse, strava_configured=True))
        if condition.name != CHECKED_AT_STRAVA
    ]
    return [
        Finding("ok", f"{pulse.athletes.get('active', 0)} athletes are connected"),
        *(
            Finding("fail" if condition.stops_all else "warn", condition.text, condition.command)
            for condition in shown
        ),
    ]
