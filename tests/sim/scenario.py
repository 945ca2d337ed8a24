"""The scenarios: the size of a world, what its athletes do, and the rate of each fault."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from feedzone.sandbox import Faults, Limits

READS = ("read", "activity:read", "activity:read_all", "profile:read_all")
PUBLIC = ("read", "activity:read")
NOTHING = ("read",)


@dataclass(frozen=True)
class Scenario:
    """Rates are probabilities per request, event or transaction, or numbers per hour or day of world time."""

    name: str = "calm"
    days: float = 2.0
    athletes: int = 3
    processes: int = 1
    settle_hours: float = 30.0

    history_days: int = 10
    sync_days: int = 20
    acts_a_day: float = 8.0
    deletions: int = 5
    """The weight of deletions among an athlete's actions; the others weigh 97 in all."""
    departures_a_day: float = 0.1
    removals_in_refresh: float = 0.0
    """The probability that the operator disconnects an athlete during a token refresh."""
    simultaneous_refreshes: bool = False
    """Whether several processes get work for an athlete whenever the token must be refreshed."""
    batch: int = 10
    """The number of jobs that a process runs at a time (QUEUE_BATCH_SIZE)."""
    bursts: float = 0.35
    """The probability that more edits of the same activity follow a change within seconds."""
    together: float = 0.1
    """The probability that edits of several activities happen at the same time."""
    scopes: tuple[int, int, int] = (5, 3, 1)
    """The weights of granting all, only public activities, or none. (The first athlete grants all.)"""
    stream_delay_s: float = 40.0
    photo_delay_s: float = 200.0
    fetch_photos: bool = True
    visible_delay_s: float = 3.0
    limits: Limits = field(default_factory=lambda: Limits(2000, 20_000, 1000, 10_000))

    event_drop: float = 0.0
    event_duplicate: float = 0.0
    event_delay: float = 0.0
    event_delay_s: float = 900.0
    event_reorder_s: float = 2.0
    forgeries_a_day: float = 0.0
    flood: int = 0
    """The number of forged events about one athlete a day: half of them at once, the others one by one."""
    flood_kinds: tuple[str, ...] = ("create",)
    """The kinds of these events; each is as likely as the others."""
    answer_lost: float = 0.0

    api_errors: float = 0.0
    token_faults: bool = True
    refreshes_lost: float = 0.0
    stray_404: float = 0.02
    """How often Strava answers 404 about a fresh activity."""
    impostors_a_day: float = 3.0
    """How often somebody else answers instead of Strava for a while, at some calls."""
    impostor_most_s: float = 900.0
    inactive_hours: float = 0.0
    outage_hours: float = 0.0
    """The hours during which every call fails."""
    shrinks_a_day: float = 0.0
    others_calls_an_hour: float = 0.0

    kills_an_hour: float = 0.0
    graceful: float = 0.2
    stalls_a_day: float = 0.0
    database_busy: float = 0.0
    clock_jumps_a_day: float = 0.0
    clock_jump_s: float = 120.0
    allowed_429: int = 0

    def faults(self) -> Faults:
        """Return the sandbox's faults while chaos runs."""
        share = self.api_errors / 10
        return Faults(
            error_500=3 * share,
            html_502=2 * share,
            status_597=share,
            reset_before=share,
            reset_after=share,
            timeout_after=share,
            slow=share,
            slow_s=45.0,
            token_calls_too=self.token_faults,
            event_drop=self.event_drop,
            event_duplicate=self.event_duplicate,
            event_delay=self.event_delay,
            event_delay_s=self.event_delay_s,
            event_reorder_s=self.event_reorder_s,
            stream_delay_s=self.stream_delay_s,
            photo_delay_s=self.photo_delay_s,
            visible_delay_s=self.visible_delay_s,
            stray_404=self.stray_404,
        )

    def calm_faults(self) -> Faults:
        """Return the delays that Strava always has."""
        return Faults(
            stream_delay_s=self.stream_delay_s,
            photo_delay_s=self.photo_delay_s,
            visible_delay_s=self.visible_delay_s,
            event_reorder_s=self.event_reorder_s,
        )


