"""The push subscription: another installation's is never touched unasked, and a lost one is noticed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from feedzone.errors import AppInactive, TransientError
from feedzone.services.subscription import (
    ForeignSubscription,
    SubscriptionRefused,
    SubscriptionService,
    remedy_for,
    shown_url,
)
from feedzone.store import subscriptions
from feedzone.strava.payloads import Subscription

HERE = "https://here.test/api/webhooks/strava/canary-path"
THERE = Subscription(9, "https://there.test/api/webhooks/strava/canary-other", "2026-11-01T00:00:00Z")
OURS = Subscription(7, HERE, "2026-11-02T10:00:00.123456789Z")


class Application:
    """Strava's side: the subscriptions, and what was requested."""

    api_base = "https://strava.test/api/v3"

    def __init__(self, *listed: Subscription) -> None:
        self.listed = list(listed)
        self.deleted: list[int] = []
        self.refuses: Exception | None = None

    async def subscriptions(self) -> list[Subscription]:
        if self.refuses is not None:
            raise self.refuses
        return self.listed

    async def is_at(self, base: str) -> bool:
        return self.refuses is None

    async def subscribe(self, callback_url: str, verify_token: str) -> Subscription:
        assert (callback_url, verify_token) == (HERE, "verify")
        return OURS

    async def unsubscribe(self, subscription_id: int) -> None:
        self.deleted.append(subscription_id)


@pytest.fixture
def service(store, clock):
    def make(*listed: Subscription) -> SubscriptionService:
        return SubscriptionService(store.database, clock, Application(*listed), HERE, "verify")

    return make


async def active(store) -> set[int]:
    return await store.read(subscriptions.active_ids)


async def test_a_subscription_is_created_once_and_kept(store, service):
    assert await service().ensure() == (OURS, True)
    again = service(OURS)
    assert await again.ensure() == (OURS, False)
    assert again.application.deleted == []
    assert await active(store) == {7}
    since = await store.read(subscriptions.active_since)
    assert since == datetime(2026, 11, 2, 10, 0, 0, 123456, tzinfo=UTC)


async def test_another_installations_subscription_is_replaced_only_on_request(store, service):
    unasked = service(THERE)
    with pytest.raises(ForeignSubscription, match=r"there\.test") as foreign:
        await unasked.ensure()
    assert "canary" not in str(foreign.value)
    assert (unasked.application.deleted, await active(store)) == ([], set())
    requested = service(THERE)
    assert await requested.ensure(replace=True) == (OURS, True)
    assert requested.application.deleted == [9]


async def test_only_our_own_subscription_is_deleted(store, service):
    with pytest.raises(ForeignSubscription):
        await service(THERE).delete()
    await service().ensure()
    ours = service(OURS)
    assert await ours.delete() == OURS
    assert (ours.application.deleted, await active(store)) == ([7], set())
    assert await service().delete() is None


async def test_a_lost_subscription_is_noticed_and_an_outage_proves_nothing(store, service):
    assert await service().check() is None
    await service().ensure()
    assert await service(OURS).check() is True
    failing = service()
    failing.application.refuses = TransientError(503, "")
    assert await failing.check() is None
    assert await active(store) == {7}
    assert await service(THERE).check() is False
    assert await active(store) == set()


async def test_what_strava_shows_is_stored(store, service):
    assert await service(OURS).show() == [OURS]
    assert await active(store) == {7}
    await service(THERE).show()
    assert await active(store) == set()


async def test_a_refused_list_names_a_remedy_and_changes_nothing(store, service):
    refused = service()
    refused.application.refuses = AppInactive(403, "Forbidden")
    with pytest.raises(SubscriptionRefused, match="paid Strava subscription"):
        await refused.ensure()
    refused.application.refuses = TransientError(503, "")
    with pytest.raises(TransientError):
        await refused.ensure()
    assert await active(store) == set()


def test_no_remedy_shows_the_secret_path():
    refusal = AppInactive(400, "not verifiable")
    assert "canary" not in remedy_for(refusal, HERE)
    assert shown_url(HERE).startswith("https://here.test/api/webhooks/strava/")
    assert shown_url("https://here.test/api/webhooks/strava") == "https://here.test/api/webhooks/strava"
