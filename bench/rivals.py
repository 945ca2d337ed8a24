"""What people use today to stay within the rate limit, as one worker with a queue in simulated time.

Strava counts with the sandbox's own `Meter`. The worker is treated kindly: nothing is ever lost, and new
activities go first whenever the limiter lets the worker go on.
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
"""How long a call takes, as over the simulated network."""

LOOKS_S = (900, 6 * HOUR_S, 24 * HOUR_S)
"""Later looks at a new activity, and the comparisons below: feedzone does them, so the work is the same."""

VISIBLE_AFTER_S, STREAMS_AFTER_S = CALM.visible_delay_s, CALM.stream_delay_s
"""What is younger is answered with 404, or has no streams yet."""

AGAIN_S = {"detail": 5.0, "streams": 60.0}
TAIL_S = 36 * HOUR_S
"""So long after the end, what was uploaded before may still be fetched."""

COMPARED_EVERY_S = 6 * HOUR_S
PAGE = 200


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]


class Clock:
    """Simulated time, in epoch seconds; whoever sleeps, sleeps alone."""

    def __init__(self, now: float) -> None:
        self.now = now

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)


class Strava:
    """Counts as the sandbox does; somebody else may use the same application."""

    def __init__(self, plan: Plan, wanted: list[Take], clock: Clock, reads: list[Read]) -> None:
        self.meter = Meter(plan.limits)
        self._others = Others(self.meter)
        self._wanted = deque(wanted)
        self._clock = clock
        self._reads = reads

    def call(self, *, streams: bool = False) -> Answer:
        """One read. Streams come without headers, as recorded; a refusal has them in any case."""
        now = self._clock.now
        while self._wanted and self._wanted[0].at <= now:
            take = self._wanted.popleft()
            if taken := self._others.take(take.at, take.calls):
                self._reads.append(Read(take.at, taken, own=False, refused=False))
        refused = self.meter.spend(now) is not None
        self._reads.append(Read(now, 1, own=True, refused=refused))
        headers = {} if streams and not refused else dict(self.meter.headers(now))
        return Answer(429 if refused else 200, headers)


class Policy(Protocol):
    """What is done after each answer, before anything else: it may sleep."""

    def __call__(self, answer: Answer) -> None: ...


class Stravalib:
    """The limiter of stravalib itself, in simulated time. A call that it could not avoid to be refused is
    made again when it has slept."""

    def __init__(self, _: Clock, priority: str) -> None:
        self._limit = limiter.DefaultRateLimiter(priority)  # type: ignore[arg-type]

    def __call__(self, answer: Answer) -> None:
        self._limit(answer.headers, "GET")


class StravalibOnTime(Stravalib):
    """The same, were it not to wake in the last second of a window, just before what it has waited for."""

    EARLY_S, LATE_S = 1.5, 0.5

    def __init__(self, clock: Clock, priority: str) -> None:
        super().__init__(clock, priority)
        self._clock = clock

    def __call__(self, answer: Answer) -> None:
        super().__call__(answer)
        left = QUARTER_S - self._clock.now % QUARTER_S
        if left < self.EARLY_S:
            self._clock.sleep(left + self.LATE_S)


class FixedSleep:
    """A pause after every call; after a 429 the next attempt a quarter of an hour later."""

    AFTER_429_S = 900.0

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def __call__(self, answer: Answer) -> None:
        self._clock.sleep(self.AFTER_429_S if answer.status == 429 else self._seconds)


class Backoff:
    """No pause until a 429; then one second, doubled with every further one up to a quarter of an hour."""

    MOST_S = 900.0

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._wait = 0.0

    def __call__(self, answer: Answer) -> None:
        self._wait = min(self.MOST_S, self._wait * 2 or 1.0) if answer.status == 429 else 0.0
        self._clock.sleep(self._wait * self._rng.uniform(0.5, 1))


@contextmanager
def stravalib_time(clock: Clock) -> Iterator[None]:
    """stravalib's limiter reads this clock and sleeps on it."""
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
    """Some calls in a row. New activities (lane 0) go before later looks (1), those before histories (2)."""

    due: float
    lane: int
    calls: list[str]
    story: Story | None = None
    counts: bool = False
    """Whether an activity is done with it."""


