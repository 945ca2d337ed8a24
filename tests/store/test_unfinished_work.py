"""Small transactions do all work on many rows, and the next process finishes it after a crash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from store_makers import (
    OWNER,
    Measured,
    Store,
    connecting,
    deauthorized,
    detail,
    event,
    fetched,
    retitled,
    spec,
    summary,
)

from feedzone.clock import StravaClock
from feedzone.domain.effect import StorePage
from feedzone.domain.ids import uuid7
from feedzone.domain.job import Lane, activity_key
from feedzone.domain.outcome import Snooze
from feedzone.domain.quota.windows import Reading, Reservation
from feedzone.errors import StorageUnavailable
from feedzone.services.erasures import apply_if_restored
from feedzone.services.subscription import SubscriptionService
from feedzone.store import athletes, batches, erasures, subscriptions, token_keys, undispatched
from feedzone.store.erasure_log import Erasure, ErasureLog, Mark
from feedzone.store.jobs.unfinished import UnfinishedSchedule, fetch_chosen
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.schema.tables import (
    deletion_receipts,
    jobs,
    strava_activities,
    strava_athletes,
    webhook_events,
)
from feedzone.store.shown_updates import ShownUpdatesSchedule
from feedzone.store.tokens import TokenTable
from feedzone.vault import Vault
from feedzone.worker.wakeup import LocalWakeup

AT_ONCE = 3
MOST_ROWS = 9
"""The rows of three jobs or activities, or of one departure."""

CROWD = range(1001, 1011)


class Crashing(Measured):
    """A database whose process ends after some transactions."""

    def __init__(self, database: Any, writes: int) -> None:
        super().__init__(database)
        self._left = writes

    async def write(self, body: Callable[..., Any], **options: Any) -> Any:
        if not self._left:
            raise StorageUnavailable("the process has ended")
        self._left -= 1
        return await super().write(body, **options)


@dataclass
class Subscribed:
    """Stands in for Strava's list of subscriptions, and for the one in it."""

    id: int = 7

    async def subscriptions(self) -> list[Any]:
        return [self]


@dataclass
class Scene:
    store: Store
    home: Any

    @property
    def now(self) -> Any:
        return self.store.clock.now()


@pytest.fixture
async def scene(store, clock, tmp_path, monkeypatch) -> Scene:
    monkeypatch.setattr(batches, "AT_ONCE", AT_ONCE)
    monkeypatch.setattr(erasures, "TOMBSTONES", AT_ONCE)
    await store.write(lambda c: athletes.set_wanted_sports(c, OWNER, frozenset({"Run"}), clock.now()))
    for number in CROWD:
        await store.connect(number)
    return Scene(store, tmp_path)


async def _gave_tokens(scene: Scene) -> None:
    sealed = {"access_token_encrypted": "v1.0badc0de.x", "refresh_token_encrypted": "v1.0badc0de.x"}
    await scene.store.write(lambda c: c.execute(update(strava_athletes).values(sealed)))


async def _forget_lost(scene: Scene, database: Any) -> None:
    await token_keys.forget_other_keys(database, ["12345678"], scene.now)


async def _has_no_tokens(scene: Scene) -> bool:
    rows = await scene.store.rows(strava_athletes)
    return {(row.status, row.refresh_token_encrypted) for row in rows} == {("needs_reauth", None)}


async def _nothing(scene: Scene) -> None:
    """There is nothing to prepare."""


async def _subscribe(scene: Scene, database: Any) -> None:
    now = scene.now
    await database.write(lambda c: subscriptions.remember(c, 7, "https://x", now))
    await subscriptions.mark_athletes(database)


async def _check_subscription(scene: Scene, database: Any) -> None:
    strava: Any = Subscribed()
    await SubscriptionService(database, scene.store.clock, strava, "https://x", "v").check()


async def _is_subscribed(scene: Scene) -> bool:
    return {row.webhook_subscription_active for row in await scene.store.rows(strava_athletes)} == {True}


