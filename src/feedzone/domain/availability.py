"""Whether what has just been announced is there when it is asked for at once (pains 20, 21).

An event precedes what it tells of: for seconds Strava may answer 404, and for a minute there may be no
streams. Asking at once is right where that is rare, as it was among 5,712 recorded events; where it is the
rule, each upload would cost a call for nothing, and the call is missed by somebody's history.
"""

from __future__ import annotations

from datetime import timedelta

ENOUGH = 8
"""After so many questions in a row that came too early, the next ones wait."""

TRY_EVERY = 32
"""One in so many is asked at once all the same: it may have changed. The first that is answered ends it."""

SHOWN_AFTER = timedelta(seconds=4)
"""Where a new activity is usually not shown at once, it is asked for so long after its event: it is still
there within five seconds."""

STREAMED_WITHIN = timedelta(seconds=30)
"""Streams that are asked for so soon after the event are asked for at once; else a minute after it."""


class AvailabilityTracker:
    """What one process has seen of one kind of question. What was asked later tells nothing."""

    def __init__(self) -> None:
        self._too_early = 0
        self._waited = 0

    @property
    def usual(self) -> bool:
        """Whether what is asked for at once is mostly there."""
        return self._too_early < ENOUGH

    def ask_at_once(self) -> bool:
        """Whether the next one shall be asked at once."""
        if self.usual:
            return True
        self._waited = (self._waited + 1) % TRY_EVERY
        return self._waited == 0

    def note(self, *, ready: bool) -> None:
        """What was asked for at once was there, or not yet."""
        self._too_early = 0 if ready else self._too_early + 1
