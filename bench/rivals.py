"""Models of the rate limiters in use today: a worker with a queue, in simulated time.

Strava's side counts with the sandbox's own `Meter`. The models are favoured: no work is ever lost, and new
activities go first whenever the limiter lets the worker continue.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import random
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol
from unittest.mock import patch

import arrow
from stravalib.util import limiter

from feedzone.sandbox.limits import Meter
from sim.quota.plan import DAY_S, HOUR_S, QUARTER_S, Plan, Take, takes, times, uploads
from sim.quota.record import Look, Others, Read, Record, Story
from sim.scenario import CALM

CALL_S = (0.05, 0.4)
"""The duration of a call in seconds, as over the simulated network."""

RECHECKS_S = (900, 6 * HOUR_S, 24 * HOUR_S)
"""When new activities are rechecked. feedzone rechecks and reconciles too, so the work is the same."""

VISIBLE_AFTER_S, STREAMS_AFTER_S = CALM.visible_delay_s, CALM.stream_delay_s
"""A younger activity gets 404, or has no streams yet."""

RETRY_AFTER_S = {"detail": 5.0, "streams": 60.0}
TAIL_S = 36 * HOUR_S
"""For this time after the end, earlier uploads may still be fetched."""

RECONCILED_EVERY_S = 6 * HOUR_S
PAGE = 200


class Response(NamedTuple):
    status: int
    headers: dict[str, str]


class Clock:
    """Simulated time in epoch seconds; sleeping advances it."""

    def __init__(self, now: float) -> None:
        self.now = now

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)


class Strava:
    """Counts calls as the sandbox does; another client may use the same application."""

    def __init__(self, plan: Plan, other_takes: list[Take], clock: Clock, reads: list[Read]) -> None:
        self.meter = Meter(plan.limits)
        self._others = Others(self.meter)
        self._other_takes = deque(other_takes)
        self._clock = clock
        self._reads = reads

    def call(self, *, streams: bool = False) -> Response:
        """Make one read. Responses with streams have no headers, as recorded; refusals always do."""
        now = self._clock.now
        while self._other_takes and self._other_takes[0].at <= now:
            take = self._other_takes.popleft()
            if taken := self._others.take(take.at, take.calls):
                self._reads.append(Read(take.at, taken, own=False, refused=False))
        refused = self.meter.spend(now) is not None
        self._reads.append(Read(now, 1, own=True, refused=refused))
        headers = {} if streams and not refused else dict(self.meter.headers(now))
        return Response(429 if refused else 200, headers)


class Policy(Protocol):
    """The limiter: it is called after each response and may sleep."""

    def __call__(self, response: Response) -> None: ...


class Stravalib:
    """The limiter of stravalib itself, in simulated time; a refused call is repeated after its sleep."""

    def __init__(self, _: Clock, priority: str) -> None:
        self._limit = limiter.DefaultRateLimiter(priority)  # type: ignore[arg-type]

    def __call__(self, response: Response) -> None:
        self._limit(response.headers, "GET")


class StravalibOnTime(Stravalib):
    """stravalib's limiter if it did not wake up just before the end of the window it waits for."""

    MARGIN_BEFORE_S, MARGIN_AFTER_S = 1.5, 0.5

    def __init__(self, clock: Clock, priority: str) -> None:
        super().__init__(clock, priority)
        self._clock = clock

    def __call__(self, response: Response) -> None:
        super().__call__(response)
        left = QUARTER_S - self._clock.now % QUARTER_S
        if left < self.MARGIN_BEFORE_S:
            self._clock.sleep(left + self.MARGIN_AFTER_S)


class FixedSleep:
    """A fixed pause after every call, and 15 minutes after a 429."""

    AFTER_429_S = 900.0

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def __call__(self, response: Response) -> None:
        self._clock.sleep(self.AFTER_429_S if response.status == 429 else self._seconds)


class Backoff:
    """No pause until a 429; then one second, doubled with every further 429 up to 15 minutes."""

    MAX_S = 900.0

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._wait = 0.0

    def __call__(self, response: Response) -> None:
        self._wait = min(self.MAX_S, self._wait * 2 or 1.0) if response.status == 429 else 0.0
        self._clock.sleep(self._wait * self._rng.uniform(0.5, 1))


@contextmanager
def stravalib_time(clock: Clock) -> Iterator[None]:
    """Let stravalib's limiter read this clock and sleep on it."""
    log = logging.getLogger(limiter.__name__)
    level = log.level
    log.setLevel(logging.CRITICAL)
    now = types.SimpleNamespace(utcnow=lambda: arrow.get(clock.now))
    try:
        with patch.object(limiter, "time", clock), patch.object(limiter, "arrow", now):
            yield
    finally:
        log.setLevel(level)


@dataclass
class Task:
    """A series of calls. Lane 0 (new activities) precedes lane 1 (rechecks) and lane 2 (backfill)."""

    due: float
    lane: int
    calls: list[str]
    story: Story | None = None
    completes: bool = False
    """Whether an activity is complete after this task."""


