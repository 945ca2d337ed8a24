"""The worker: runs jobs, as many at a time as it may, loses none, and stops without a mess."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from fakes import NOON, FakeQueue, Parked, job, settle

from duty_leases import OnlyProcess
from feedzone.domain.job import Job
from feedzone.domain.outcome import Discard, Done, Outcome, Retry, Snooze
from feedzone.errors import StorageUnavailable
from feedzone.store.engine.interface import ANSWER_S
from feedzone.worker import loop
from feedzone.worker import service as service_module
from feedzone.worker.executor import Executor
from feedzone.worker.loop import Loop
from feedzone.worker.producer import LEASE_S, Producer
from feedzone.worker.rescuer import EVERY_S, Rescuer
from feedzone.worker.service import WorkerService
from feedzone.worker.wakeup import LocalWakeup

DOWN = StorageUnavailable("locked")


class Work:
    """A handler that the test controls: each run waits for `finish`."""

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Future[Outcome]] = {}
        self.started: list[str] = []

    async def __call__(self, job: Job) -> Outcome:
        self.started.append(job.id)
        self.running[job.id] = asyncio.get_running_loop().create_future()
        return await self.running[job.id]

    def finish(self, job_id: str) -> None:
        self.running.pop(job_id).set_result(Done())


class ListeningWakeup(LocalWakeup):
    """Records the timeouts, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        return False


def some_jobs(count: int) -> list[Job]:
    return [job(id=f"job-{number}", key=f"activity:{number}") for number in range(count)]


def ends(outcome: Outcome | Exception) -> Callable[[Job], object]:
    async def handler(_job: Job) -> Outcome:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return handler


def executor(queue: FakeQueue, handler, clock, limit_s: float = 5) -> Executor:
    return Executor(queue, {"refresh_activity": handler}, clock, limit_s=limit_s)


def producer(queue: FakeQueue, handler, clock, wakeup=None, batch_size: int = 3) -> Producer:
    made = executor(queue, handler, clock)
    return Producer(queue, made, wakeup or LocalWakeup(), clock, worker="w", batch_size=batch_size, poll_s=60)


# Executor


@pytest.mark.parametrize("outcome", [Done(note="x"), Snooze(NOON, "quota"), Retry("503"), Discard("400")])
async def test_the_outcome_of_a_handler_is_stored(clock, outcome):
    queue = FakeQueue(clock, job())
    (leased,) = await queue.lease(1, "w/1", 30)
    assert await executor(queue, ends(outcome), clock).run(leased) == outcome
    assert queue.outcomes == [("job-1", outcome)]


@pytest.mark.parametrize("problem", [ValueError("a quoted value"), KeyError("a quoted value")])
async def test_a_handler_that_raises_is_tried_again_and_its_text_is_not_stored(clock, problem):
    queue = FakeQueue(clock, job())
    (leased,) = await queue.lease(1, "w/1", 30)
    outcome = await executor(queue, ends(problem), clock).run(leased)
    assert outcome.error.startswith(f"a bug in feedzone: {type(problem).__name__} at ")
    assert queue.outcomes == [("job-1", Retry(outcome.error))]


async def test_our_own_database_trouble_costs_the_job_no_attempt(clock):
    (leased,) = await (queue := FakeQueue(clock, job())).lease(1, "w/1", 30)
    outcome = await executor(queue, ends(DOWN), clock).run(leased)
    assert (type(outcome), outcome.reason) == (Snooze, "database unavailable: locked")


async def test_a_kind_without_a_handler_is_tried_again(clock):
    queue = FakeQueue(clock, job("revoke_athlete"))
    (leased,) = await queue.lease(1, "w/1", 30)
    assert isinstance(await executor(queue, ends(Done()), clock).run(leased), Retry)


async def test_a_run_has_a_time_limit(clock):
    queue = FakeQueue(clock, job())
    (leased,) = await queue.lease(1, "w/1", 30)
    assert await executor(queue, Work(), clock, limit_s=0.02).run(leased) == Retry(
        "the run took longer than 0.02 s"
    )


async def test_an_outcome_is_recorded_when_the_database_comes_back(clock):
    queue = FakeQueue(clock, job())
    queue.failures = [DOWN] * 4
    (leased,) = await queue.lease(1, "w/1", 30)
    await executor(queue, ends(Done()), clock).run(leased)
    assert queue.outcomes == [("job-1", Done())]
    assert clock.now() > NOON


async def test_a_lost_lease_changes_nothing(clock):
    queue = FakeQueue(clock, job())
    (leased,) = await queue.lease(1, "w/1", 30)
    await queue.release("w")
    await executor(queue, ends(Done()), clock).run(leased)
    assert queue.outcomes == []
    assert "job-1" in queue.jobs


