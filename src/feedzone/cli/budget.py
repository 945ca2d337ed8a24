"""budget: today's rate limit usage, when the queue will be empty, and the cost of more athletes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ..domain.wording import count
from . import console

if TYPE_CHECKING:
    from ..app import App
    from ..queries.quota import Budget, QueueOutlook, SyncOutlook, WhatIf, WholeHistory

WINDOWS = {
    "read_15min": "reads, 15 min",
    "read_day": "reads, day (UTC)",
    "overall_15min": "all requests, 15 min",
    "overall_day": "all requests, day (UTC)",
}
BAR = 30

More = Annotated[int, typer.Option(min=0, help="Number of additional athletes.")]
OfEach = Annotated[int, typer.Option(min=0, help="Activities of each, within INITIAL_SYNC_DAYS.")]

AllOf = Annotated[int | None, typer.Option(help="An athlete whose full history would be fetched.")]
Years = Annotated[float, typer.Option(min=0.1, max=100, help="Length of that history in years.")]


def budget(
    what_if_athletes: More = 0,
    what_if_activities: OfEach = 200,
    what_if_all_of: AllOf = None,
    what_if_years: Years = 5,
) -> None:
    """Show today's rate limit usage and when the queue will be empty."""

    async def command(parts: App) -> None:
        quota = parts.queries.quota
        now = await quota.budget()
        _windows(now)
        _spent(now)
        console.say(f"\nQueue: {_queue(now.queue, now.now)}.")
        if what_if_athletes:
            _print_what_if(await quota.what_if(what_if_athletes, what_if_activities), now.now)
        if what_if_all_of is not None:
            _print_full_history(await quota.whole_history(what_if_all_of, what_if_years), now.now)

    console.run(command)


def _windows(now: Budget) -> None:
    by_name = {window.window: window for window in now.windows}
    rows = []
    for name, label in WINDOWS.items():
        window = by_name[name]  # type: ignore[index]  # the names are those of WindowName
        closed = "closed by Strava (429)" if window.latched else ""
        resets = day_and_time(window.ends_at, now.now)
        rows.append((label, str(window.used), str(window.quota), resets, closed))
    console.show_table(("rate limit", "used", "of", "resets", ""), rows)


def _spent(now: Budget) -> None:
    spent = now.spent
    console.say(f"\nRequests today: {spent.calls}")
    if spent.unexplained:
        console.say(
            f"Strava counts {spent.unexplained} more reads than feedzone made: does another program\n"
            "use this application?",
        )
    for title, counts in (
        ("lane", list(spent.by_lane.items())),
        ("athlete", [(_name(row.athlete_id), row.calls) for row in spent.by_athlete]),
        ("hour (UTC)", [(f"{row.hour:%H}:00", row.calls) for row in spent.by_hour]),
    ):
        if counts:
            console.say("")
            _show_bars(title, counts)


def _name(athlete_id: int | None) -> str:
    return "none, or disconnected" if athlete_id is None else str(athlete_id)


def _show_bars(title: str, counts: list[tuple[str, int]]) -> None:
    most = max(calls for _, calls in counts)
    rows = [(name, str(calls), "#" * max(1, round(BAR * calls / most))) for name, calls in counts]
    console.show_table((title, "requests", ""), rows)


def _queue(queue: QueueOutlook, now: datetime) -> str:
    if not queue.calls_needed:
        return "empty"
    return f"{_requests(queue.calls_needed)}, {_done(queue.done_at, now)}"


def _print_what_if(forecast: WhatIf, now: datetime) -> None:
    console.say(f"{forecast.athletes} more athletes with {forecast.activities} activities each:")
    console.say(f"    {_after_queue(forecast, now)}")


def _print_full_history(forecast: WholeHistory, now: datetime) -> None:
    if not forecast.activities:
        console.say(f"All {forecast.held} activities of athlete {forecast.athlete_id} are stored or queued.")
        return
    console.say(
        f"Full history of athlete {forecast.athlete_id}, {forecast.years:g} years: "
        f"about {forecast.activities} more activities,"
    )
    console.say(f"    {_after_queue(forecast, now)}")


def _after_queue(forecast: WhatIf | WholeHistory, now: datetime) -> str:
    requests = _requests(forecast.calls)
    return f"{requests} after the {forecast.waiting_before} in the queue, {_done(forecast.done_at, now)}."


def _requests(number: int) -> str:
    return count(number, "request")


def _done(at: datetime | None, now: datetime) -> str:
    return "does not fit the daily limit" if at is None else f"done {day_and_time(at, now)}"


def to_go(sync: SyncOutlook, now: datetime) -> str:
    """Return `38 of 214 activities, 352 requests queued, done tomorrow 00:20 UTC`."""
    done = f"{sync.activities_done} of {sync.activities_total} activities"
    if not sync.calls_needed:
        return done
    when = "end not known yet" if sync.done_at is None else _done(sync.done_at, now)
    return f"{done}, {_requests(sync.calls_needed)} queued, {when}"


def day_and_time(at: datetime, now: datetime) -> str:
    """Return `13:45 UTC` today, `tomorrow 00:20 UTC`, else with the date."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    days = {now.date(): "", now.date() + timedelta(days=1): "tomorrow "}
    return f"{days.get(at.date(), f'{at:%Y-%m-%d} ')}{at:%H:%M} UTC"
