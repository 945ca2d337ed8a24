"""Whether to fetch a new activity, or its streams, at once or a little later.

An event can precede its object (docs/strava-api.md#webhook-events): Strava may answer 404 for seconds, and
have no streams for a minute. Fetching at once is right where that is rare, as it was among 5,712 recorded
events. Where it is the rule, each upload would waste a call that a backfill could use.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta

ENOUGH = 8
"""After this number of early requests in a row, the next ones are delayed."""

TRY_EVERY = 32
"""One in this number of requests is still sent at once, because Strava may have become faster.
The first early request that succeeds ends the delays."""

SHOWN_AFTER = timedelta(seconds=4)
"""The delay after the event, where new activities are usually not shown at once. It still stores the
activity within five seconds."""

STREAMED_WITHIN = timedelta(seconds=30)
"""A request for streams within this time of the event counts as early; the delayed one is sent a minute
after the event."""


REMEMBERED = 1000
"""The most objects whose early requests failed and that may still turn out to exist."""


class AvailabilityTracker:
    """The recent experience of one process with one kind of early request.

    A request that was sent later says nothing about early ones, so it is not recorded. An early request that
    failed counts once its object turns out to exist: forged events name objects that do not.
    """

    def __init__(self) -> None:
        self._too_early = 0
        self._waited = 0
        self._missed: OrderedDict[int, None] = OrderedDict()

    @property
    def usual(self) -> bool:
        """Whether early requests mostly succeed."""
        return self._too_early < ENOUGH

    def ask_at_once(self) -> bool:
        """Return whether to send the next request at once."""
        if self.usual:
            return True
        self._waited = (self._waited + 1) % TRY_EVERY
        return self._waited == 0

    def missed(self, object_id: int) -> None:
        """Remember an early request without a result: the object may not exist."""
        self._missed[object_id] = None
        while len(self._missed) > REMEMBERED:
            self._missed.popitem(last=False)

    def shown(self, object_id: int, *, early: bool) -> None:
        """Record that an object exists, after a request that was `early` or came later."""
        if object_id in self._missed:
            del self._missed[object_id]
            self.note(ready=False)
        elif early:
            self.note(ready=True)

    def note(self, *, ready: bool) -> None:
        """Record the result of an early request: `ready` when Strava had the object."""
        self._too_early = 0 if ready else self._too_early + 1
