"""Durable before 200: deliveries share commits, and each is answered by its own commit alone."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from fakes import settle

from feedzone.domain.event import StravaEvent, parse_event
from feedzone.errors import StorageUnavailable
from feedzone.ingest import inbox as inbox_module
from feedzone.ingest.deliveries import AcceptResult
from feedzone.ingest.inbox import Inbox


def event(number: int = 1) -> StravaEvent:
    body = {
        "object_type": "activity",
        "object_id": number,
        "aspect_type": "create",
        "owner_id": 134815,
        "subscription_id": 120475,
        "event_time": 1516126040,
        "updates": {},
    }
    return parse_event(msgspec.json.encode(body))


class FakeDatabase:
    """Commits one group at a time, each only when the test lets it."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.endings: list[asyncio.Future[None]] = []
        self.verdict = "accepted"

    async def write(self, body, *, within_s=None):
        receipts = body(self)
        self.endings.append(asyncio.get_running_loop().create_future())
        await self.endings[-1]
        return receipts

    async def write_at_once(self, body, *, within_s=None):
        return body(self)

    def commit(self, group: int) -> None:
        self.endings[group].set_result(None)

    def fail(self, group: int, problem: Exception) -> None:
        self.endings[group].set_exception(problem)


class Bell:
    def __init__(self) -> None:
        self.rung = 0

    def notify(self) -> None:
        self.rung += 1


def remember(database: FakeDatabase, deliveries, now) -> list[AcceptResult]:
    """Stands for ingest/deliveries.py."""
    database.groups.append([delivery.event.object_id for delivery in deliveries])
    return [AcceptResult(f"e{delivery.event.object_id}", database.verdict) for delivery in deliveries]


@pytest.fixture
def database(monkeypatch) -> FakeDatabase:
    monkeypatch.setattr(inbox_module, "accept", remember)
    return FakeDatabase()


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def inbox(database, clock, bell, monkeypatch) -> Inbox:
    """An inbox that does not try refused deliveries again (tests/store/test_refused_deliveries.py does)."""
    monkeypatch.setattr(Inbox, "_start_replay", lambda _: None)
    return Inbox(database, clock, bell)


def deliver(inbox: Inbox, *numbers: int) -> list[asyncio.Task[AcceptResult]]:
    return [asyncio.create_task(inbox.accept(event(number), "absent")) for number in numbers]


async def test_a_delivery_is_answered_after_its_commit_and_not_before(inbox, database, bell):
    (task,) = deliver(inbox, 1)
    await settle()
    assert (task.done(), bell.rung) == (False, 0)
    database.commit(0)
    assert await task == AcceptResult("e1", "accepted")
    assert bell.rung == 1


async def test_deliveries_that_arrive_during_a_commit_share_the_next_one(inbox, database):
    tasks = deliver(inbox, 1)
    await settle()
    tasks += deliver(inbox, 2, 3, 4)
    await settle()
    assert database.groups == [[1]]
    database.commit(0)
    await settle()
    assert database.groups == [[1], [2, 3, 4]]
    assert [task.done() for task in tasks] == [True, False, False, False]
    database.commit(1)
    assert [receipt.event_id for receipt in await asyncio.gather(*tasks)] == ["e1", "e2", "e3", "e4"]


async def test_a_hundred_deliveries_at_once_need_one_commit(inbox, database):
    tasks = deliver(inbox, *range(100))
    await settle()
    database.commit(0)
    await asyncio.gather(*tasks)
    assert [len(group) for group in database.groups] == [100]


async def test_a_group_has_a_limit(inbox, database, monkeypatch):
    monkeypatch.setattr(inbox_module, "GROUP", 2)
    tasks = deliver(inbox, 1, 2, 3, 4, 5)
    for number in range(3):
        await settle()
        database.commit(number)
    await asyncio.gather(*tasks)
    assert database.groups == [[1, 2], [3, 4], [5]]


async def test_a_delivery_that_cannot_be_stored_fails_alone(inbox, database, monkeypatch):
    """Otherwise one event could refuse those of others."""

    def poisoned(database: FakeDatabase, deliveries, now) -> list[AcceptResult]:
        receipts = remember(database, deliveries, now)
        if any(delivery.event.object_id == 5 for delivery in deliveries):
            raise ValueError("a bug")
        return receipts

    monkeypatch.setattr(inbox_module, "accept", poisoned)
    monkeypatch.setattr(database, "write", database.write_at_once)
    tasks = deliver(inbox, *range(1, 9))
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [AcceptResult] * 4 + [StorageUnavailable] + [
        AcceptResult
    ] * 3
    assert [answer.event_id for answer in answers[5:]] == ["e6", "e7", "e8"]
    assert database.groups == [[*range(1, 9)], [1, 2, 3, 4], [5, 6, 7, 8], [5, 6], [5], [6], [7, 8]]


