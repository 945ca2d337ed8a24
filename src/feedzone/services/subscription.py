"""Ensure, show and delete the push subscription, with a remedy for each of Strava's refusals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog

from ..errors import ApiError, AppInactive, FeedzoneError, StravaError, TransientError
from ..ports import Clock
from ..store import subscriptions
from ..store.engine.database import Database
from ..strava.application import StravaApplication
from ..strava.payloads import Subscription
from ..telemetry import HIDDEN
from .api_address import address_problem

log = structlog.get_logger("feedzone.subscription")


def shown_url(callback_url: str) -> str:
    """Return the URL without the secret in its path: for tables, pages, API and messages."""
    before, path, secret = callback_url.partition("/api/webhooks/strava/")
    return f"{before}{path}{HIDDEN}" if secret else callback_url


class ForeignSubscription(FeedzoneError):
    """The application has a subscription with another callback URL.

    Strava allows an application one. Nothing was changed: `--replace` replaces it.
    """

    def __init__(self, existing: Subscription, callback_url: str) -> None:
        self.existing = existing
        super().__init__(
            f"this Strava application already delivers its events to {shown_url(existing.callback_url)} "
            f"(subscription {existing.id}), not to {shown_url(callback_url)}; "
            "nothing was changed: use --replace to stop events to that other installation"
        )


class SubscriptionRefused(FeedzoneError):
    """Strava refused the subscription."""

    def __init__(self, reason: ApiError, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"Strava refused: {reason}\n{remedy}")


@dataclass(frozen=True)
class SubscriptionService:
    database: Database
    clock: Clock
    application: StravaApplication
    callback_url: str
    verify_token: str

    async def ensure(self, *, replace: bool = False) -> tuple[Subscription, bool]:
        """Keep the subscription with our URL, or create it; True when it was created.

        Strava calls our server back meanwhile, so the server must be running. If the list fails, nothing
        changes. Raises ForeignSubscription, SubscriptionRefused, and the StravaError of a transient failure
        of the list.
        """
        listed = await self._listed()
        for existing in listed:
            if existing.callback_url == self.callback_url:
                await self._remember(existing)
                return existing, False
        if listed and not replace:
            raise ForeignSubscription(listed[0], self.callback_url)
        for other in listed:
            await self.application.unsubscribe(other.id)
        try:
            created = await self.application.subscribe(self.callback_url, self.verify_token)
        except ApiError as refusal:
            raise SubscriptionRefused(refusal, remedy_for(refusal, self.callback_url)) from refusal
        await self._remember(created)
        return created, True

    async def _listed(self) -> list[Subscription]:
        try:
            return await self.application.subscriptions()
        except ApiError as refusal:
            if isinstance(refusal, TransientError) or refusal.status not in (401, 403):
                raise
            raise SubscriptionRefused(refusal, remedy_for(refusal, self.callback_url)) from refusal

    async def _remember(self, subscription: Subscription) -> None:
        created = _instant(subscription.created_at, self.clock.now())
        await self.database.write(
            lambda c: subscriptions.remember(c, subscription.id, shown_url(self.callback_url), created)
        )
        await subscriptions.mark_athletes(self.database)

    async def _forget(self) -> None:
        await self.database.write(subscriptions.forget)
        await subscriptions.mark_athletes(self.database)

    async def show(self) -> list[Subscription]:
        """Return the subscriptions at Strava, and update the stored one."""
        listed = await self.application.subscriptions()
        own = [existing for existing in listed if existing.callback_url == self.callback_url]
        if own:
            await self._remember(own[0])
        else:
            await self._forget()
        return listed

    async def check(self) -> bool | None:
        """Return whether Strava still has the stored subscription; None when there is none to check.

        A subscription that disappeared is forgotten, which turns health red and polling on
        (docs/strava-api.md#push-subscriptions). A list that fails proves nothing.
        """
        await subscriptions.mark_athletes(self.database)  # a crash may have interrupted it
        known = await self.database.read(subscriptions.active_ids)
        if not known:
            return None
        try:
            listed = await self.application.subscriptions()
        except StravaError as problem:
            log.warning("subscription_not_checked", error=str(problem))
            wrong = await address_problem(self.application)
            if wrong is not None:
                log.error("api_address_wrong", problem=wrong.text, remedy=wrong.remedy)
            return None
        if any(existing.id in known for existing in listed):
            return True
        log.error("subscription_lost", known=sorted(known))
        await self._forget()
        return False

    async def delete(self) -> Subscription | None:
        """Delete our subscription; None when there was none. Raises ForeignSubscription for another URL."""
        listed = await self.application.subscriptions()
        own = [existing for existing in listed if existing.callback_url == self.callback_url]
        if listed and not own:
            raise ForeignSubscription(listed[0], self.callback_url)
        for existing in own:
            await self.application.unsubscribe(existing.id)
        await self._forget()
        return own[0] if own else None


def _instant(text: str, otherwise: datetime) -> datetime:
    """Parse nanoseconds, which Python cuts to microseconds: docs/strava-api.md#push-subscriptions."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return instant if instant.tzinfo is not None else otherwise


REMEDIES = (
    (
        "already exists",
        "Another subscription was created meanwhile. `feedzone subscription show` lists it.",
    ),
    (
        "does not return 200",
        "Strava reached {url}, but got no 200. Most likely first: a login page, firewall or bot check in "
        "front of feedzone (Authelia, Cloudflare) that must let this path through; a proxy that routes the "
        "path elsewhere; STRAVA_VERIFY_TOKEN differs between this command and the running server.",
    ),
    (
        "challenge",
        "Something answered at {url}, but not feedzone: the challenge did not come back. Check which service "
        "your proxy sends this path to.",
    ),
    (
        "not verifiable",
        "Strava could not reach {url} within 2 seconds. Most likely first: feedzone is not running, or "
        "APP_URL is not its public https address; no public DNS name or certificate; a firewall that "
        "blocks Strava.",
    ),
)


def remedy_for(refusal: ApiError, url: str) -> str:
    """Return what to do about a refusal, most likely cause first."""
    text = " ".join((refusal.message, *(fault.code for fault in refusal.faults))).lower()
    for sign, remedy in REMEDIES:
        if sign in text:
            return remedy.format(url=shown_url(url))
    if isinstance(refusal, AppInactive):
        return "Its owner needs a paid Strava subscription: see https://www.strava.com/settings/api."
    if refusal.status in (401, 403):
        return "Strava does not accept the application: check STRAVA_CLIENT_ID and STRAVA_CLIENT_SECRET."
    return "See https://developers.strava.com/docs/webhooks/ for what the callback must do."