async def _spent_the_limit(scene: Scene) -> None:
    later = scene.now + timedelta(hours=6)
    for number in range(1, 11):
        await scene.store.enqueue(spec(number, lane=Lane.BACKFILL))
        await scene.store.run(Snooze(later, "the day is spent", wait_reason="quota"))
    budget = BudgetTable(scene.store.database, StravaClock(scene.store.clock))
    await budget.answered(await budget.reserve(Lane.LIVE), {"read_day": Reading(100, 100)})


async def _raise_limit(scene: Scene, database: Any) -> None:
    budget = BudgetTable(database, StravaClock(scene.store.clock))
    await budget.answered(Reservation(), {"read_day": Reading(1000, 100)})
    await _go_on(scene, database)


async def _go_on(scene: Scene, database: Any) -> None:
    await UnfinishedSchedule(database, scene.store.clock, LocalWakeup()).run()


async def _all_are_due(scene: Scene) -> bool:
    return all(row.due_at <= scene.now and row.wait_reason is None for row in await scene.store.rows(jobs))


async def _listed_history(scene: Scene) -> None:
    for number in range(1, 11):
        await scene.store.apply(StorePage(OWNER, (summary(number),), (spec(number),)))
    assert not await scene.store.rows(jobs)


async def _choose_sports(scene: Scene, database: Any) -> None:
    await connecting(database, scene.store.clock).keep_sports(OWNER, ["GravelRide"])


async def _all_are_requested(scene: Scene) -> bool:
    requested = {(row.key, row.version) for row in await scene.store.rows(jobs)}
    return requested == {(activity_key(number), 1) for number in range(1, 11)}


async def _restored_backup(scene: Scene) -> None:
    """The backup has deleted activities, departed athletes, and an unproven claim."""
    await _gave_tokens(scene)
    store, log = scene.store, ErasureLog(scene.home)
    name = (await store.write(erasures.identity)).database
    for number in range(1, 11):
        await store.apply(fetched(detail(number)))
        log.append([Erasure(name, uuid7(number), scene.now, OWNER, number)])
    for number in CROWD[:4]:
        facts = {"reason": "disconnected", "cause": "request", "counts": "{}"}
        log.append([Erasure(name, uuid7(number), scene.now, number, **facts)])
    await store.deliver(deauthorized(CROWD[-1]))
    log.append([Mark(name, 5, scene.now)])


async def _apply_log(scene: Scene, database: Any) -> None:
    await apply_if_restored(database, scene.home, 30, scene.now)


async def _force_log(scene: Scene, database: Any) -> None:
    await apply_if_restored(database, scene.home, 30, scene.now, force=True)


async def _is_gone_again(scene: Scene) -> bool:
    name = (await scene.store.write(erasures.identity)).database
    log = ErasureLog(scene.home).read(name).erasures
    rows = await scene.store.rows(strava_athletes, status="deauthorized")
    receipts = {row.id for row in await scene.store.rows(deletion_receipts)}
    compared = {row.athlete_id for row in await scene.store.rows(jobs, kind="reconcile_athlete")}
    claims = await scene.store.rows(jobs, kind="revoke_athlete", athlete_id=CROWD[-1])
    connected = await scene.store.rows(strava_athletes, status="active")
    return (
        [row.id for row in rows] == list(CROWD[:4])
        and {erasure.id for erasure in log if erasure.activity is None} <= receipts
        and {row.sync_status for row in await scene.store.rows(strava_activities)} == {"deleted"}
        and compared == {row.id for row in connected}
        and all(row.token_expires_at for row in connected)
        and not claims
        and await apply_if_restored(scene.store.database, scene.home, 30, scene.now) is None
    )


async def _show_titles(scene: Scene) -> None:
    for number in range(1, 11):
        await scene.store.apply(fetched(detail(number)))
        await scene.store.deliver(retitled("Forged", object_id=number))


async def _lose_access(scene: Scene, database: Any) -> None:
    tokens = TokenTable(database, Vault([b"k" * 32]), scene.store.clock)
    await tokens.mark(OWNER, 0, "needs_reauth", "refused")
    await _take_back(scene, database)


async def _wait_long(scene: Scene, database: Any) -> None:
    scene.store.clock.advance(minutes=11)
    await _take_back(scene, database)


async def _take_back(scene: Scene, database: Any) -> None:
    await ShownUpdatesSchedule(database, scene.store.clock).run()