async def test_a_failing_database_is_not_asked_again_for_each_delivery(inbox, database):
    tasks = deliver(inbox, 1, 2, 3)
    await settle()
    database.fail(0, StorageUnavailable("disk full"))
    await asyncio.gather(*tasks, return_exceptions=True)
    assert database.groups == [[1, 2, 3]]


@pytest.mark.parametrize("problem", [StorageUnavailable("disk full"), ValueError("a bug"), OSError("gone")])
async def test_a_failing_commit_refuses_exactly_its_own_deliveries(inbox, database, bell, problem):
    first = deliver(inbox, 1)
    await settle()
    second = deliver(inbox, 3)
    database.fail(0, problem)
    for task in first:
        with pytest.raises(StorageUnavailable):
            await task
    assert bell.rung == 0
    await settle()
    database.commit(1)
    assert await second[0] == AcceptResult("e3", "accepted")
    assert bell.rung == 1


async def test_after_a_failure_the_next_delivery_is_accepted(inbox, database):
    (failed,) = deliver(inbox, 1)
    await settle()
    database.fail(0, StorageUnavailable("locked"))
    with pytest.raises(StorageUnavailable, match="locked"):
        await failed
    (taken,) = deliver(inbox, 2)
    await settle()
    database.commit(1)
    assert (await taken).event_id == "e2"


async def test_a_delivery_that_is_not_committed_in_time_is_refused(inbox, database, bell, monkeypatch):
    monkeypatch.setattr(inbox_module, "COMMIT_WITHIN_S", 0.03)
    with pytest.raises(StorageUnavailable, match=r"0\.03"):
        await inbox.accept(event(), "absent")
    # It may become durable later: its work is not lost, and the repeated delivery is a duplicate.
    database.commit(0)
    await inbox.close()
    assert bell.rung == 1


async def test_a_delivery_that_waits_behind_a_slow_commit_is_refused_too(inbox, database, monkeypatch):
    monkeypatch.setattr(inbox_module, "COMMIT_WITHIN_S", 0.03)
    tasks = deliver(inbox, 1)
    await settle()
    tasks += deliver(inbox, 2)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StorageUnavailable] * 2
    assert database.groups == [[1]]


async def test_a_client_that_hangs_up_does_not_undo_the_commit(inbox, database, bell):
    hung_up, other = deliver(inbox, 1, 2)
    await settle()
    hung_up.cancel()
    await settle()
    database.commit(0)
    assert (await other).event_id == "e2"
    assert bell.rung == 1


async def test_a_backlog_has_a_limit(inbox, database, monkeypatch):
    monkeypatch.setattr(inbox_module, "BACKLOG", 2)
    tasks = deliver(inbox, 1)
    await settle()
    tasks += deliver(inbox, 2, 3)
    await settle()
    with pytest.raises(StorageUnavailable, match="too many"):
        await inbox.accept(event(4), "absent")
    database.commit(0)
    await settle()
    tasks += deliver(inbox, 5)
    await settle()
    database.commit(1)
    await settle()
    database.commit(2)
    await asyncio.gather(*tasks)
    assert database.groups == [[1], [2, 3], [5]]


@pytest.mark.parametrize(("verdict", "rung"), [("accepted", 1), ("duplicate", 0)])
async def test_only_new_events_wake_the_dispatcher(inbox, database, bell, verdict, rung):
    database.verdict = verdict
    (task,) = deliver(inbox, 1)
    await settle()
    database.commit(0)
    assert (await task).verdict == verdict
    assert bell.rung == rung


async def test_closing_waits_for_the_running_commit(inbox, database):
    tasks = deliver(inbox, 1)
    await settle()
    tasks += deliver(inbox, 2)
    await settle()
    closing = asyncio.create_task(inbox.close())
    await settle()
    assert not closing.done()
    database.commit(0)
    await settle()
    assert not closing.done()
    database.commit(1)
    await closing
    assert [receipt.event_id for receipt in await asyncio.gather(*tasks)] == ["e1", "e2"]


async def test_an_idle_inbox_closes_at_once(inbox):
    await inbox.close()
    await inbox.close()


def test_a_refusal_reaches_strava_within_its_two_seconds():
    """Later, Strava has given up, and the answer says nothing to it."""
    assert inbox_module.COMMIT_WITHIN_S <= 1.5