class Queue:
    """Due tasks of the best lane first, in their order."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._coming: list[tuple[float, int, Task]] = []
        self._numbers = itertools.count()
        self._due: tuple[deque[Task], ...] = (deque(), deque(), deque())
        for task in tasks:
            self.put(task)

    def put(self, task: Task) -> None:
        heapq.heappush(self._coming, (task.due, next(self._numbers), task))

    def back(self, task: Task) -> None:
        """It was refused: it is the first of its lane again."""
        self._due[task.lane].appendleft(task)

    def get(self, now: float) -> Task | None:
        while self._coming and self._coming[0][0] <= now:
            *_, task = heapq.heappop(self._coming)
            self._due[task.lane].append(task)
        return next((lane.popleft() for lane in self._due if lane), None)

    @property
    def next_due(self) -> float:
        return self._coming[0][0] if self._coming else math.inf

    @property
    def history_left(self) -> int:
        return len(self._due[2])


def run(seed: int, plan: Plan, policy: Callable[[Clock], Policy]) -> Record:
    """The rival's whole time, recorded as that of the engine is."""
    record = Record(seed, plan, times(seed, plan))
    clock, end = Clock(record.times.begin), record.times.end
    strava = Strava(plan, takes(seed, plan), clock, record.reads)
    queue = Queue([*_events(record), *_comparisons(record), *_histories(record)])
    rng, after = random.Random(f"{seed}:rival"), policy(clock)
    with stravalib_time(clock):
        while clock.now < end + TAIL_S:
            if (task := queue.get(clock.now)) is None:
                clock.now = min(queue.next_due, end + TAIL_S)
            else:
                _work(task, queue, strava, clock, after, rng, record)
    record.reads = sorted(read for read in record.reads if read.at < end)
    record.looks = _looks(record, queue.history_left)
    return record


def _work(task: Task, queue: Queue, strava: Strava, clock: Clock, after: Policy, rng: random.Random,
          record: Record) -> None:  # fmt: skip
    """Make its calls, until one is refused or the activity is not ready."""
    while task.calls:
        what = task.calls[0]
        clock.sleep(rng.uniform(*CALL_S) / 2)
        age = clock.now - task.story.happened_at if task.story else math.inf
        answer = strava.call(streams=what == "streams")
        clock.sleep(rng.uniform(*CALL_S) / 2)
        ready = age >= (STREAMS_AFTER_S if what == "streams" else VISIBLE_AFTER_S)
        answered = clock.now
        if answer.status == 200 and ready:
            _store(task, task.calls.pop(0), answered, queue, record)
        after(answer)
        if answer.status == 429:
            queue.back(task)
            return
        if not ready:
            queue.put(replace(task, due=answered + AGAIN_S[what]))
            return


def _store(task: Task, what: str, now: float, queue: Queue, record: Record) -> None:
    story = task.story
    if story is not None and what == "detail":
        story.detail_at = now
        for wait in LOOKS_S:
            queue.put(Task(now + wait, 1, ["detail"]))
    elif story is not None:
        story.streams_at = now
    if task.counts and not task.calls:
        record.done.append(now)


def _events(record: Record) -> list[Task]:
    tasks = []
    for number, upload in enumerate(uploads(record.seed, record.plan)):
        story = record.stories[number] = Story(number, upload.at, upload.at + 1)
        tasks.append(Task(upload.at + 1, 0, ["detail", "streams"], story, counts=True))
    return tasks


def _comparisons(record: Record) -> list[Task]:
    """A comparison every six hours, and one look a day at the gear."""
    rng, at = random.Random(f"{record.seed}:comparisons"), record.times
    tasks = []
    for _ in range(record.plan.athletes):
        begin = at.begin + rng.uniform(0, COMPARED_EVERY_S)
        for number in range(int((at.end - begin) // COMPARED_EVERY_S) + 1):
            due = begin + number * COMPARED_EVERY_S
            tasks.append(Task(due, 1, ["list", "list"] + ["gear"] * (number % 4 == 0)))
    return tasks


def _histories(record: Record) -> list[Task]:
    """Everybody's lists, then everybody's activities in turn."""
    plan, tasks = record.plan, []
    counts = [round(plan.history_of(n) * plan.per_week / 7) for n in range(plan.athletes)]
    for count in counts:
        tasks += [Task(record.times.backfill_at, 2, ["list"]) for _ in range(-(-count // PAGE) + 1)]
    for _ in range(sum(counts)):
        tasks.append(Task(record.times.backfill_at, 2, ["detail", "streams"], counts=True))
    return tasks


def _looks(record: Record, left: int) -> list[Look]:
    """At each day's end. The week must be too short for the history, else nothing can be compared."""
    first = int(record.times.backfill_at // DAY_S) + 1
    ends = [day * DAY_S - 1.0 for day in range(first, int(record.times.end // DAY_S) + 1)]
    return [Look(end, {0: left}) for end in ends]
