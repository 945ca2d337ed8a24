"""One table has all facts about each job kind, and the rest of the code agrees with it."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import get_args

import pytest
from fakes import ATHLETE, NOON, FakeApi, FakeRecords, job

from feedzone.domain.job import (
    BackfillHint,
    Hint,
    PlainHint,
    ReconcileHint,
    RefreshHint,
    RevokeHint,
    calls_of,
)
from feedzone.domain.job_kinds import ACTIVITY_KINDS, KINDS, JobKind, enabled_kinds, job_key
from feedzone.domain.outcome import Done
from feedzone.domain.photos import StoredPhotos
from feedzone.errors import PermanentError, StravaError, TransientError
from feedzone.handlers.registry import handlers
from feedzone.settings import Settings
from feedzone.store import stream_codec
from feedzone.web.rendering.activity_timeline import FETCHES

HINTS: dict[str, Hint] = {
    "refresh_activity": RefreshHint(cause="request"),
    "revoke_athlete": RevokeHint("confirm"),
    "backfill_athlete": BackfillHint(before=int(NOON.timestamp())),
    "reconcile_athlete": ReconcileHint(days=30),
}


class Failing(FakeApi):
    """Strava that fails at every call."""

    def __init__(self, error: StravaError) -> None:
        super().__init__()
        self._error = error

    def _answer(self, name, *arguments):
        raise self._error


def registry(api: FakeApi):
    records = FakeRecords(photos=StoredPhotos("pending", NOON, stored=False))
    return handlers(
        api, records, _Clock(), random.Random(1), encode_streams=stream_codec.encoded,
        notice=timedelta(days=7),
        unseal=lambda sealed, athlete_id: sealed, max_attempts=3, enabled=frozenset(KINDS),
    )  # fmt: skip


class _Clock:
    def now(self):
        return NOON

    async def sleep(self, seconds): ...


def test_every_kind_is_in_the_table_and_has_a_handler():
    assert set(get_args(JobKind)) == set(KINDS) == set(registry(FakeApi()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("error", "attempts"), [(PermanentError(400), 0), (TransientError(503), 2)])
async def test_a_kind_that_is_optional_never_becomes_a_dead_letter_and_every_other_does(
    kind, error, attempts
):
    hint = HINTS.get(kind, PlainHint())
    run = job(kind, hint, key=job_key(kind, ATHLETE), attempts=attempts)
    outcome = await registry(Failing(error))[kind](run)
    if KINDS[kind].optional:
        assert isinstance(outcome, Done)
    else:
        assert not isinstance(outcome, Done)


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_costs_the_calls_of_the_table_or_of_its_hint(kind):
    assert calls_of(kind, PlainHint()) == KINDS[kind].calls >= 1


@pytest.mark.parametrize("kind", ACTIVITY_KINDS)
def test_the_page_of_an_activity_has_words_for_every_call_about_one(kind):
    assert len(KINDS[kind].endpoints) == KINDS[kind].calls
    assert set(KINDS[kind].endpoints) <= set(FETCHES)


def test_every_setting_that_switches_jobs_on_belongs_to_a_kind_and_athletes_read_what_it_collects():
    switches = {name for name in Settings.model_fields if name.startswith("fetch_")}
    optional = [info for info in KINDS.values() if info.setting is not None]
    assert {info.setting for info in optional} == switches
    assert all(info.collects for info in optional)


def test_jobs_run_unless_their_setting_is_off():
    settings = Settings(_env_file=None, fetch_photos=False)
    assert enabled_kinds(settings) == {kind for kind, info in KINDS.items() if info.setting is None}
    assert "refresh_photos" in enabled_kinds(Settings(_env_file=None, fetch_photos=True))


def test_kinds_of_jobs_about_activities_have_keys_of_their_own():
    """The job of an activity must never have to wait for the job of its photos."""
    prefixes = [info.key_prefix for info in KINDS.values() if info.subject == "activity"]
    assert len(set(prefixes)) == len(prefixes)
    assert not {info.key_prefix for info in KINDS.values() if info.subject == "athlete"} & set(prefixes)
