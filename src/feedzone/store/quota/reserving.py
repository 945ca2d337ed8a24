"""The decision who may call now, and the statements that count the calls (guarantee 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, update

from ...domain.job import Lane
from ...domain.quota import reserve as lanes
from ...domain.quota.demand import OTHERS, QUARTERS, Demand
from ...domain.quota.reserve import Allowance
from ...domain.quota.windows import Reservation, Window, WindowName
from ..schema.tables import api_budget
from . import breaker, windows

ALONE_S = 5.0
"""How long others wait for the answer to a call that goes alone."""

SILENCE = timedelta(seconds=20)
"""Without a call of ours for this long, other users of the application may have spent the calls left."""

SURPRISE = 200
"""Calls that others may make before the next answer reports them. Where others use the application, our calls
go one by one while fewer are left: then Strava refuses one at most, and none after it."""

OTHERS_FROM = 5
"""From this number of calls a day that are not ours, we assume that others use the application, too. Fewer
may be our own, counted in a window that was just ending."""

_MORE = update(api_budget).values(
    used=api_budget.c.used + bindparam("calls"),
    history=api_budget.c.history + bindparam("for_backfills"),
    updated_at=bindparam("now"),
    alone_until=bindparam("until"),
)
SET_ALONE = update(api_budget).values(alone_until=bindparam("until"))

Answer = Reservation | Allowance | Exception
"""A reservation, or when more calls will be allowed, or an error."""


class Granted(NamedTuple):
    """The answers to a group of requests; None: the request must wait for a call that goes alone."""

    answers: list[Answer | None]
    windows: Mapping[WindowName, Window]
    """The windows, with the reserved calls."""
    until: datetime | None
    """Until when a call goes alone."""

    @property
    def reserved(self) -> list[Reservation]:
        return [answer for answer in self.answers if isinstance(answer, Reservation)]

    @property
    def calls(self) -> int:
        return len(self.reserved)

    @property
    def for_backfills(self) -> int:
        return sum(call.for_backfill for call in self.reserved)

    def has_new(self, rows: Mapping[str, Any]) -> bool:
        """Whether a window has begun since the rows were written."""
        return any(rows[name].starts_at != window.starts_at for name, window in self.windows.items())

    def is_simple(self, rows: Mapping[str, Any]) -> bool:
        """Whether the rows only count more calls, one for each request."""
        return len(self.answers) == self.calls and self.until is None and not self.has_new(rows)


def reserve(
    connection: Connection, requested: Sequence[Lane], demand: Demand, now: datetime, machine_now: datetime
) -> tuple[Granted, Mapping[str, Any]]:
    """Answer the requests and count their calls; return the rows as they were before, too.

    Windows follow Strava's clock (`now`); the breaker and the jobs that wait for it follow our own
    (`machine_now`).
    """
    rows = windows.locked(connection, now)

    def permission() -> breaker.Permission:
        paused = rows["read_15min"].paused_since is not None
        return breaker.ask(connection, machine_now) if paused else breaker.ALLOWED

    granted = decide(rows, requested, demand, now, permission)
    if granted.calls:
        alone = {"until": granted.until}
        if granted.has_new(rows):
            windows.write(connection, granted.windows.values(), now)
            connection.execute(SET_ALONE, alone)
        else:
            counts = {"calls": granted.calls, "for_backfills": granted.for_backfills}
            connection.execute(_MORE, {**counts, "now": now, **alone})
    return granted, rows


def decide(
    rows: Mapping[str, Any],
    requested: Sequence[Lane],
    demand: Demand,
    now: datetime,
    permission: Callable[[], breaker.Permission],
) -> Granted:
    current = windows.of(rows, now)
    shared = current["read_day"].others + demand.expected((OTHERS,), 0, QUARTERS) >= OTHERS_FROM
    until = rows["read_15min"].alone_until
    # The call that goes alone may have read the clock after us. A later instant means a clock set back.
    busy = until is not None and now < until <= now + timedelta(seconds=ALONE_S) + windows.JUST_NOW
    answers: list[Answer | None] = []
    for lane in requested:
        answer = _answer_for(lane, rows, current, demand, now, permission, busy=busy, shared=shared)
        answers.append(answer)
        if isinstance(answer, Reservation):
            current = {name: w.after(1, for_backfill=answer.for_backfill) for name, w in current.items()}
            busy = busy or answer.alone
            until = now + timedelta(seconds=ALONE_S) if answer.alone else until
    return Granted(answers, current, until)


def _answer_for(
    lane: Lane,
    rows: Mapping[str, Any],
    current: Mapping[WindowName, Window],
    demand: Demand,
    now: datetime,
    ask: Callable[[], breaker.Permission],
    *,
    busy: bool,
    shared: bool,
) -> Answer | None:
    every = list(current.values())
    if lanes.min_calls_left(every, demand, now) <= 0 and lanes.calls_left(every, demand, lane, now) <= 0:
        return lanes.allowance(every, demand, lane, now)
    if busy:
        return None
    permission = ask()
    if permission.paused is not None:
        return permission.paused
    return Reservation(
        permission.probe,
        _goes_alone(rows, current, now, shared=shared),
        lane is Lane.BACKFILL,
        tuple({window.starts_at for window in every}),
    )


def _goes_alone(
    rows: Mapping[str, Any], current: Mapping[WindowName, Window], now: datetime, *, shared: bool
) -> bool:
    """Return whether the answer of this call must tell us Strava's count before other calls follow.

    That is so for the first call of a window: the window may not have begun at Strava, or the limit is new.
    Where others use the application, it is so after a silence, and when they could spend the calls left at
    once.
    """
    quarter = rows["read_15min"]
    if quarter.alone_until is not None:
        return True  # the call that went alone was never answered
    if quarter.starts_at != current["read_15min"].starts_at or current["read_15min"].used == 0:
        return True
    if not shared:
        return False
    close = any(window.quota - window.used <= SURPRISE for window in current.values())
    return close or now - quarter.updated_at >= SILENCE
