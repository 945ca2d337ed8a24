"""The recurring duties of a worker process, and which of them one process does for all.

A leader's duties may run in two processes for a moment, when a paused leader wakes (leadership.py). So each
of their transactions checks that its work is still to be done.

`serve` has one more, with and without a worker: the inbox replays its own spool (ingest/inbox.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from .leadership import Leadership
from .loop import Loop, Pause, Step


class Duty(NamedTuple):
    runs_in: Literal["every process", "the leader"]
    why: str


DUTIES: Mapping[str, Duty] = {
    "leadership": Duty("every process", "all wait to take over"),
    "producer": Duty("every process", "all share the jobs"),
    "dispatcher": Duty("every process", "all share the events, and each is woken by its own deliveries"),
    "rescuer": Duty(
        "every process", "each renews the leases of its own jobs; a dead leader delays no rescue"
    ),
    "recorder": Duty("every process", "each writes down the calls that it has made"),
    "erasure log": Duty("every process", "each has a file beside its own keys"),
    "scheduler": Duty("the leader", "one look at who is due is enough"),
    "pruner": Duty("the leader", "old rows are deleted once"),
    "subscription guard": Duty("the leader", "one question to Strava is enough"),
}


def duty_loop(name: str, step: Step, pause: Pause, leadership: Leadership) -> Loop:
    """Return the loop of a duty. That of a leader waits before each step until this process leads."""
    if DUTIES[name].runs_in == "every process":
        return Loop(name, step, pause)

    async def step_of_leader() -> object:
        await leadership.until_leader()
        return await step()

    return Loop(name, step_of_leader, pause)
