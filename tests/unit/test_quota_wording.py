"""How the command line words a forecast."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from fakes import NOON

from feedzone.cli.budget import day_and_time, to_go
from feedzone.queries.quota import SyncOutlook

NIGHT = datetime.fromisoformat("2026-11-04T00:20:00+00:00")


@pytest.mark.parametrize(
    ("sync", "words"),
    [
        ((38, 214, 352, NIGHT), "38 of 214 activities, 352 requests queued, done tomorrow 00:20 UTC"),
        ((38, 214, 1, NOON), "38 of 214 activities, 1 request queued, done 12:00 UTC"),
        ((0, 0, 2, None), "0 of 0 activities, 2 requests queued, end not known yet"),
        ((214, 214, 0, None), "214 of 214 activities"),
    ],
)
def test_the_progress_of_a_sync_is_one_sentence(sync, words):
    assert to_go(SyncOutlook(*sync), NOON) == words


def test_days_after_tomorrow_have_a_date():
    assert day_and_time(NOON + timedelta(days=2), NOON) == "2026-11-05 12:00 UTC"


def test_the_time_is_utc_wherever_the_value_comes_from():
    berlin = datetime.fromisoformat("2026-11-04T01:20:00+01:00")
    assert day_and_time(berlin, NOON) == "tomorrow 00:20 UTC"