@pytest.mark.parametrize("failures", [[DOWN] * 8, [ValueError("a bug in an effect")]])
async def test_a_job_whose_outcome_could_not_be_recorded_runs_again(clock, failures):
    queue = FakeQueue(clock, job())
    queue.failures = list(failures)
    made = producer(queue, ends(Done()), clock)
    rescuer = Rescuer(queue, made.leases)
    await made.run_once()
    while made.running:
        await settle()
    for _ in range(20):
        clock.advance(seconds=EVERY_S)
        await rescuer.run_once()
        await made.run_once()
        await settle()
    assert queue.outcomes[-1:] == [("job-1", Done())]
    assert queue.jobs == {}


# Producer


async def test_no_more_than_the_batch_size_runs_at_a_time(clock):
    queue, work = FakeQueue(clock, *some_jobs(5)), Work()
    made = producer(queue, work, clock)
    assert await made.run_once() == 3
    assert await made.run_once() == 0
    await settle()
    assert work.started == ["job-0", "job-1", "job-2"]
    work.finish("job-1")
    await settle()
    assert await made.run_once() == 1
    await settle()
    assert work.started[3:] == ["job-3"]
    await made.drain(0)


async def test_every_lease_has_an_owner_of_its_own(clock):
    queue, work = FakeQueue(clock, *some_jobs(2)), Work()
    made = producer(queue, work, clock, batch_size=1)
    await made.run_once()
    await settle()
    first = queue.leases["job-0"][0]
    work.finish("job-0")
    await settle()
    await made.run_once()
    assert first.startswith("w/")
    assert queue.leases["job-1"][0] != first
    await made.drain(0)


@pytest.mark.parametrize(
    ("due_in", "waited"),
    [(None, 60), (timedelta(seconds=7), 7), (timedelta(hours=1), 60), (timedelta(seconds=-7), 0)],
)
async def test_it_waits_for_the_next_due_job_or_the_poll_interval(clock, due_in, waited):
    jobs = some_jobs(0 if due_in is None else 1)
    queue = FakeQueue(clock, *jobs, due={"job-0": clock.now() + (due_in or timedelta(0))})
    wakeup = ListeningWakeup()
    made = producer(queue, Work(), clock, wakeup)
    await made.run_once()
    await made.pause()
    assert wakeup.waits == [waited]
    await made.drain(0)


async def test_a_due_job_that_cannot_be_leased_is_checked_again_a_second_later(clock, monkeypatch):
    queue, wakeup = FakeQueue(clock, *some_jobs(1)), ListeningWakeup()
    monkeypatch.setattr(queue, "lease", lambda *_: asyncio.sleep(0, []))
    await (made := producer(queue, Work(), clock, wakeup)).run_once()
    await made.pause()
    assert wakeup.waits == [1]


async def test_while_it_is_full_a_due_job_does_not_keep_it_busy(clock):
    queue, wakeup = FakeQueue(clock, *some_jobs(2)), ListeningWakeup()
    made = producer(queue, Work(), clock, wakeup, batch_size=1)
    await made.run_once()
    await made.pause()
    assert wakeup.waits == [60]
    await made.drain(0)


async def test_an_ending_job_makes_room_at_once(clock):
    queue, work, wakeup = FakeQueue(clock, *some_jobs(1)), Work(), LocalWakeup()
    made = producer(queue, work, clock, wakeup, batch_size=1)
    await made.run_once()
    await settle()
    work.finish("job-0")
    assert await wakeup.wait(5) is True
    assert made.running == {}


async def test_draining_waits_for_jobs_that_end_in_time_and_cancels_the_rest(clock):
    queue, work = FakeQueue(clock, *some_jobs(2)), Work()
    made = producer(queue, work, clock)
    await made.run_once()
    await settle()
    draining = asyncio.create_task(made.drain(0.05))
    await settle()
    work.finish("job-0")
    await draining
    assert [job_id for job_id, _ in queue.outcomes] == ["job-0"]
    assert work.running["job-1"].cancelled()
    assert made.running == {}


# Rescuer


async def test_a_living_worker_keeps_its_leases_and_a_dead_ones_jobs_run_again(clock):
    queue = FakeQueue(clock, *some_jobs(2))
    await queue.lease(1, "w/1", LEASE_S)
    await queue.lease(1, "dead/1", LEASE_S)
    clock.advance(seconds=LEASE_S)
    assert await Rescuer(queue, lambda: ["w/1"]).run_once() == 1
    assert list(queue.leases) == ["job-0"]
    assert EVERY_S + ANSWER_S + loop.PAUSE_AFTER_FAILURE_S < LEASE_S  # one renewal may fail
    assert LEASE_S + EVERY_S <= 30