async def _all_are_as_fetched(scene: Scene) -> bool:
    rows = await scene.store.rows(strava_activities)
    return {(row.name, row.unconfirmed) for row in rows} == {("Morning Ride", None)}


async def _set_aside(scene: Scene) -> None:
    for number in range(1, 11):
        await scene.store.deliver(event(object_id=number))
    failed = {"status": "failed", "job_id": None}
    await scene.store.write(lambda c: c.execute(update(webhook_events).values(failed)))


async def _take_up(_scene: Scene, database: Any) -> None:
    await undispatched.take_up(database)


async def _all_wait(scene: Scene) -> bool:
    return {row.status for row in await scene.store.rows(webhook_events)} == {"pending"}


@dataclass
class Work:
    """Work on many rows: its preparation, its beginning, the next process, and a check of the result."""

    name: str
    prepare: Callable[[Scene], Awaitable[None]]
    begin: Callable[[Scene, Any], Awaitable[None]]
    resume: Callable[[Scene, Any], Awaitable[None]]
    is_done: Callable[[Scene], Awaitable[bool]]


WORKS = (
    Work("keys forget-lost", _gave_tokens, _forget_lost, _forget_lost, _has_no_tokens),
    Work("a subscription", _nothing, _subscribe, _check_subscription, _is_subscribed),
    Work("a raised limit", _spent_the_limit, _raise_limit, _go_on, _all_are_due),
    Work("chosen sports", _listed_history, _choose_sports, _go_on, _all_are_requested),
    Work("a restored backup", _restored_backup, _apply_log, _apply_log, _is_gone_again),
    Work("db restored", _restored_backup, _force_log, _apply_log, _is_gone_again),
    Work("values of a lost athlete", _show_titles, _lose_access, _take_back, _all_are_as_fetched),
    Work("values without a fetch", _show_titles, _wait_long, _take_back, _all_are_as_fetched),
    Work("events set aside", _set_aside, _take_up, _take_up, _all_wait),
)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
async def test_no_transaction_of_work_on_many_rows_changes_many(scene, work):
    await work.prepare(scene)
    measured = Measured(scene.store.database)
    await work.begin(scene, measured)
    assert sum(measured.rows) >= 10
    assert max(measured.rows) <= MOST_ROWS
    assert await work.is_done(scene)


@pytest.mark.parametrize("writes", [2, 3, 4, 9, 14])
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
async def test_work_on_many_rows_goes_on_after_a_crash(scene, work, writes):
    await work.prepare(scene)
    with suppress(StorageUnavailable):
        await work.begin(scene, Crashing(scene.store.database, writes))
    scene.store.clock.advance(minutes=1)
    await work.resume(scene, scene.store.database)
    assert await work.is_done(scene)


async def test_another_choice_of_sports_wins_over_the_one_before(scene):
    await _listed_history(scene)
    store = scene.store
    service = connecting(Crashing(store.database, 2), store.clock)
    with suppress(StorageUnavailable):
        await service.keep_sports(OWNER, ["GravelRide"])
    begun = len(await store.rows(jobs))
    assert 0 < begun < 10
    store.clock.advance(minutes=1)
    await connecting(store.database, store.clock).keep_sports(OWNER, ["Run"])
    await _go_on(scene, store.database)
    assert len(await store.rows(jobs)) == begun
    assert (await store.row(strava_athletes, id=OWNER)).sports_changed_at is None


async def test_a_choice_during_the_work_for_another_one_is_not_forgotten(scene):
    await _listed_history(scene)
    store, at = scene.store, scene.now

    def choose(sport: str) -> Callable[..., Any]:
        return lambda c: athletes.set_wanted_sports(c, OWNER, frozenset({sport}), store.clock.now())

    class Meanwhile(Measured):
        async def write(self, body: Callable[..., Any], **options: Any) -> Any:
            if not self.rows:
                store.clock.advance(minutes=1)
                await store.write(choose("Run"))
            return await super().write(body, **options)

    await store.write(choose("GravelRide"))
    await fetch_chosen(Meanwhile(store.database), OWNER, at)
    assert (await store.row(strava_athletes, id=OWNER)).sports_changed_at == store.clock.now()
