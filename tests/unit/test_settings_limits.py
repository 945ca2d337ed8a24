"""Defaults and limits of settings, and what signs everybody out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from feedzone.settings import Settings


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strava_rate_limit", "0,2000"),
        ("strava_read_rate_limit", "100,0"),
        ("map_tile_url", "https://tiles.example.org/{z}/{x}.png"),
        ("map_tile_url", "https://tiles.example.org/{x}/{y}.png"),
        ("map_tile_url", "https://tiles.example.org*/{z}/{x}/{y}.png"),
        ("retention_days", 0),
        ("event_retention_days", -1),
        ("failed_event_retention_days", -1),
        ("queue_batch_size", 0),
        ("confirm_deletion_s", -1),
        ("initial_sync_days", 0),
        ("app_url", "https://feedzone.example.org?x=1"),
    ],
)
def test_a_value_beyond_its_limits_is_refused(name, value):
    with pytest.raises(ValidationError):
        settings(**{name: value})


def test_the_defaults_of_safety_margins():
    defaults = settings()
    assert defaults.confirm_deletion_s == 180
    assert defaults.trusted_proxies == ("127.0.0.1", "::1")
    assert (defaults.strava_rate_limit, defaults.strava_read_rate_limit) == ((200, 2000), (100, 1000))
    assert defaults.retention_days is None
    assert defaults.fetch_photos is False


@pytest.mark.parametrize(
    ("finished", "failed", "all_rows", "longest"),
    [(30, 90, None, 90), (30, 90, 60, 60), (0, 90, None, None), (0, 90, 200, 200), (40, 0, 7, 7)],
)
def test_the_consent_page_promises_the_longest_time_that_an_event_stays(finished, failed, all_rows, longest):
    days = {"event_retention_days": finished, "failed_event_retention_days": failed}
    assert settings(**days, retention_days=all_rows).longest_event_days == longest
    assert settings().longest_event_days == 90


def test_a_new_password_or_client_secret_signs_everybody_out_and_changes_the_derived_verify_token():
    first = settings(strava_client_secret="s", admin_password="p" * 16)
    for changed in (
        settings(strava_client_secret="s", admin_password="q" * 16),
        settings(strava_client_secret="t", admin_password="p" * 16),
    ):
        assert changed.session_key != first.session_key
        assert changed.verify_token != first.verify_token


def test_a_new_password_leaves_the_webhook_path_as_registered():
    paths = {
        settings(
            strava_client_secret="s", admin_password=password * 16, app_url="https://feedzone.example.org"
        ).webhook_path
        for password in "pq"
    }
    assert len(paths) == 1