CALM = Scenario()
HOSTILE = Scenario(
    name="hostile",
    processes=2,
    departures_a_day=0.25,
    removals_in_refresh=0.04,
    event_drop=0.1,
    event_duplicate=0.1,
    event_delay=0.2,
    event_reorder_s=20.0,
    forgeries_a_day=8.0,
    answer_lost=0.02,
    api_errors=0.1,
    refreshes_lost=0.02,
    shrinks_a_day=1.0,
    kills_an_hour=1.0,
    stalls_a_day=6.0,
    database_busy=0.04,
    clock_jumps_a_day=1.0,
    allowed_429=10,
)
INACTIVE = replace(CALM, name="inactive", inactive_hours=6.0, event_drop=0.05, kills_an_hour=0.1, processes=2)
OUTAGE = replace(CALM, name="outage", outage_hours=3.0, kills_an_hour=0.1, processes=2)
NARROW = replace(
    CALM, name="narrow", processes=2, limits=Limits(24, 1000, 12, 800), acts_a_day=24.0, together=0.5
)
"""A budget that hardly suffices for a backfill and busy athletes. No other program uses it, so every 429 is
the engine's own fault. Live jobs run into the limit themselves; other jobs are not even leased."""
CROWD = replace(
    CALM,
    name="crowd",
    processes=2,
    acts_a_day=14.0,
    together=0.7,
    bursts=1.0,
    batch=1,
    simultaneous_refreshes=True,
    event_reorder_s=0.1,
    scopes=(0, 1, 0),
)
"""The only difficulty: both processes have work for the same athlete at the same time."""
LOST_EVENTS = replace(
    CALM, name="lost_events", acts_a_day=12.0, deletions=25, event_drop=0.7, scopes=(1, 1, 0)
)
"""Most events are lost, so the engine must ask. (Rechecks miss activities that are deleted after a day.)"""
FAREWELL = replace(
    CALM, name="farewell", processes=2, departures_a_day=0.5, removals_in_refresh=0.3, scopes=(1, 0, 0)
)
"""Athletes disconnect, or the operator disconnects them, at the worst moment."""
SHARED = replace(
    CALM, name="shared", limits=Limits(40, 9000, 15, 9000), others_calls_an_hour=54.0, allowed_429=60
)
"""Another program uses the budget, too: only a 429 can show that it is used up."""
SHAKY = replace(CALM, name="shaky", processes=2, database_busy=0.15, api_errors=0.2)
"""No process is killed, but the database and Strava often fail."""
FORGED = replace(
    CALM,
    name="forged",
    days=1.0,
    departures_a_day=0.0,
    limits=Limits(200, 2000, 100, 1000),
    history_days=5,
    scopes=(1, 0, 0),
    flood=1000,
    flood_kinds=("create", "create", "create", "create", "update", "delete", "deauthorization"),
)
"""Somebody who knows the webhook's address invents events of one athlete, at Strava's default limits."""
LOST_REFRESH = replace(CALM, name="lost_refresh", refreshes_lost=0.5, kills_an_hour=0.3, processes=2)
IMPOSTOR = replace(
    CALM,
    name="impostor",
    processes=2,
    acts_a_day=16.0,
    stray_404=0.1,
    impostors_a_day=40.0,
    impostor_most_s=3 * 3600.0,
    kills_an_hour=0.1,
)
"""Answers that are not Strava's, for minutes to hours, at any call."""

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        CALM,
        HOSTILE,
        INACTIVE,
        OUTAGE,
        NARROW,
        CROWD,
        LOST_EVENTS,
        FAREWELL,
        SHARED,
        SHAKY,
        LOST_REFRESH,
        FORGED,
        IMPOSTOR,
    )
}


SMALL_DAYS = {"narrow": 0.25, "crowd": 0.75, "lost_events": 0.5}
"""Busy athletes need less time. Two processes that must work at the same time need more."""


def small(name: str) -> Scenario:
    """Return the scenario for half a day and two athletes, and a day to settle."""
    days = SMALL_DAYS.get(name, 0.4)
    history = 5 if name == "crowd" else 3
    scenario = replace(SCENARIOS[name], days=days, athletes=2, settle_hours=26.0, history_days=history)
    return replace(scenario, flood=int(scenario.flood * days))
