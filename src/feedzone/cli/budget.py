"""budget: what spent the rate limit today, when what waits will be done, and what more would cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from . import console
from .console import out

if TYPE_CHECKING:
    from ..app import App
    from ..queries.quota import Budget, QueueOutlook, SyncOutlook, WhatIf, WholeHistory

WINDOWS = {
    "read_15min": "reads, this quarter of an hour",
    "read_day": "reads, today (UTC)",
    "overall_15min": "all calls, this quarter of an hour",
    "overall_day": "all calls, today (UTC)",
}
BAR = 30

More = Annotated[int, typer.Option(min=0, help="How many more athletes would connect.")]
OfEach = Annotated[int, typer.Option(min=0, help="How many activities each of them has in the window.")]


AllOf = Annotated[int | None, typer.Option(help="An athlete of whom all history would be fetched.")]
Years = Annotated[float, typer.Option(min=0.1, max=100, help="How many years that history goes back.")]


def budget(
    what_if_athletes: More = 0,
    what_if_activities: OfEach = 200,
    what_if_all_of: AllOf = None,
    what_if_years: Years = 5,
) -> None:
    """Show Strava's rate limit, what spent it today, and when what waits will be done."""

    async def command(parts: App) -> None:
        quota = parts.queries.quota
        now = await quota.budget()
        _windows(now)
        _spent(now)
        out.print(f"\nWaiting: {_waiting(now.queue, now.now)}.")
        if what_if_athletes:
            _what_if(await quota.what_if(what_if_athletes, what_if_activities), now.now)
        if what_if_all_of is not None:
            _whole(await quota.whole_history(what_if_all_of, what_if_years), now.now)

    console.run(command)


def _windows(now: Budget) -> None:
    held = {window.window: window for window in now.windows}
    table = Table("rate limit", "used", "of", "begins anew", "", box=None)
    for name, about in WINDOWS.items():
        window = held[name]  # type: ignore[index]  # the names are those of WindowName
        closed = "closed by Strava (429)" if window.latched else ""
        again = day_and_time(window.ends_at, now.now)
        table.add_row(about, str(window.used), str(window.quota), again, closed)
    out.print(table)


def _spent(now: Budget) -> None:
    spent = now.spent
    out.print(f"\nCalls today: {spent.calls}")
    if spent.unexplained:
        out.print(
            f"Strava counts {spent.unexplained} more reads than were made from here: "
            "does another program use this application?",
            soft_wrap=True,
        )
    for title, counts in (
        ("lane", list(spent.by_lane.items())),
        ("athlete", [(_name(one.athlete_id), one.calls) for one in spent.by_athlete]),
        ("hour (UTC)", [(f"{one.hour:%H}:00", one.calls) for one in spent.by_hour]),
    ):
        if counts:
            out.print()
            out.print(_bars(title, counts))


def _name(athlete_id: int | None) -> str:
    return "nobody, or left" if athlete_id is None else str(athlete_id)


def _bars(title: str, counts: list[tuple[str, int]]) -> Table:
    table = Table(title, "calls", "", box=None)
    most = max(calls for _, calls in counts)
    for name, calls in counts:
        table.add_row(name, str(calls), "#" * max(1, round(BAR * calls / most)))
    return table


def _waiting(queue: QueueOutlook, now: datetime) -> str:
    if not queue.calls_needed:
        return "nothing"
    return f"{_calls(queue.calls_needed)} to go, {_done(queue.done_at, now)}"


def _what_if(wanted: WhatIf, now: datetime) -> None:
    out.print(
        f"{wanted.athletes} more athletes with {wanted.activities} activities each: "
        f"{_calls(wanted.calls)}, after those {wanted.waiting_before} {_done(wanted.done_at, now)}.",
        soft_wrap=True,
    )


def _whole(wanted: WholeHistory, now: datetime) -> None:
    if not wanted.activities:
        said = f"All {wanted.held} activities of athlete {wanted.athlete_id} are here, or on their way."
    else:
        said = (
            f"All history of athlete {wanted.athlete_id}, {wanted.years:g} years at the pace of what is "
            f"here: {wanted.activities} more activities, {_calls(wanted.calls)}, "
            f"after those {wanted.waiting_before} {_done(wanted.done_at, now)}."
        )
    out.print(said, soft_wrap=True)


def _calls(number: int) -> str:
    return f"{number} call" if number == 1 else f"{number} calls"


def _done(at: datetime | None, now: datetime) -> str:
    return "the quota will never suffice" if at is None else f"done {day_and_time(at, now)}"


def to_go(sync: SyncOutlook, now: datetime) -> str:
    """`38 of 214 activities, 352 calls to go, done tomorrow 00:20 UTC`."""
    done = f"{sync.activities_done} of {sync.activities_total} activities"
    if not sync.calls_needed:
        return done
    when = "no end in sight yet" if sync.done_at is None else _done(sync.done_at, now)
    return f"{done}, {_calls(sync.calls_needed)} to go, {when}"


def day_and_time(at: datetime, now: datetime) -> str:
    """`13:45 UTC` today, `tomorrow 00:20 UTC`, else with the date."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    days = {now.date(): "", now.date() + timedelta(days=1): "tomorrow "}
    return f"{days.get(at.date(), f'{at:%Y-%m-%d} ')}{at:%H:%M} UTC"
