"""The one list of health conditions: pages, doctor and readiness probe read it.

To add a condition: add its data to `Pulse` (queries/status.py, store/reads/health.py) and a function here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from ..domain.wording import count, duration
from ..queries.quota import QuotaWindow
from ..queries.status import HealthReport, Pulse

BEHIND_S = 60.0
"""A job that is overdue for longer means that the worker cannot keep up, or that none runs."""

TAKEN_OVER_S = 30.0
"""Without a leader for longer, no worker runs that could take over (store/duty_lease.py)."""

MANY_RECONCILIATIONS = 3
"""Reconciliations within a day that found activities without an event: the webhook fails."""

CLOCK_OFF_S = 5.0
"""Rate limit windows and leases depend on the clock."""

SEATS_WARN_SHARE = 0.8

Level = Literal["good", "warn", "bad", "idle"]
WORST_FIRST: tuple[Level, ...] = ("bad", "warn", "good", "idle")

STRAVA_SETTINGS = "https://www.strava.com/settings/api"


@dataclass(frozen=True)
class Remedy:
    """The fix: a link to follow, or a form to send (`post`)."""

    label: str
    href: str = ""
    post: str = ""
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Condition:
    """`text` is complete sentences. `command` does the same as `remedy` in a terminal."""

    name: str
    level: Level
    text: str
    remedy: Remedy | None = None
    command: str = ""
    stops_all: bool = False
    """Nothing can be synced before this is fixed."""

    @property
    def is_problem(self) -> bool:
        return self.level in ("bad", "warn")


SUBSCRIBE = Remedy("Subscribe to events", post="/actions/subscription")


def conditions(pulse: Pulse, *, strava_configured: bool) -> list[Condition]:
    """Return the conditions that the pulse shows, from the most likely cause on."""
    return [
        _queue(pulse),
        _worker(pulse),
        _deliveries(pulse),
        _application(pulse, strava_configured),
        _subscription(pulse),
        _webhook_guard(pulse),
        _quiet_athletes(pulse),
        _dead_letters(pulse),
        _events(pulse),
        _conflicts(pulse),
        _tokens(pulse),
        _keys(pulse),
        _departures(pulse),
        _seats(pulse),
        _rate_limit(pulse),
    ]


def report_conditions(report: HealthReport, *, strava_configured: bool) -> list[Condition]:
    """Return those of the pulse, and those that only the health page examines."""
    database = Condition("Database", "good", f"{report.database} answers.")
    return [*conditions(report.pulse, strava_configured=strava_configured), database, _clock(report)]


def problems(conditions: Iterable[Condition]) -> list[Condition]:
    """Return the problems, worst first."""
    return sorted(
        (each for each in conditions if each.is_problem), key=lambda each: WORST_FIRST.index(each.level)
    )


def is_behind(pulse: Pulse) -> bool:
    return pulse.oldest_due_s is not None and pulse.oldest_due_s > BEHIND_S


def spent_windows(windows: Iterable[QuotaWindow]) -> list[QuotaWindow]:
    return [window for window in windows if window.latched or window.used >= window.quota]


def _queue(pulse: Pulse) -> Condition:
    if pulse.oldest_due_s is not None and is_behind(pulse):
        text = f"Work has been waiting for {duration(pulse.oldest_due_s)}: is a worker running?"
        return Condition("Queue", "bad", text, Remedy("Look at the queue", "/health#queue"), "feedzone work")
    jobs = pulse.jobs.get("queued", 0) + pulse.jobs.get("running", 0)
    return Condition("Queue", "good", f"{count(jobs, 'job')} waiting or running; none is late.")


def _worker(pulse: Pulse) -> Condition:
    if pulse.leader is not None:
        host, _, rest = pulse.leader.partition(":")
        process = f"Process {rest.partition(':')[0]} on {host}"
        text = f"{process} runs schedules and pruning; another worker takes over if it ends."
        return Condition("Worker", "good", text)
    if pulse.leaderless_since is None:
        text = "No worker has run yet: nothing is fetched, and no athlete is compared with Strava."
        return Condition("Worker", "warn", text, command="feedzone work")
    alone_s = (pulse.now - pulse.leaderless_since).total_seconds()
    if alone_s <= TAKEN_OVER_S:
        return Condition("Worker", "idle", "The process that ran schedules and pruning ended just now.")
    text = f"No worker has run for {duration(alone_s)}: nothing is fetched or compared with Strava."
    return Condition("Worker", "bad", text, command="feedzone work")


def _deliveries(pulse: Pulse) -> Condition:
    name, refused = "Deliveries", pulse.refusals
    if refused is not None:
        since = duration((pulse.now - refused.since).total_seconds())
        text = (
            f"Deliveries have been refused for {since}: {count(refused.events, 'event')} of "
            f"{count(refused.athletes, 'athlete')}. They are kept, and stored once the database takes them."
        )
        return Condition(name, "warn", text)
    if pulse.lost_since is not None:
        since = duration((pulse.now - pulse.lost_since).total_seconds())
        text = (
            f"Some deliveries were refused {since} ago and lost. "
            f"{count(pulse.lost_deliveries, 'athlete')} must still be compared with Strava, soon."
        )
        return Condition(name, "warn", text)
    return Condition(name, "good", "Every delivery was stored.")


def _own_losses(pulse: Pulse) -> bool:
    """Return whether feedzone itself refused events, so that missing ones say nothing about Strava."""
    return pulse.refusals is not None or pulse.lost_since is not None


def _application(pulse: Pulse, strava_configured: bool) -> Condition:
    settings = Remedy("Open Strava's settings", STRAVA_SETTINGS)
    if not strava_configured:
        text = "STRAVA_CLIENT_ID and STRAVA_CLIENT_SECRET are not set: put them into .env, and restart."
        return Condition("Application", "bad", text, settings, stops_all=True)
    if pulse.paused_since is not None:
        text = (
            "Strava has switched this application off: its owner needs a paid Strava subscription. "
            "Nothing is lost; feedzone checks every hour whether it is on again."
        )
        return Condition("Application", "bad", text, settings, stops_all=True)
    if pulse.failing_since is not None:
        since = duration((pulse.now - pulse.failing_since).total_seconds())
        text = (
            f"All requests to Strava have failed for {since}. Nothing is lost; feedzone tries every 30 s, "
            "and continues once Strava responds."
        )
        return Condition("Application", "warn", text)
    return Condition("Application", "good", "Strava accepts requests of this application.")


def _subscription(pulse: Pulse) -> Condition:
    name, command, subscription = "Subscription", "feedzone subscription ensure", pulse.subscription
    if subscription is None:
        text = "No push subscription: feedzone polls Strava every 15 min instead."
        return Condition(name, "warn", text, SUBSCRIBE, command)
    if not subscription.active:
        return Condition(name, "bad", "The push subscription is gone.", SUBSCRIBE, command)
    return Condition(name, "good", f"Subscription {subscription.id} delivers to {subscription.callback_url}.")


def _webhook_guard(pulse: Pulse) -> Condition:
    name = "Webhook guard"
    if pulse.polling:
        return Condition(name, "idle", "Not checked without a subscription.")
    if _own_losses(pulse):
        return Condition(name, "idle", "Not checked until the refused deliveries are made good.")
    if not pulse.quiet_sweeps:
        return Condition(name, "good", "Every activity of the last 24 hours was announced by an event.")
    level: Level = "bad" if pulse.quiet_sweeps >= MANY_RECONCILIATIONS else "warn"
    missed = count(pulse.unannounced, "activity", "activities")
    text = f"Reconciliation found {missed} without an event: deliveries do not reach feedzone."
    remedy = Remedy("Subscribe again", post="/actions/subscription")
    return Condition(name, level, text, remedy, "feedzone subscription ensure")


def _quiet_athletes(pulse: Pulse) -> Condition:
    name = "Quiet athletes"
    if pulse.polling:
        return Condition(name, "idle", "Not checked without a subscription.")
    if _own_losses(pulse):
        return Condition(name, "idle", "Not checked until the refused deliveries are made good.")
    if not pulse.quiet_athletes:
        return Condition(name, "good", "Events arrive for every athlete who uploads.")
    are = "is" if pulse.quiet_athletes == 1 else "are"
    text = (
        f"{count(pulse.quiet_athletes, 'athlete')} {are} quiet: reconciliation keeps finding activities "
        "without an event. They may connect again with all boxes ticked; if no events come at all, check the "
        "subscription."
    )
    remedy = Remedy("See athletes", "/athletes?quiet=true")
    return Condition(name, "warn", text, remedy, "feedzone athletes list")


def _dead_letters(pulse: Pulse) -> Condition:
    name, letters = "Dead letters", pulse.dead_letters
    if not letters:
        return Condition(name, "good", "No jobs have failed permanently.")
    text = f"{count(letters, 'job')} {'needs' if letters == 1 else 'need'} attention."
    remedy = Remedy("See dead letters", "/failures")
    return Condition(name, "bad", text, remedy, "feedzone events list --failed")


def _events(pulse: Pulse) -> Condition:
    if not pulse.events_set_aside:
        return Condition("Events", "good", "Every event became work, or waits for a moment.")
    text = (
        f"{count(pulse.events_set_aside, 'event')} could not be turned into work. That is a bug: please "
        "report it. Their athletes are compared with Strava instead; every start tries again."
    )
    remedy = Remedy("See failed events", "/events?status=failed")
    return Condition("Events", "bad", text, remedy, "feedzone events retry --all")


def _conflicts(pulse: Pulse) -> Condition:
    if not pulse.open_conflicts:
        return Condition("Conflicts", "good", "No decisions waiting.")
    text = "Strava lists far fewer activities than are stored here. Nothing was deleted: you decide."
    return Condition(
        "Conflicts", "bad", text, Remedy("Decide", "/failures#questions"), "feedzone conflicts list"
    )


def _keys(pulse: Pulse) -> Condition:
    if not pulse.unreadable_athletes:
        return Condition("Keys", "good", "The keys decrypt all stored tokens.")
    text = (
        f"The tokens of {count(pulse.unreadable_athletes, 'athlete')} cannot be decrypted: "
        "their key is missing. Their jobs wait, and go on when feedzone runs with the key again."
    )
    return Condition("Keys", "bad", text, command="feedzone keys forget-lost")


def _tokens(pulse: Pulse) -> Condition:
    reauth, scope = pulse.athletes.get("needs_reauth", 0), pulse.athletes.get("needs_scope", 0)
    sentences = []
    if reauth:
        sentences.append(f"{count(reauth, 'athlete')} must connect again.")
    if scope:
        sentences.append(f"{count(scope, 'athlete')} did not grant access to activities.")
    if not sentences:
        return Condition("Tokens", "good", "Every athlete's connection works.")
    remedy = Remedy("See athletes", "/health#tokens")
    return Condition("Tokens", "warn", " ".join(sentences), remedy, "feedzone athletes list")


def _departures(pulse: Pulse) -> Condition:
    leaving = pulse.athletes.get("leaving", 0)
    if not leaving or pulse.leaves_at is None:
        return Condition("Departures", "good", "No athlete leaves.")
    text = (
        f"{count(leaving, 'athlete')} may have left: Strava refuses their tokens. Their data is deleted "
        f"unless they connect again; the first deadline is {pulse.leaves_at:%Y-%m-%d %H:%M} UTC."
    )
    remedy = Remedy("See athletes", "/health#tokens")
    return Condition("Departures", "warn", text, remedy, "feedzone athletes list")


def _seats(pulse: Pulse) -> Condition:
    if pulse.seats is None:
        return Condition("Seats", "good", f"{count(pulse.seats_used, 'seat')} taken.")
    text = f"{pulse.seats_used} of {count(pulse.seats, 'seat')} of the Strava application are taken"
    if pulse.seats_used >= SEATS_WARN_SHARE * pulse.seats:
        text += ": without a free seat nobody else can connect."
        return Condition("Seats", "warn", text, Remedy("See athletes", "/athletes"))
    return Condition("Seats", "good", f"{text}.")


def _rate_limit(pulse: Pulse) -> Condition:
    spent = spent_windows(pulse.quota)
    if not spent:
        return Condition("Rate limit", "good", "Requests to Strava are available.")
    until = max(window.ends_at for window in spent)
    wait = duration((until - pulse.now).total_seconds())
    return Condition("Rate limit", "warn", f"The rate limit is used up: work continues in {wait}.")


def _clock(report: HealthReport) -> Condition:
    off_s = report.clock_off_s
    if off_s is None:
        return Condition("Clock", "good", "The database uses the clock of this machine.")
    if abs(off_s) > CLOCK_OFF_S:
        text = f"The database's clock is {duration(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} ours."
        return Condition("Clock", "bad", text, command="timedatectl set-ntp true")
    return Condition("Clock", "good", f"The database's clock agrees with ours ({abs(off_s):.1f} s).")
