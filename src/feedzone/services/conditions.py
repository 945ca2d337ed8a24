"""Is all well? Each check says what is so, and what mends it.

The health page shows all of them, the overview what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..domain.athlete import SEATS_WARN
from ..domain.wording import count, duration
from ..queries.schemas.core import Pulse
from ..queries.schemas.dashboard import Vitals

BEHIND_S = 60.0
"""Work that has been due for longer means that the worker does not keep up, or that none runs."""

QUIET_IS_BAD = 3
"""Comparisons within a day that found what no event had told of."""

CLOCK_OFF_S = 5.0
"""Windows of the rate limit and leases are reckoned by the clock."""

Level = Literal["good", "warn", "bad", "idle"]
WORST_FIRST: tuple[Level, ...] = ("bad", "warn", "good", "idle")


@dataclass(frozen=True)
class Remedy:
    """What mends it: a link to follow, or a form to send (`post`)."""

    label: str
    href: str = ""
    post: str = ""
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """`text` is complete sentences. `command` is what does the same in a terminal."""

    name: str
    level: Level
    text: str
    remedy: Remedy | None = None
    command: str = ""


SUBSCRIBE = Remedy("Subscribe to events", post="/actions/subscription")


def checks(pulse: Pulse, *, strava_configured: bool) -> list[Check]:
    """What the pulse tells, in the order in which people look for causes."""
    return [
        _work(pulse),
        _application(pulse, strava_configured),
        _subscription(pulse),
        _quiet(pulse),
        _quiet_athletes(pulse),
        _letters(pulse),
        _questions(pulse),
        _people(pulse),
        _seats(pulse),
        _limit(pulse),
    ]


def troubles(found: list[Check]) -> list[Check]:
    """What is wrong, worst first."""
    wrong = [check for check in found if check.level in ("bad", "warn")]
    return sorted(wrong, key=lambda check: WORST_FIRST.index(check.level))


def _work(pulse: Pulse) -> Check:
    waiting = pulse.jobs.get("queued", 0) + pulse.jobs.get("running", 0)
    if pulse.oldest_due_s is not None and pulse.oldest_due_s > BEHIND_S:
        text = f"Work has been waiting for {duration(pulse.oldest_due_s)}: is a worker running?"
        return Check("Queue", "bad", text, Remedy("Look at the queue", "/health#queue"), "feedzone work")
    return Check("Queue", "good", f"{count(waiting, 'job')} waiting or running; none is late.")


def _application(pulse: Pulse, strava_configured: bool) -> Check:
    if not strava_configured:
        text = "STRAVA_CLIENT_ID and STRAVA_CLIENT_SECRET are not set: put them into .env, and restart."
        return Check("Application", "bad", text, Remedy("Open Strava's settings", STRAVA_SETTINGS))
    if pulse.paused_since is not None:
        text = (
            "Strava has switched this application off: its owner needs a paid Strava subscription. "
            "Nothing is lost; feedzone asks every hour whether it is on again."
        )
        return Check("Application", "bad", text, Remedy("Open Strava's settings", STRAVA_SETTINGS))
    if pulse.failing_since is not None:
        since = duration((pulse.now - pulse.failing_since).total_seconds())
        text = (
            f"Strava has been failing at every call for {since}. Nothing is lost; feedzone asks every half "
            "minute, and goes on by itself."
        )
        return Check("Application", "warn", text)
    return Check("Application", "good", "Strava answers this application.")


STRAVA_SETTINGS = "https://www.strava.com/settings/api"


def _subscription(pulse: Pulse) -> Check:
    held = pulse.subscription
    command = "feedzone subscription ensure"
    if held is None:
        text = "Strava sends no events, and is asked every quarter of an hour instead."
        return Check("Subscription", "warn", text, SUBSCRIBE, command)
    if not held.active:
        return Check("Subscription", "bad", "The push subscription is gone.", SUBSCRIBE, command)
    return Check("Subscription", "good", f"Subscription {held.id} delivers to {held.callback_url}.")


def _quiet(pulse: Pulse) -> Check:
    if pulse.polling:
        return Check("Webhook guard", "idle", "Without a subscription there is nothing to guard.")
    if not pulse.quiet_sweeps:
        return Check("Webhook guard", "good", "No activity of the last day came without an event.")
    level: Level = "bad" if pulse.quiet_sweeps >= QUIET_IS_BAD else "warn"
    came = count(pulse.unannounced, "activity", "activities")
    return Check(
        "Webhook guard",
        level,
        f"{came} came without any event, and were found by comparison: deliveries do not reach feedzone.",
        Remedy("Subscribe anew", post="/actions/subscription"),
        "feedzone doctor",
    )


def _quiet_athletes(pulse: Pulse) -> Check:
    name = "Quiet athletes"
    if pulse.polling:
        return Check(name, "idle", "Without a subscription no events are expected of anybody.")
    if not pulse.quiet_athletes:
        return Check(name, "good", "Nobody keeps uploading without events.")
    are = "is" if pulse.quiet_athletes == 1 else "are"
    text = (
        f"{count(pulse.quiet_athletes, 'athlete')} {are} quiet: comparisons keep finding activities that no "
        "event told of. They may connect again with all boxes ticked; if no events come at all, check the "
        "subscription."
    )
    return Check(name, "warn", text, Remedy("See who", "/athletes?quiet=true"), "feedzone doctor")


def _letters(pulse: Pulse) -> Check:
    if not pulse.dead_letters:
        return Check("Failures", "good", "Nothing has failed for good.")
    text = f"{count(pulse.dead_letters, 'job')} failed for good."
    return Check("Failures", "bad", text, Remedy("See what failed", "/failures"))


def _questions(pulse: Pulse) -> Check:
    if not pulse.open_conflicts:
        return Check("Questions", "good", "There is nothing that feedzone did not dare to decide.")
    text = "Strava lists far fewer activities than are held here. Nothing was deleted: you decide."
    return Check("Questions", "bad", text, Remedy("Decide", "/failures#questions"))


def _people(pulse: Pulse) -> Check:
    again, scope = pulse.athletes.get("needs_reauth", 0), pulse.athletes.get("needs_scope", 0)
    if not again and not scope:
        return Check("Tokens", "good", "Every athlete's connection works.")
    said = []
    if again:
        said.append(f"{count(again, 'athlete')} must connect again.")
    if scope:
        said.append(f"{count(scope, 'athlete')} did not let us read activities.")
    return Check("Tokens", "warn", " ".join(said), Remedy("See who", "/health#tokens"))


def _seats(pulse: Pulse) -> Check:
    if pulse.seats is None:
        return Check("Seats", "good", f"{count(pulse.seats_used, 'seat')} taken.")
    text = f"{pulse.seats_used} of {count(pulse.seats, 'seat')} of the Strava application are taken"
    if pulse.seats_used >= SEATS_WARN * pulse.seats:
        text += ": without a free one nobody else can connect."
        return Check("Seats", "warn", text, Remedy("See athletes", "/athletes"))
    return Check("Seats", "good", f"{text}.")


def _limit(pulse: Pulse) -> Check:
    spent = [window for window in pulse.quota if window.latched or window.used >= window.quota]
    if not spent:
        return Check("Rate limit", "good", "There is room for calls to Strava.")
    until = max(window.ends_at for window in spent)
    wait = duration((until - pulse.now).total_seconds())
    return Check("Rate limit", "warn", f"The rate limit is spent: work goes on by itself in {wait}.")


def clock_check(vitals: Vitals) -> Check:
    off = vitals.clock_off_s
    if off is not None and abs(off) > CLOCK_OFF_S:
        text = f"The database's clock is {duration(abs(off))} {'ahead of' if off > 0 else 'behind'} ours."
        return Check("Clock", "bad", text, command="timedatectl set-ntp true")
    return Check(
        "Clock", "good", "The clocks agree." if off is not None else "There is one clock, the machine's."
    )
