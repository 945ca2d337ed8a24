"""The handler of each kind of job."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta

from ..domain.absence import SECOND_LOOK
from ..domain.job_kinds import JobKind
from ..ports import Clock, Handler, HandlerReads, StravaApi
from .backfill_athlete import BackfillAthlete
from .list_activities import ListActivities
from .reconcile_athlete import ReconcileAthlete
from .refresh_activity import Encode, RefreshActivity
from .refresh_gear import RefreshGear
from .refresh_photos import RefreshPhotos
from .revoke_athlete import RevokeAthlete, Unseal


def handlers(
    api: StravaApi,
    records: HandlerReads,
    clock: Clock,
    rng: random.Random,
    *,
    encode_streams: Encode,
    unseal: Unseal,
    max_attempts: int,
    enabled: frozenset[JobKind],
    notice: timedelta,
    second_look: timedelta = SECOND_LOOK,
) -> Mapping[JobKind, Handler]:
    return {
        "refresh_activity": RefreshActivity(api, records, clock, rng, encode_streams, enabled, second_look),
        "revoke_athlete": RevokeAthlete(api, records, clock, rng, unseal, notice),
        "backfill_athlete": BackfillAthlete(api, clock, rng),
        "reconcile_athlete": ReconcileAthlete(api, records, clock, rng),
        "list_activities": ListActivities(api, records, clock, rng),
        "refresh_gear": RefreshGear(api, clock, rng, max_attempts),
        "refresh_photos": RefreshPhotos(api, records, clock, rng, max_attempts, "refresh_photos" in enabled),
    }