# Loop


async def test_a_loop_survives_failing_steps_and_pauses(monkeypatch):
    monkeypatch.setattr(loop, "PAUSE_AFTER_FAILURE_S", 0)
    failures = [ValueError("a bug"), DOWN, TimeoutError()]
    steps, done = [], asyncio.Event()

    async def step() -> None:
        steps.append(1)
        if failures:
            raise failures.pop()

    async def pause() -> None:
        if len(steps) < 6:
            raise OSError("a bug in the pause")
        done.set()
        await asyncio.get_running_loop().create_future()

    duty = Loop("duty", step, pause)
    duty.start()
    await asyncio.wait_for(done.wait(), 5)
    await duty.stop()
    assert len(steps) == 6


async def test_a_loop_can_be_stopped_twice_or_unstarted_and_started_again():
    steps = []

    async def step() -> None:
        steps.append(1)
        await asyncio.get_running_loop().create_future()

    duty = Loop("duty", step, step)
    await duty.stop()
    duty.start()
    duty.start()
    await settle()
    assert len(steps) == 1
    await duty.stop()
    await duty.stop()
    duty.start()
    await settle()
    assert len(steps) == 2
    await duty.stop()


# The worker as a whole


def service(queue: FakeQueue, handler, wakeup: LocalWakeup, batch_size: int = 3) -> WorkerService:
    return WorkerService(
        queue,
        {"refresh_activity": handler},
        Parked(),
        wakeup,
        OnlyProcess(),
        name="w",
        batch_size=batch_size,
        poll_s=60,
        job_limit_s=60,
    )


def add(queue: FakeQueue, job: Job) -> None:
    queue.jobs[job.id], queue.due[job.id] = job, NOON


async def test_a_wakeup_starts_new_jobs_before_the_poll():
    queue, work, wakeup = FakeQueue(Parked()), Work(), LocalWakeup()
    worker = service(queue, work, wakeup)
    await worker.start()
    await settle()
    add(queue, job())
    await settle()
    assert work.started == []
    wakeup.notify()
    await settle()
    assert work.started == ["job-1"]
    work.finish("job-1")
    await settle()
    await worker.stop()
    assert queue.outcomes == [("job-1", Done())]


async def test_a_long_queue_runs_without_a_wakeup():
    queue, wakeup = FakeQueue(Parked(), *some_jobs(20)), LocalWakeup()
    worker = service(queue, ends(Done()), wakeup, batch_size=2)
    await worker.start()
    await settle(400)
    await worker.stop()
    assert [job_id for job_id, _ in queue.outcomes] == [job.id for job in some_jobs(20)]


async def test_a_stop_lets_running_jobs_finish_and_leases_nothing_more(monkeypatch):
    queue, work, wakeup = FakeQueue(Parked(), *some_jobs(3)), Work(), LocalWakeup()
    worker = service(queue, work, wakeup, batch_size=1)
    await worker.start()
    await settle()
    stopping = asyncio.create_task(worker.stop())
    await settle()
    assert not stopping.done()
    work.finish("job-0")
    await stopping
    assert work.started == ["job-0"]
    assert [job_id for job_id, _ in queue.outcomes] == ["job-0"]
    assert queue.leases == {}


async def test_a_stop_gives_back_jobs_that_do_not_finish_in_time(monkeypatch):
    monkeypatch.setattr(service_module, "GRACE_S", 0.02)
    queue, work = FakeQueue(Parked(), *some_jobs(2)), Work()
    worker = service(queue, work, LocalWakeup())
    await worker.start()
    await settle()
    await worker.stop()
    assert (queue.outcomes, queue.leases, queue.released) == ([], {}, ["w"])
    assert len(await queue.lease(5, "other/1", 30)) == 2


async def test_a_worker_can_be_stopped_twice_or_unstarted():
    queue = FakeQueue(Parked())
    worker = service(queue, Work(), LocalWakeup())
    await worker.stop()
    await worker.start()
    await worker.stop()
    await worker.stop()
    assert queue.released == ["w"]


# Wakeup


async def test_a_notification_that_comes_while_nobody_waits_is_kept_once():
    wakeup = LocalWakeup()
    wakeup.notify()
    wakeup.notify()
    assert await wakeup.wait(0) is True
    assert await wakeup.wait(0) is False


async def test_without_a_notification_the_wait_ends():
    assert await LocalWakeup().wait(0.01) is False
