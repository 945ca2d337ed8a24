"""Settings: a one-line error that names the setting, no secret in any output, working defaults."""

from __future__ import annotations

import traceback

import pytest

from feedzone.errors import SettingsError
from feedzone.settings import Settings, load_settings, unknown_settings

SECRETS = {
    "STRAVA_CLIENT_SECRET": "canary-client-secret",
    "STRAVA_VERIFY_TOKEN": "canary-verify-token",
    "WEBHOOK_SECRET": "canary-webhook-secret",
    "WEBHOOK_PATH_SECRET": "canary-path-secret",
    "TOKEN_ENCRYPTION_KEYS": "canary-new-key,canary-old-key",
    "ADMIN_PASSWORD": "canary-password",
    "API_KEY": "canary-api-key",
    "DATABASE_URL": "postgresql://feedzone:canary-database@db/feedzone",
}


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch, tmp_path):
    """Hide the settings of this machine, and work in an empty directory."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("NEXT_PUBLIC_APP_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def load_with(monkeypatch):
    def load(**values: str) -> Settings:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return load


def test_the_defaults_work_without_any_setting(load_with):
    settings = load_with()
    assert (settings.queue_batch_size, settings.queue_poll_interval) == (10, 5000)
    assert (settings.initial_sync_days, settings.max_sync_retries, settings.timeout_s) == (30, 3, 30)
    assert settings.strava_api_base_url == "https://www.strava.com/api/v3"
    assert settings.strava_oauth_base_url == "https://www.strava.com/oauth"
    assert (settings.app_url, settings.is_local) == ("http://127.0.0.1:8000", True)
    assert settings.retention_days is None


def test_rate_limits_are_written_like_stravas_headers(load_with):
    settings = load_with(STRAVA_RATE_LIMIT="400, 4000", STRAVA_READ_RATE_LIMIT="200,2000")
    assert (settings.strava_rate_limit, settings.strava_read_rate_limit) == ((400, 4000), (200, 2000))


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("STRAVA_RATE_LIMIT", "200", "such as 200,2000"),
        ("STRAVA_READ_RATE_LIMIT", "0,1000", "such as 200,2000"),
        ("STRAVA_READ_RATE_LIMIT", "a,b", "such as 200,2000"),
        ("QUEUE_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("QUEUE_BATCH_SIZE", "1001", "less than or equal to 1000"),
        ("QUEUE_BATCH_SIZE", "many", "integer"),
        ("QUEUE_POLL_INTERVAL", "9", "greater than or equal to 10"),
        ("QUEUE_POLL_INTERVAL", "5s", "integer"),
        ("INITIAL_SYNC_DAYS", "-1", "greater than or equal to 1"),
        ("MAX_SYNC_RETRIES", "0", "greater than or equal to 1"),
        ("SYNC_TIMEOUT_MS", "1.5", "integer"),
        ("SYNC_TIMEOUT_MS", "99", "greater than or equal to 100"),
        ("RETENTION_DAYS", "0", "greater than or equal to 1"),
        ("RETENTION_DAYS", "forever", "integer"),
        ("LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("LOG_FORMAT", "xml", "'console' or 'json'"),
        ("WEBHOOK_SIGNATURE", "yes", "'auto', 'off', 'observe' or 'enforce'"),
        ("APP_URL", "feedzone.example.org", "a URL such as"),
        ("APP_URL", "ftp://feedzone.example.org", "a URL such as"),
        ("MAP_TILE_URL", "https://tiles.example.org/", "a URL of one host"),
        ("MAP_TILE_URL", "https://{s}.tiles.example.org/{z}/{x}/{y}.png", "a URL of one host"),
        ("MAP_TILE_URL", "https://tiles.example.org;script-src/{z}/{x}/{y}.png", "a URL of one host"),
        ("MAP_TILE_URL", "//tiles.example.org/{z}/{x}/{y}.png", "a URL of one host"),
        ("APP_URL", "http://", "a URL such as"),
        ("APP_URL", "http://[::1", "a URL such as"),
        ("APP_URL", "http://feedzone.example.org:eighty", "a URL such as"),
        ("APP_URL", "https://feedzone.example.org/?a=b", "a URL such as"),
        ("STRAVA_API_BASE_URL", "www.strava.com", "a URL such as"),
        ("STRAVA_OAUTH_BASE_URL", "oauth", "a URL such as"),
        ("WEBHOOK_PATH_SECRET", "a/b", "one path segment"),
        ("WEBHOOK_PATH_SECRET", "a b", "one path segment"),
        ("WEBHOOK_PATH_SECRET", "a?b", "one path segment"),
        ("WEBHOOK_PATH_SECRET", "a#b", "one path segment"),
        ("WEBHOOK_PATH_SECRET", "a%2Fb", "one path segment"),
        ("WEBHOOK_PATH_SECRET", "..", "one path segment"),
        ("WEBHOOK_SIGNATURE", "enforce", "WEBHOOK_SECRET"),
    ],
)
def test_an_invalid_setting_is_one_line_with_its_name_and_the_remedy(load_with, name, value, takes):
    with pytest.raises(SettingsError, match=f"^{name}") as caught:
        load_with(**{name: value})
    assert takes in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_env_file_in_another_encoding_is_one_line_that_names_it(load_with, tmp_path):
    (tmp_path / ".env").write_bytes("API_KEY=café".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"\.env"):
        load_with()


def test_printed_settings_show_no_secret(load_with):
    settings = load_with(**SECRETS)
    assert "canary" not in f"{settings}{settings!r}{settings.model_dump()}"


@pytest.mark.parametrize("broken", [{"QUEUE_BATCH_SIZE": "0"}, {"WEBHOOK_PATH_SECRET": "canary/path"}])
def test_an_error_shows_no_secret(load_with, broken):
    with pytest.raises(SettingsError) as caught:
        load_with(**(SECRETS | broken))
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_all_secrets_are_redacted(load_with):
    secrets = load_with(**SECRETS).secrets()
    assert {text for text in secrets if "canary" in text} == {
        "canary-client-secret",
        "canary-verify-token",
        "canary-webhook-secret",
        "canary-path-secret",
        "canary-new-key",
        "canary-old-key",
        "canary-password",
        "canary-api-key",
        "canary-database",
    }
    assert secrets == sorted(secrets, key=len, reverse=True)


def test_a_derived_verify_token_is_a_secret_too(load_with):
    settings = load_with(STRAVA_CLIENT_SECRET="canary-client-secret")
    assert settings.verify_token in settings.secrets()


def test_the_verify_token_is_derived_and_stable(load_with):
    derived = load_with(STRAVA_CLIENT_SECRET="one").verify_token
    assert load_with(STRAVA_CLIENT_SECRET="one").verify_token == derived
    assert load_with(STRAVA_CLIENT_SECRET="two").verify_token != derived
    assert "two" not in derived
    assert load_with(STRAVA_VERIFY_TOKEN="chosen").verify_token == "chosen"


def test_the_session_key_differs_from_all_other_values(load_with):
    settings = load_with(STRAVA_CLIENT_SECRET="one")
    assert settings.session_key.decode() not in (settings.verify_token, "one")


@pytest.mark.parametrize(
    ("mode", "secret", "effective"),
    [
        ("auto", "", "observe"),
        ("auto", "key", "enforce"),
        ("observe", "key", "observe"),
        ("off", "key", "off"),
        ("enforce", "key", "enforce"),
    ],
)
def test_auto_enforces_signatures_once_there_is_a_key(load_with, mode, secret, effective):
    assert load_with(WEBHOOK_SIGNATURE=mode, WEBHOOK_SECRET=secret).signature_mode == effective


def test_both_candidate_signature_keys_have_names(load_with):
    assert load_with().signature_keys == []
    assert load_with(WEBHOOK_SECRET="a", STRAVA_CLIENT_SECRET="b").signature_keys == [
        ("WEBHOOK_SECRET", "a"),
        ("STRAVA_CLIENT_SECRET", "b"),
    ]


@pytest.mark.parametrize(
    ("secret", "path"),
    [("", "/api/webhooks/strava"), ("x7_-Z0123456789a", "/api/webhooks/strava/x7_-Z0123456789a")],
)
def test_the_webhook_path_ends_in_its_secret(load_with, secret, path):
    settings = load_with(WEBHOOK_PATH_SECRET=secret, APP_URL="https://feedzone.example.org/")
    assert settings.webhook_path == path
    assert settings.callback_url == f"https://feedzone.example.org{path}"


def test_a_public_installation_always_has_a_secret_webhook_path(load_with):
    settings = load_with(STRAVA_CLIENT_SECRET="canary-client-secret", APP_URL="https://feedzone.example.org")
    secret = settings.webhook_path.removeprefix("/api/webhooks/strava/")
    assert len(secret) == 32
    assert secret in settings.secrets()
    assert load_with(ADMIN_PASSWORD="another-password-").webhook_path == settings.webhook_path
    assert load_with(STRAVA_CLIENT_SECRET="another").webhook_path != settings.webhook_path
    assert load_with(APP_URL="http://localhost:8000").webhook_path == "/api/webhooks/strava"


@pytest.mark.parametrize("name", ["ADMIN_PASSWORD", "API_KEY", "WEBHOOK_PATH_SECRET", "STRAVA_VERIFY_TOKEN"])
def test_a_public_installation_refuses_short_secrets(load_with, name):
    load_with(**{name: "fifteen-letters"})
    with pytest.raises(
        SettingsError, match=f"^{name} has 15 characters, but APP_URL is public: use at least 16"
    ):
        load_with(APP_URL="https://feedzone.example.org")
    load_with(**{name: "sixteen-letters_"})


@pytest.mark.parametrize("value", ["*", "proxy.example.org", "10.0.0.0/40", "10.0.0.1 10.0.0.2"])
def test_trusted_proxies_are_addresses_and_networks(load_with, value):
    assert load_with().trusted_proxies == ("127.0.0.1", "::1")
    assert load_with(TRUSTED_PROXIES="10.0.0.5, 172.16.0.0/12").trusted_proxies == (
        "10.0.0.5",
        "172.16.0.0/12",
    )
    with pytest.raises(SettingsError, match=r"^TRUSTED_PROXIES: set it to IP addresses"):
        load_with(TRUSTED_PROXIES=value)


def test_the_database_is_a_file_in_feedzone_home_unless_set(load_with):
    assert load_with().database == "sqlite:///.feedzone/feedzone.db"
    assert load_with(FEEDZONE_HOME="/srv/fz").database == "sqlite:////srv/fz/feedzone.db"
    assert load_with(DATABASE_URL="postgresql://db/x").database == "postgresql://db/x"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000", True),
        ("http://[::1]:8000", True),
        ("https://feedzone.example.org", False),
        ("http://localhost.example.org", False),
    ],
)
def test_only_addresses_of_this_machine_are_local(load_with, url, local):
    assert load_with(APP_URL=url).is_local is local


def test_an_env_file_in_the_working_directory_is_read_and_the_environment_wins(load_with, tmp_path):
    (tmp_path / ".env").write_text(
        "QUEUE_BATCH_SIZE=7\nAPI_KEY='canary'\nSOMETHING_ELSE=1\nLOG_LEVEL=debug\n"
    )
    settings = load_with()
    assert (settings.queue_batch_size, settings.log_level) == (7, "DEBUG")
    assert settings.api_key.get_secret_value() == "canary"
    assert load_with(QUEUE_BATCH_SIZE="8").queue_batch_size == 8


def test_an_error_in_the_env_file_names_the_setting(load_with, tmp_path):
    (tmp_path / ".env").write_text("SYNC_TIMEOUT_MS=soon\n")
    with pytest.raises(SettingsError, match=r"^SYNC_TIMEOUT_MS: "):
        load_with()


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_an_empty_value_means_the_default(load_with, name, tmp_path):
    default = load_with()
    assert load_with(**{name: ""}) == default
    (tmp_path / ".env").write_text(f"{name}=\n")
    assert load_with() == default


def test_settings_are_frozen(load_with):
    with pytest.raises(ValueError, match="frozen"):
        load_with().queue_batch_size = 1


@pytest.mark.parametrize(
    ("values", "missing"),
    [({}, "STRAVA_CLIENT_ID"), ({"STRAVA_CLIENT_ID": "17"}, "STRAVA_CLIENT_SECRET")],
)
def test_a_missing_strava_application_is_named_by_its_setting(load_with, values, missing):
    with pytest.raises(SettingsError, match=f"^{missing} is not set"):
        load_with(**values).require_strava()
    load_with(STRAVA_CLIENT_ID="17", STRAVA_CLIENT_SECRET="s").require_strava()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RETENTION_DAY", "RETENTION_DAYS"),
        ("STRAVA_CLIENTID", "STRAVA_CLIENT_ID"),
        ("retention_dais", "RETENTION_DAYS"),
        ("ADMIN_PASWORD", "ADMIN_PASSWORD"),
        ("APP_URLS", "APP_URL"),
    ],
)
@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_misspelt_setting_is_reported_with_the_nearest_one(monkeypatch, tmp_path, place, name, nearest):
    """Swallowed, a misspelt RETENTION_DAYS would keep everything for good."""
    if place == "file":
        (tmp_path / ".env").write_text(f"{name}=canary\nLOG_LEVEL=INFO\n")
    else:
        monkeypatch.setenv(name, "canary")
    assert unknown_settings() == [f"{name.upper()} is set, but unknown: did you mean {nearest}?"]


def test_a_name_of_ours_that_resembles_no_setting_is_reported_from_the_file(tmp_path):
    (tmp_path / ".env").write_text("STRAVA_MOOD=good\nPOSTGRES_USER=x\n")
    assert unknown_settings() == ["STRAVA_MOOD is set, but unknown: feedzone has no such setting"]


def test_the_names_of_other_programs_and_our_own_are_no_mistakes(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("".join(f"{name.upper()}=\n" for name in Settings.model_fields))
    for name in ("HOME", "PATH", "DATABASE", "LOGLEVEL_X", "NEXT_PUBLIC_APP_URL", "STRAVA_THING"):
        monkeypatch.setenv(name, "x")
    assert unknown_settings() == []


@pytest.mark.parametrize("place", ["file", "environment"])
def test_next_public_app_url_is_accepted_for_app_url(monkeypatch, tmp_path, load_with, place):
    if place == "file":
        (tmp_path / ".env").write_text("NEXT_PUBLIC_APP_URL=https://a.example.org/\n")
    else:
        monkeypatch.setenv("NEXT_PUBLIC_APP_URL", "https://a.example.org/")
    assert load_with().app_url == "https://a.example.org"
    assert load_with(APP_URL="https://b.example.org").app_url == "https://b.example.org"
    assert Settings(app_url="https://c.example.org").app_url == "https://c.example.org"


def test_app_url_goes_before_the_other_name_in_the_same_file(tmp_path, load_with):
    (tmp_path / ".env").write_text("NEXT_PUBLIC_APP_URL=https://b.example\nAPP_URL=https://a.example\n")
    assert load_with().app_url == "https://a.example"


def test_a_wrong_value_under_the_other_name_is_an_error_that_names_it(load_with):
    with pytest.raises(SettingsError, match="APP_URL: set it to a URL"):
        load_with(NEXT_PUBLIC_APP_URL="here")


@pytest.mark.parametrize(
    "value", ["12345", " 12345 ", "'12345'", '"12345"', "12345\r", ' " 12345 "\r\n', "12345\t"]
)
def test_quotes_blanks_and_line_ends_around_client_id_and_secret_are_removed(load_with, value):
    settings = load_with(
        STRAVA_CLIENT_ID=value,
        STRAVA_CLIENT_SECRET=value.replace("12345", "0a1b2c"),
        ADMIN_PASSWORD="pass word\r",
    )
    assert settings.strava_client_id == "12345"
    assert settings.strava_client_secret.get_secret_value() == "0a1b2c"
    assert settings.admin_password.get_secret_value() == "pass word"


@pytest.mark.parametrize("value", ["my-app", "12 345", "12345,6", "٣٤", "1e5", "-1", "0x1f", "1" * 21])
def test_a_client_id_that_is_no_number_is_refused_in_one_line(load_with, value):
    with pytest.raises(SettingsError, match="STRAVA_CLIENT_ID: set it to the number") as problem:
        load_with(STRAVA_CLIENT_ID=value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "name", ["QUEUE_BATCH_SIZE", "LOG_LEVEL", "APP_URL", "STRAVA_RATE_LIMIT", "FETCH_PHOTOS"]
)
def test_windows_line_ends_in_a_file_of_settings_do_no_harm(load_with, name):
    values = {
        "QUEUE_BATCH_SIZE": "7", "LOG_LEVEL": "DEBUG", "APP_URL": "https://a.example.org",
        "STRAVA_RATE_LIMIT": "400,4000", "FETCH_PHOTOS": "true",
    }  # fmt: skip
    clean = load_with(**{name: values[name]})
    assert load_with(**{name: f"{values[name]}\r"}) == clean
