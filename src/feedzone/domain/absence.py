"""When a 404 means that an activity is gone: after a second one, if no list shows it.

Strava itself sometimes answers 404 for a while about activities that exist.
"""

from __future__ import annotations

from datetime import datetime, timedelta

SECOND_LOOK = timedelta(minutes=3)
"""How long after a first 404 the look comes that decides (CONFIRM_DELETION_S)."""

LOOK_SOON = timedelta(seconds=10)
"""The first look after a 404 that no event announced: most of them pass at once."""

LISTED_MOST = timedelta(hours=1)
"""The longest pause between looks at an activity that a list shows and that answers 404."""

MANY_ATHLETES = 5
"""The number of athletes in a row whose activities are missing that counts as an outage."""

OUTAGE_PAUSE = timedelta(minutes=15)
OUTAGE_MOST = timedelta(hours=6)
"""How long such 404s may last until they are believed all the same: people do delete activities."""

FEW = 3
SHARE = 0.05
"""A person decides about more than FEW missing activities, if they are a larger share of all than this."""

MASS_WITHIN = timedelta(hours=6)
"""Missing activities count together within this time."""


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
        """Whether activities of enough athletes are missing to make Strava the likelier reason."""
        return len(self._athletes) >= MANY_ATHLETES


def next_look(
    missing_since: datetime | None, now: datetime, wait: timedelta, *, outage: bool, claimed: bool
) -> datetime | None:
    """Return when to fetch a missing activity again; None when the list decides.

    With `claimed` an event or a list says, too, that it is gone, so one more look is enough. Otherwise
    looks come sooner, so that an activity that was only missing for seconds is not out of date for minutes.
    """
    since = missing_since or now
    decides, age = since + wait, now - since
    if missing_since is None or now < decides:
        soon = now + max(LOOK_SOON, 3 * age)
        return decides if claimed or outage or decides - soon < soon - now else soon
    if outage and now < since + OUTAGE_MOST:
        return now + OUTAGE_PAUSE
    return None


def next_look_at_listed(missing_since: datetime, now: datetime) -> datetime:
    """Return when to fetch an activity again that a list shows and that answers 404: less and less often."""
    return now + min(LISTED_MOST, max(LOOK_SOON, now - missing_since))


def is_mass_deletion(missing: int, stored: int) -> bool:
    """Return whether enough activities are missing that a person must decide; `stored` counts them all."""
    return missing > FEW and missing > SHARE * stored