class Queue:
    """Due tasks, by lane and then by due time."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._scheduled: list[tuple[float, int, Task]] = []
        self._numbers = itertools.count()
        self._due: tuple[deque[Task], ...] = (deque(), deque(), deque())
        for task in tasks:
            self.put(task)

    def put(self, task: Task) -> None:
        heapq.heappush(self._scheduled, (task.due, next(self._numbers), task))

    def put_back(self, task: Task) -> None:
        """Return a refused task to the front of its lane."""
        self._due[task.lane].appendleft(task)

    def get(self, now: float) -> Task | None:
        while self._scheduled and self._scheduled[0][0] <= now:
            *_, task = heapq.heappop(self._scheduled)
            self._due[task.lane].append(task)
        return next((lane.popleft() for lane in self._due if lane), None)

    @property
    def next_due(self) -> float:
        return self._scheduled[0][0] if self._scheduled else math.inf

    @property
    def backfill_left(self) -> int:
        return len(self._due[2])


def run(seed: int, plan: Plan, policy: Callable[[Clock], Policy]) -> Record:
    """Simulate a limiter over the whole plan; return the same kind of record as for the engine."""
    record = Record(seed, plan, times(seed, plan))
    clock, end = Clock(record.times.begin), record.times.end
    strava = Strava(plan, takes(seed, plan), clock, record.reads)
    queue = Queue([*_events(record), *_reconciliations(record), *_backfill(record)])
    rng, after_call = random.Random(f"{seed}:rival"), policy(clock)
    with stravalib_time(clock):
        while clock.now < end + TAIL_S:
            if (task := queue.get(clock.now)) is None:
                clock.now = min(queue.next_due, end + TAIL_S)
            else:
                _work(task, queue, strava, clock, after_call, rng, record)
    record.reads = sorted(read for read in record.reads if read.at < end)
    record.looks = _looks(record, queue.backfill_left)
    return record


def _work(task: Task, queue: Queue, strava: Strava, clock: Clock, after_call: Policy, rng: random.Random,
          record: Record) -> None:  # fmt: skip
    """Make the calls of a task until a call is refused or the activity is not ready."""
    while task.calls:
        resource = task.calls[0]
        clock.sleep(rng.uniform(*CALL_S) / 2)
        age = clock.now - task.story.happened_at if task.story else math.inf
        response = strava.call(streams=resource == "streams")
        clock.sleep(rng.uniform(*CALL_S) / 2)
        ready = age >= (STREAMS_AFTER_S if resource == "streams" else VISIBLE_AFTER_S)
        answered = clock.now
        if response.status == 200 and ready:
            _store(task, task.calls.pop(0), answered, queue, record)
        after_call(response)
        if response.status == 429:
            queue.put_back(task)
            return
        if not ready:
            queue.put(replace(task, due=answered + RETRY_AFTER_S[resource]))
            return


def _store(task: Task, resource: str, now: float, queue: Queue, record: Record) -> None:
    story = task.story
    if story is not None and resource == "detail":
        story.detail_at = now
        for wait in RECHECKS_S:
            queue.put(Task(now + wait, 1, ["detail"]))
    elif story is not None:
        story.streams_at = now
    if task.completes and not task.calls:
        record.done.append(now)


def _events(record: Record) -> list[Task]:
    tasks = []
    for number, upload in enumerate(uploads(record.seed, record.plan)):
        story = record.stories[number] = Story(number, upload.at, upload.at + 1)
        tasks.append(Task(upload.at + 1, 0, ["detail", "streams"], story, completes=True))
    return tasks


def _reconciliations(record: Record) -> list[Task]:
    """Return a reconciliation of each athlete every six hours, and one gear check a day."""
    rng, at = random.Random(f"{record.seed}:comparisons"), record.times
    tasks = []
    for _ in range(record.plan.athletes):
        begin = at.begin + rng.uniform(0, RECONCILED_EVERY_S)
        for number in range(int((at.end - begin) // RECONCILED_EVERY_S) + 1):
            due = begin + number * RECONCILED_EVERY_S
            tasks.append(Task(due, 1, ["list", "list"] + ["gear"] * (number % 4 == 0)))
    return tasks


def _backfill(record: Record) -> list[Task]:
    """Return the lists of all athletes, then all their activities."""
    plan, tasks = record.plan, []
    counts = [round(plan.history_of(n) * plan.per_week / 7) for n in range(plan.athletes)]
    for count in counts:
        tasks += [Task(record.times.backfill_at, 2, ["list"]) for _ in range(-(-count // PAGE) + 1)]
    for _ in range(sum(counts)):
        tasks.append(Task(record.times.backfill_at, 2, ["detail", "streams"], completes=True))
    return tasks


def _looks(record: Record, left: int) -> list[Look]:
    """Return the backlog at the end of each day; the week must be too short for the backfill."""
    first = int(record.times.backfill_at // DAY_S) + 1
    ends = [day * DAY_S - 1.0 for day in range(first, int(record.times.end // DAY_S) + 1)]
    return [Look(end, {0: left}) for end in ends]
