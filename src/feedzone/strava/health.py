"""Tells a failure that one object causes from one that says nothing about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0
"""How long a job waits for an endpoint that does not answer: as long as that has lasted, within these."""

RECOVERY_AFTER = timedelta(seconds=30)
"""An endpoint that failed for longer wakes the waiting jobs when it answers again."""

MOST_SUSPECTS = 1000

ANSWERED_WITHIN = timedelta(minutes=1)
FAILING_CALLS = 3
"""An endpoint works if it has answered within this time, and fewer calls than that have failed since."""

LONGEST_ALONE_S = 3600.0
PATIENCE = timedelta(days=1)
"""The longest pause of a call that somebody else answers while Strava answers others, and the time after
which its object is blamed. Proxies and firewalls may answer only some of the calls, at random."""


@dataclass
class _Failing:
    since: datetime
    calls: set[str] = field(default_factory=set)


class EndpointHealth:
    """Remembers which calls have failed since Strava last answered at their endpoints.

    A failure is blamed on its object only if Strava has answered other calls of that endpoint meanwhile.
    """

    def __init__(self) -> None:
        self._failing: dict[str, _Failing] = {}
        self._suspects: set[str] = set()
        self._alone_since: dict[str, datetime] = {}
        self._answered: dict[str, datetime] = {}
        self._recovered = False

    def note_answer(self, endpoint: str, call: str, now: datetime) -> None:
        self._suspects.discard(call)
        self._alone_since.pop(call, None)
        self._answered[endpoint] = now
        failing = self._failing.pop(endpoint, None)
        if failing is None:
            return
        if len(self._suspects) > MOST_SUSPECTS:
            self._suspects.clear()
        self._suspects |= failing.calls - {call}
        self._recovered |= now - failing.since >= RECOVERY_AFTER

    def note_failure(self, endpoint: str, call: str, now: datetime) -> None:
        failing = self._failing.setdefault(endpoint, _Failing(now))
        if len(failing.calls) < MOST_SUSPECTS:
            failing.calls.add(call)

    def is_suspect(self, endpoint: str, call: str, now: datetime) -> bool:
        """Return whether the call fails although Strava answers others of its endpoint."""
        answered, failing = self._answered.get(endpoint), self._failing.get(endpoint)
        works = answered is not None and now - answered <= ANSWERED_WITHIN
        return call in self._suspects and works and (failing is None or len(failing.calls) < FAILING_CALLS)

    def is_alone(self, call: str) -> bool:
        """Return whether this is the only call that has failed and was not answered since."""
        failing = {name for endpoint in self._failing.values() for name in endpoint.calls}
        return failing == {call}

    def pause_s(self, endpoint: str, now: datetime) -> float:
        """Return the seconds to wait for the endpoint: they grow with the time that it has failed."""
        failing = self._failing.get(endpoint)
        lasted = (now - failing.since).total_seconds() if failing else 0.0
        return min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, lasted))

    def pause_alone_s(self, call: str, now: datetime) -> float | None:
        """Return the seconds to wait for a suspect that somebody else answers; None after PATIENCE."""
        if len(self._alone_since) > MOST_SUSPECTS:
            self._alone_since.clear()
        lasted = now - self._alone_since.setdefault(call, now)
        if lasted >= PATIENCE:
            return None
        return min(LONGEST_ALONE_S, max(FIRST_PAUSE_S, lasted.total_seconds()))

    def take_recovery(self) -> bool:
        """Return whether an endpoint answers again after a longer failure; once for each."""
        recovered, self._recovered = self._recovered, False
        return recovered
