"""How many calls unproven events may cost: anybody who knows the webhook's address can send them.

A call that an unproven event caused and that found nothing is fruitless. Fruitless calls fill a bucket per
athlete and one for all athletes; both leak. While a bucket is full, unproven events wait.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

SHARE, LEAST, MOST = 0.012, 3, 50
"""Fruitless calls of one athlete at once: a share of the day's quota, within these bounds."""

LEAKS_IN = timedelta(hours=6)
"""The time in which a full bucket of one athlete becomes empty: with SHARE, 4.8 % of a day's quota a day."""

SHARE_OF_ALL = 0.035
"""The same share for all athletes together. Their bucket becomes empty in a day."""

ALL_LEAKS_IN = timedelta(days=1)

FEW = 1 / 3
"""The part of an athlete's bucket that stays usable while the bucket of all athletes is full: an attack on
others must not delay an upload that Strava shows a few seconds late."""

REST = timedelta(days=1)
"""While the bucket of all athletes is full, an athlete beyond FEW waits for at most this time."""

LISTED_AFTER = timedelta(seconds=30)
"""A list shows an activity that was announced so long before: an event can precede its object."""

LOOKS = 2
"""Calls for an announced activity that such a list does not show."""

SPREAD = timedelta(hours=1)
"""Events that wait for the bucket resume at different times, so that few of them see it leak at once."""


class Bucket(msgspec.Struct, frozen=True):
    """How full a bucket was `at` an instant."""

    level: float = 0.0
    at: datetime | None = None

    def level_now(self, now: datetime, size: float, leaks_in: timedelta) -> float:
        if self.at is None:
            return 0.0
        return max(0.0, self.level - size * max(0.0, (now - self.at) / leaks_in))


class FruitlessCalls(msgspec.Struct, frozen=True):
    """What the fruitless calls of an athlete, and of all athletes, allow."""

    day_quota: int
    athlete: Bucket = Bucket()
    everyone: Bucket = Bucket()
    listed_at: datetime | None = None
    """When the athlete's list was last read because of events."""

    def next_call(self, now: datetime, *, for_list: bool = False) -> datetime | None:
        """Return when an unproven event of the athlete may cause the next call. None: now.

        A list answers for many events, so it may be the first call after a wait.
        """
        size = size_of(self.day_quota)
        level = self.athlete.level_now(now, size, LEAKS_IN)
        over = level + (0 if for_list else 1) - size
        if over > 0:
            return now + LEAKS_IN * (over / size)
        all_size = SHARE_OF_ALL * self.day_quota
        all_over = self.everyone.level_now(now, all_size, ALL_LEAKS_IN) + 1 - all_size
        rests_until = now if self.athlete.at is None else self.athlete.at + REST
        if all_over > 0 and self.athlete.level > FEW * size and rests_until > now:
            return min(rests_until, now + ALL_LEAKS_IN * (all_over / max(1.0, all_size)))
        return None

    def is_unlisted(self, announced: datetime) -> bool:
        """Whether a list came after this announcement that would show the activity if it existed."""
        return self.listed_at is not None and self.listed_at >= announced + LISTED_AFTER


def size_of(day_quota: int) -> float:
    """Return the size of an athlete's bucket."""
    return min(MOST, max(LEAST, SHARE * day_quota))


def leaked(bucket: Bucket, calls: int, now: datetime, size: float, leaks_in: timedelta) -> float:
    """Return the level of a bucket after these calls. A negative number takes calls out again."""
    return min(size + 1, max(0.0, bucket.level_now(now, size, leaks_in) + calls))
