"""When a 404 means that an activity is gone: after a second one, unless many athletes miss some.

Strava itself sometimes answers 404 for a while about activities that exist.
"""

from __future__ import annotations

from datetime import datetime, timedelta

SECOND_LOOK = timedelta(minutes=3)
"""How long after a first 404 the second look comes, which decides (CONFIRM_DELETION_S)."""

MANY_ATHLETES = 5
"""The number of athletes in a row whose activities are missing that counts as an outage."""

OUTAGE_PAUSE = timedelta(minutes=15)
OUTAGE_MOST = timedelta(hours=6)
"""How long such 404s may last until they are believed all the same: people do delete activities."""


class AbsenceTracker:
    """Remembers whose activities were missing since Strava last showed one."""

    def __init__(self) -> None:
        self._athletes: set[int] = set()

    def note_shown(self) -> None:
        self._athletes.clear()

    def note_missing(self, athlete_id: int) -> None:
        if not self.outage:
            self._athletes.add(athlete_id)

    @property
    def outage(self) -> bool:
        """Whether so many athletes' activities are missing that Strava is the likelier reason."""
        return len(self._athletes) >= MANY_ATHLETES


def next_look(
    missing_since: datetime | None, now: datetime, wait: timedelta, *, outage: bool
) -> datetime | None:
    """Return when to fetch a missing activity again; None when it is gone."""
    if missing_since is None:
        return now + wait
    if now < missing_since + wait:
        return missing_since + wait
    if outage and now < missing_since + OUTAGE_MOST:
        return now + OUTAGE_PAUSE
    return None
