"""The cases of `make bench`: what each measures, and the lines of the table that it fills."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from . import fetches, ingest, lone, long_runs
from .databases import BOTH, POSTGRES, SQLITE, Databases
from .load import Answers, Kind
from .peers import doors
from .peers.installed import PYTHON
from .processes import ROOT, cpu_s, feedzone_settings, module
from .stand_in import strava
from .table import Goal, Key, Line, Medians

NAMES = {SQLITE: "SQLite", POSTGRES: "PostgreSQL"}
KINDS: tuple[Kind, ...] = ("create", "update")
INGEST = {kind: f"durable ingest, {kind}, events/s" for kind in KINDS}
AT_DOOR = "CPU of the answering process for one create, us"
SUSTAINED, BACKLOG = (
    "the same for a minute, dispatcher here, events/s",
    "events without a job meanwhile, at most",
)
BUSY = "p99 of an answer at 1,000 events/s, worker busy, ms"
REFUSED = "deliveries answered 503 and sent again, of 1,000"
LONE = "an event that comes alone, median ms"
CPU, SERVER = "CPU of the process for one activity, ms", "CPU of PostgreSQL for one activity, ms"
STORED, RATE = "stored size of one activity, KB", "activities/s, one process"
NOOP = "no-op jobs claimed and finished, jobs/s, PostgreSQL"
WORKERS = "activities/s, answers after 100 ms, PostgreSQL"
P50, P99 = (f"event to stored activity at 50/s, answers after 50 ms, {part}, ms" for part in ("p50", "p99"))
START, START_MB = "start with 1,000,000 waiting jobs, s until it serves", "memory then, MB"
MEMORY = "memory of serve, PostgreSQL, MB"

Record = Callable[[Key, float], None]


@dataclass(frozen=True)
class Sizes:
    """How much one round does."""

    rounds: int = 3
    events: int = 5000
    alone: int = 100
    offered: int = 6000
    activities: int = 100
    shared: int = 400
    noop: int = 3000
    followed: int = 500
    sustained_s: float = 60.0
    jobs: int = 1_000_000
    many: int = 1_000_000


QUICK = Sizes(
    rounds=1, events=1500, alone=50, offered=2000, activities=40, shared=120, noop=1000, followed=100
)


@dataclass
class Bench:
    """What all cases share."""

    maker: Databases
    sizes: Sizes
    record: Record


def ours(name: str, where: str = "") -> str:
    """Name feedzone on one database."""
    return f"feedzone, {NAMES[name]}" + (f", dispatcher {where}" if where else "")


def door(name: str, where: ingest.Where) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        with ingest.opened(bench.maker, name, where) as opened:
            for kind in KINDS:
                figures = ingest.measure(opened, kind, bench.sizes.events)
                bench.record((INGEST[kind], ours(name, where)), figures.rate)
                if kind == "create":
                    bench.record((AT_DOOR, ours(name, where)), figures.door_us)
            bench.record((REFUSED, ours(name, where)), opened.refused * 1000 / opened.events)
            if where == "here":
                url = opened.url
                figure = lone.measure(opened, url, bench.sizes.alone)
                bench.record((LONE, ours(name)), figure.event_ms)
                bench.record((LONE, f"one bare commit, {NAMES[name]}"), figure.commit_ms)

    return run


def peer(program: doors.Peer) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        with doors.opened(bench.maker, program) as opened:
            used = cpu_s(opened.process)
            answers = opened.send(bench.sizes.events)
            used = cpu_s(opened.process) - used
            bench.record((INGEST["create"], program.name), bench.sizes.events / answers["took_s"])
            bench.record((AT_DOOR, program.name), used / bench.sizes.events * 1e6)
            if program.name == "raw ASGI, group commit":
                bench.record((BUSY, program.name), p99_ms(opened.send(bench.sizes.offered, 1000.0)))

    return run


def p99_ms(answers: Answers) -> float:
    return answers["times_s"][int(len(answers["times_s"]) * 0.99)] * 1000


def busy(name: str) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        with strava(50, fetches.ATHLETES) as port:
            answers = fetches.busy_answers(bench.maker, name, port, bench.sizes.offered, 1000.0)
        bench.record((BUSY, ours(name)), p99_ms(answers))

    return run


def whole(name: str) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        with strava() as port:
            for program, measure in ((ours(name), fetches.cost), (rival(name), fetches.peer_cost)):
                figures = measure(bench.maker, name, port, bench.sizes.activities)
                bench.record((CPU, program), figures.cpu_ms)
                bench.record((STORED, program), figures.stored_kb)
                bench.record((RATE, program), figures.rate)
                if name == POSTGRES:
                    bench.record((SERVER, program), figures.server_ms)

    return run


def rival(name: str) -> str:
    return f"stravalib + SQLAlchemy, {NAMES[name]}"


def noop(bench: Bench) -> None:
    with strava() as port:
        env = feedzone_settings(bench.maker.prepared(POSTGRES), bench.maker.home(), 1, port)
        rate = module("bench.noop_jobs", {"env": env, "jobs": bench.sizes.noop}, fetches.WITHIN_S)
    bench.record((NOOP, "feedzone"), rate)
    for library in ("procrastinate", "pgqueuer"):
        done = subprocess.run(
            [str(PYTHON), "-m", "bench.peers.noop_jobs", library, str(bench.sizes.noop)],
            env={"DATABASE_URL": bench.maker.new(POSTGRES), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            timeout=fetches.WITHIN_S,
            check=True,
        )
        bench.record((NOOP, library), json.loads(done.stdout))


def workers(bench: Bench) -> None:
    with strava(100, fetches.ATHLETES) as port:
        for number, name in ((1, "feedzone, 1 process"), (2, "feedzone, 2 processes")):
            bench.record((WORKERS, name), fetches.rate_of(bench.maker, port, number, bench.sizes.shared))


def followed(name: str) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        with strava(50, fetches.ATHLETES) as port:
            times = fetches.event_to_stored(bench.maker, name, port, bench.sizes.followed, 50.0)
        bench.record((P50, ours(name)), times[len(times) // 2] * 1000)
        bench.record((P99, ours(name)), times[int(len(times) * 0.99)] * 1000)

    return run


def minute(name: str) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        with ingest.opened(bench.maker, name, "here") as opened:
            rate = ingest.measure(opened, "create", bench.sizes.events).rate
            figures = long_runs.sustained(opened, bench.sizes.sustained_s, rate)
        bench.record((SUSTAINED, ours(name)), figures.rate)
        bench.record((BACKLOG, f"{ours(name)}, first 20 s"), figures.backlog_early)
        bench.record((BACKLOG, f"{ours(name)}, last 20 s"), figures.backlog_late)

    return run


def waiting(name: str) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        figures = long_runs.start_with_jobs(bench.maker, name, bench.sizes.jobs)
        bench.record((START, ours(name)), figures.ready_s)
        bench.record((START_MB, ours(name)), figures.memory_mb)

    return run


def many(bench: Bench) -> None:
    with ingest.opened(bench.maker, POSTGRES, "here") as opened:
        half, end = long_runs.memory_after(opened, bench.sizes.many)
    bench.record((MEMORY, "feedzone, after 500,000 events"), half)
    bench.record((MEMORY, "feedzone, after 1,000,000 events"), end)


def goal_of_door(middle: Medians) -> float:
    create = INGEST["create"]
    return max(middle[create, "fastify + pg"], 10 * middle[create, "FastAPI + Celery"])


def lines() -> list[Line]:
    """Return the lines of the table, in order."""
    order: tuple[str, ...] = (POSTGRES, SQLITE)
    full = Goal("fastify + pg, and 10 times Celery", goal_of_door)
    half = Goal("half of that", lambda m: goal_of_door(m) / 2)
    result = []
    for kind in KINDS:
        for where, goal in (("elsewhere", full), ("here", half)):
            result += [Line(INGEST[kind], ours(name, where), goal, more_is_better=True) for name in order]
        result += [Line(INGEST[kind], each.name) for each in doors.PEERS if kind == "create"]
    result += [Line(AT_DOOR, ours(name, where)) for name in order for where in ("elsewhere", "here")]
    result += [Line(AT_DOOR, each.name) for each in doors.PEERS]
    result += [Line(REFUSED, ours(name, where)) for name in order for where in ("elsewhere", "here")]
    result += [Line(SUSTAINED, ours(name), half, more_is_better=True) for name in order]
    for name in order:
        early, late = (f"{ours(name)}, {part} 20 s" for part in ("first", "last"))
        result += [Line(BACKLOG, early), Line(BACKLOG, late, at_most("as at first", BACKLOG, early, 1.1))]
    raw = at_most("3 times group commit", BUSY, "raw ASGI, group commit", 3)
    result += [Line(BUSY, ours(name), raw) for name in order] + [Line(BUSY, "raw ASGI, group commit")]
    for name in order:
        commit = f"one bare commit, {NAMES[name]}"
        result += [Line(LONE, ours(name), at_most("1.5 commits", LONE, commit, 1.5)), Line(LONE, commit)]
    return result + lines_of_work(order)


def lines_of_work(order: tuple[str, ...]) -> list[Line]:
    result = []
    for name in order:
        third = at_most("a third of stravalib", CPU, rival(name), 1 / 3)
        result += [
            Line(CPU, ours(name), third),
            Line(CPU, f"{ours(name)}, against the goal in ms", fixed(8 if name == SQLITE else 10)),
            Line(CPU, rival(name)),
        ]
    result += [Line(SERVER, ours(POSTGRES), fixed(4)), Line(SERVER, rival(POSTGRES))]
    for measure, goal in ((RATE, None), (STORED, fixed(35))):
        result += [Line(measure, ours(name), goal) for name in order]
        result += [Line(measure, rival(name)) for name in order]
    result += [Line(NOOP, "feedzone", fixed(6000), more_is_better=True)]
    result += [Line(NOOP, "procrastinate"), Line(NOOP, "pgqueuer"), Line(WORKERS, "feedzone, 1 process")]
    double = at_most("1.8 times one", WORKERS, "feedzone, 1 process", 1.8)
    result += [Line(WORKERS, "feedzone, 2 processes", double, more_is_better=True)]
    for measure, most in ((P50, 200), (P99, 1000), (START, 3), (START_MB, 200)):
        result += [Line(measure, ours(name), fixed(most)) for name in order]
    return result + [
        Line(MEMORY, f"feedzone, after {number} events", fixed(200)) for number in ("500,000", "1,000,000")
    ]


def at_most(words: str, measure: str, program: str, factor: float) -> Goal:
    return Goal(words, lambda middle: middle[measure, program] * factor)


def fixed(value: float) -> Goal:
    return Goal("goal", lambda _: value)


@dataclass(frozen=True)
class Case:
    """A part of a round. `once` runs after all rounds, and not in a quick run."""

    name: str
    run: Callable[[Bench], None]
    once: bool = False


def cases() -> list[Case]:
    """Return all cases, those first that a quick run must not leave out."""
    places: tuple[ingest.Where, ...] = ("elsewhere", "here")
    return [
        *(Case(f"door {name} {where}", door(name, where)) for name in BOTH for where in places),
        *(Case(f"peer {program.name}", peer(program)) for program in doors.PEERS),
        *(Case(f"whole {name}", whole(name)) for name in BOTH),
        Case("noop", noop),
        *(Case(f"busy {name}", busy(name)) for name in BOTH),
        *(Case(f"followed {name}", followed(name)) for name in BOTH),
        Case("workers", workers),
        *(Case(f"minute {name}", minute(name), once=True) for name in BOTH),
        *(Case(f"waiting {name}", waiting(name), once=True) for name in BOTH),
        Case("many", many, once=True),
    ]
