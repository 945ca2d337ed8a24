"""Send deliveries to a server on 127.0.0.1 from a process of its own, and measure each answer.

It reads a plan as JSON from its input and prints the figures as JSON. Plain sockets and requests that are
built before the clock starts: one process sends more than any server here takes.
"""

from __future__ import annotations

import gc
import json
import re
import select
import socket
import sys
import time
from collections import deque
from typing import Any, Literal, TypedDict

from .processes import module

ATHLETES, ACTIVITIES = 500, 5000
"""Athletes who are connected, and activities that are stored before an update renames them."""

NEW = 10_000_000_000
"""The id of the first new activity."""

ANSWERS_WITHIN_S = 60.0
REFUSED_AT_MOST = 10_000
LENGTH = re.compile(rb"content-length: *(\d+)", re.I)

Kind = Literal["create", "update"]


class Plan(TypedDict):
    """What to send: `events` deliveries from number `first` on; with a rate, at constant intervals."""

    port: int
    kind: Kind
    first: int
    events: int
    connections: int
    rate: float | None
    athletes: int


class Answers(TypedDict):
    """`times_s` are sorted. `sent_at` holds the intended time of each event, only where a rate was given."""

    took_s: float
    times_s: list[float]
    refused: int
    sent_at: list[float]


def send(
    port: int,
    kind: Kind,
    first: int,
    events: int,
    *,
    connections: int = 64,
    rate: float | None = None,
    athletes: int = ATHLETES,
    within_s: float = 600.0,
) -> Answers:
    """Run one plan in a process of its own."""
    plan = Plan(
        port=port,
        kind=kind,
        first=first,
        events=events,
        connections=connections,
        rate=rate,
        athletes=athletes,
    )
    answers: Answers = module("bench.load", plan, within_s)
    return answers


def request(number: int, kind: Kind, athletes: int = ATHLETES) -> bytes:
    """Return one delivery as bytes. Updates rename stored activities; each event differs from all others."""
    activity = NEW + number if kind == "create" else 1 + number % ACTIVITIES
    body = json.dumps(
        {
            "object_type": "activity",
            "object_id": activity,
            "aspect_type": kind,
            "owner_id": 1 + activity % athletes,
            "subscription_id": 1,
            "event_time": 1_700_000_000 + number,
            "updates": {} if kind == "create" else {"title": f"Ride {number}"},
        }
    ).encode()
    head = (
        "POST /api/webhooks/strava HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"User-Agent: stravahooks\r\nAccept: */*\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Line:
    """One connection and the delivery on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWERS_WITHIN_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self._answer, self.since = b"", b"", 0.0

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, data: bytes, since: float) -> None:
        self.data, self._answer, self.since = data, b"", since
        self.socket.sendall(data)

    def receive(self) -> bool | None:
        """Return True for an answer 200, False for any other, None while it is not complete."""
        part = self.socket.recv(65536)
        if not part:
            raise SystemExit(f"the server closed a connection after {self._answer!r}")
        answer = self._answer = self._answer + part
        end = answer.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = LENGTH.search(answer, 0, end)
        if length is None or len(answer) < end + 4 + int(length[1]):
            return None
        return answer.startswith(b"HTTP/1.1 200")

    def send_again(self, refused: int) -> None:
        """Send what was refused again, as Strava does. The time of the first try counts."""
        if refused > REFUSED_AT_MOST:
            raise SystemExit(f"the server refuses too many deliveries: {self._answer!r}")
        self.send(self.data, self.since)


def closed(plan: Plan, requests: list[bytes]) -> Answers:
    """Send on each connection the next event when the previous one is answered."""
    lines = {line.fileno(): line for line in (Line(plan["port"]) for _ in range(plan["connections"]))}
    poll = select.epoll()
    rest, times, refused = iter(requests), list[float](), 0
    began = time.perf_counter()
    for number, line in lines.items():
        if data := next(rest, None):
            line.send(data, time.perf_counter())
            poll.register(number, select.EPOLLIN)
    while len(times) < len(requests):
        ready = poll.poll(ANSWERS_WITHIN_S)
        if not ready:
            raise SystemExit(f"no answer within {ANSWERS_WITHIN_S:.0f} s")
        for number, _ in ready:
            line = lines[number]
            answered = line.receive()
            now = time.perf_counter()
            if answered:
                times.append(now - line.since)
                if data := next(rest, None):
                    line.send(data, now)
            elif answered is False:
                refused += 1
                line.send_again(refused)
    return Answers(took_s=time.perf_counter() - began, times_s=sorted(times), refused=refused, sent_at=[])


def at_rate(plan: Plan, requests: list[bytes]) -> Answers:
    """Send at constant intervals, whether earlier events are answered or not.

    A time counts from the moment at which the event was due, so that a server that stops is charged for
    every event that was due meanwhile.
    """
    rate = plan["rate"] or 1.0
    idle = deque(Line(plan["port"]) for _ in range(plan["connections"]))
    busy: dict[int, Line] = {}
    times, refused, sent = list[float](), 0, 0
    began = time.perf_counter() + 0.05
    wall = time.time() + began - time.perf_counter()
    while len(times) < len(requests):
        now = time.perf_counter()
        while idle and sent < len(requests) and began + sent / rate <= now:
            line = idle.popleft()
            line.send(requests[sent], began + sent / rate)
            busy[line.fileno()] = line
            sent += 1
        due = began + sent / rate - time.perf_counter() if idle and sent < len(requests) else 1.0
        ready, _, _ = select.select(busy, [], [], max(due, 0.0))
        for number in ready:
            line = busy[number]
            answered = line.receive()
            if answered:
                times.append(time.perf_counter() - line.since)
                idle.append(busy.pop(number))
            elif answered is False:
                refused += 1
                line.send_again(refused)
        if time.perf_counter() - began > len(requests) / rate + ANSWERS_WITHIN_S:
            raise SystemExit(f"{len(requests) - len(times)} events have no answer")
    sent_at = [wall + number / rate for number in range(len(requests))]
    return Answers(
        took_s=time.perf_counter() - began, times_s=sorted(times), refused=refused, sent_at=sent_at
    )


def main() -> None:
    plan: Any = json.load(sys.stdin)
    first, kind, athletes = plan["first"], plan["kind"], plan["athletes"]
    requests = [request(number, kind, athletes) for number in range(first, first + plan["events"])]
    gc.disable()  # a collection in this process, which measures, would count as response time
    json.dump(at_rate(plan, requests) if plan["rate"] else closed(plan, requests), sys.stdout)


if __name__ == "__main__":
    main()
