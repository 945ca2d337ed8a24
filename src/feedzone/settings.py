"""The settings: read once from the environment and `.env`, checked, frozen, passed on as values.

Names in the environment are the field names in capitals. A time's name ends in its unit.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from .errors import SettingsError


def _base_url(value: object) -> object:
    """Check that it is an http(s) URL, and remove its trailing slash."""
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value.strip())
        fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment:
        raise ValueError("set it to a URL such as https://feedzone.example.org")
    return value.strip().rstrip("/")


def _bare(value: object) -> object:
    """Remove quotes and blanks around a value that Strava's page shows: people copy them along."""
    return value.strip().strip("\"'").strip() if isinstance(value, str) else value


def _client_id(value: object) -> object:
    """Check that it is a number, as on Strava's page; quotes and blanks around it are removed."""
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        return value
    text = str(_bare(value))
    if text and not re.fullmatch(r"[0-9]{1,20}", text):
        raise ValueError("set it to the number that https://www.strava.com/settings/api shows as Client ID")
    return text


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _rate_limit(value: object) -> object:
    """Parse a limit as Strava's headers write it: calls per 15 minutes, calls per day."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError("set it to the calls per 15 minutes and per day, such as 200,2000")
    return tuple(int(part) for part in parts)


def _tile_url(value: object) -> object:
    """Check a URL for map tiles. It names one host, the only one that pages may load pictures from."""
    if not isinstance(value, str) or not value.strip():
        return value
    text = value.strip()
    host = text.partition("://")[2].partition("/")[0]
    fits = text.startswith(("http://", "https://")) and re.fullmatch(r"[A-Za-z0-9.:-]+", host)
    if not fits or not all(part in text for part in ("{z}", "{x}", "{y}")):
        raise ValueError("set it to a URL of one host such as https://tiles.example.org/{z}/{x}/{y}.png")
    return text


def _addresses(value: object) -> object:
    """Check a list of IP addresses and networks, separated by commas."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    try:
        for part in parts:
            ipaddress.ip_network(part)
    except ValueError:
        raise ValueError(
            "set it to IP addresses or networks separated by commas, such as 10.0.0.5,172.16.0.0/12"
        ) from None
    return tuple(parts)


RateLimit = Annotated[tuple[int, int], NoDecode, BeforeValidator(_rate_limit)]
Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_addresses)]
BaseUrl = Annotated[str, BeforeValidator(_base_url)]
SECRET_CHARACTERS = 16
"""The least length of a secret if other machines can reach APP_URL."""

ALMOST = 0.85
"""How similar a name must be to count as a misspelt setting (difflib): one or two wrong letters."""

PREFIXES = ("STRAVA_", "FEEDZONE_", "WEBHOOK_", "SYNC_", "QUEUE_")
"""A name in `.env` that begins so is meant for feedzone."""

SignatureMode = Literal["auto", "off", "observe", "enforce"]


OTHER_NAMES = {"next_public_app_url": "app_url"}
"""Names in other projects' .env files that mean one of our settings. Where both are set, our own name counts;
the environment goes before the file."""


class Settings(BaseSettings):
    """All settings of one installation; `.env.template` explains each to operators."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
    )

    strava_client_id: Annotated[str, BeforeValidator(_client_id)] = ""
    strava_client_secret: Annotated[SecretStr, BeforeValidator(_bare)] = SecretStr("")
    strava_verify_token: SecretStr = SecretStr("")
    strava_seats: int | None = Field(default=None, ge=1)
    strava_rate_limit: RateLimit = (200, 2000)
    strava_read_rate_limit: RateLimit = (100, 1000)
    webhook_secret: SecretStr = SecretStr("")
    webhook_path_secret: SecretStr = SecretStr("")
    webhook_signature: SignatureMode = "auto"
    app_url: BaseUrl = Field(
        default="http://127.0.0.1:8000", validation_alias=AliasChoices("app_url", *OTHER_NAMES)
    )
    webhook_junk_limit: int = Field(default=60, ge=1)
    webhook_unknown_limit: int = Field(default=600, ge=1)
    webhook_athlete_limit: int = Field(default=600, ge=1)
    trusted_proxies: Addresses = ("127.0.0.1", "::1")
    feedzone_home: Path = Path(".feedzone")
    database_url: SecretStr = SecretStr("")
    token_encryption_keys: SecretStr = SecretStr("")
    admin_password: SecretStr = SecretStr("")
    api_key: SecretStr = SecretStr("")
    queue_batch_size: int = Field(default=10, ge=1, le=1000)
    queue_poll_interval: int = Field(default=5000, ge=10, le=3_600_000)
    initial_sync_days: int = Field(default=30, ge=1, le=36_500)
    athlete_calls_per_hour: int = Field(default=30, ge=1, le=100_000)
    fetch_photos: bool = False
    max_sync_retries: int = Field(default=3, ge=1, le=100)
    sync_timeout_ms: int = Field(default=30_000, ge=100, le=600_000)
    confirm_deletion_s: int = Field(default=180, ge=0, le=86_400)
    strava_api_base_url: BaseUrl = "https://www.strava.com/api/v3"
    strava_oauth_base_url: BaseUrl = "https://www.strava.com/oauth"
    leaving_days: int = Field(default=7, ge=1, le=30)
    retention_days: int | None = Field(default=None, ge=1)
    event_retention_days: int = Field(default=30, ge=0)
    failed_event_retention_days: int = Field(default=90, ge=0)
    map_tile_url: Annotated[str, BeforeValidator(_tile_url)] = ""
    map_tile_attribution: str = ""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    log_format: Literal["console", "json"] = "console"

    @model_validator(mode="before")
    @classmethod
    def _without_line_ends(cls, values: Any) -> Any:
        """Remove the carriage returns that a file with Windows line ends leaves at the end of values."""
        if not isinstance(values, dict):
            return values
        return {
            name: value.rstrip("\r\n") if isinstance(value, str) else value for name, value in values.items()
        }

    @property
    def database(self) -> str:
        """DATABASE_URL; without it, a SQLite file in FEEDZONE_HOME."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.feedzone_home / 'feedzone.db'}"

    @property
    def verify_token(self) -> str:
        """STRAVA_VERIFY_TOKEN; without it, a value that can only be derived with the client secret."""
        return self.strava_verify_token.get_secret_value() or self._derived("verify token")

    @property
    def session_key(self) -> bytes:
        """The key that signs this installation's browser cookies."""
        return self._derived("browser cookies").encode()

    def _derived(self, purpose: str) -> str:
        key = self.strava_client_secret.get_secret_value() + self.admin_password.get_secret_value()
        return hmac.new(key.encode(), f"feedzone {purpose}".encode(), hashlib.sha256).hexdigest()

    @property
    def path_secret(self) -> str:
        """WEBHOOK_PATH_SECRET; without it, a public installation derives one from the client secret.

        So all its processes know the same path, and a new ADMIN_PASSWORD does not change it. It is empty on
        an installation that no other machine can reach.
        """
        if secret := self.webhook_path_secret.get_secret_value():
            return secret
        key = self.strava_client_secret.get_secret_value()
        if self.is_local or not key:
            return ""
        return hmac.new(key.encode(), b"feedzone webhook path", hashlib.sha256).hexdigest()[:32]

    @property
    def webhook_path(self) -> str:
        return f"/api/webhooks/strava/{self.path_secret}" if self.path_secret else "/api/webhooks/strava"

    @property
    def callback_url(self) -> str:
        """The URL that Strava delivers events to; `feedzone subscription ensure` registers it."""
        return f"{self.app_url}{self.webhook_path}"

    @property
    def signature_mode(self) -> Literal["off", "observe", "enforce"]:
        """WEBHOOK_SIGNATURE; `auto` enforces once WEBHOOK_SECRET gives the key."""
        if self.webhook_signature == "auto":
            return "enforce" if self.webhook_secret.get_secret_value() else "observe"
        return self.webhook_signature

    @property
    def signature_keys(self) -> list[tuple[str, str]]:
        """The candidate keys, with their names.

        Strava does not document which key it signs with (docs/strava-api.md#webhook-events).
        """
        candidates = [
            ("WEBHOOK_SECRET", self.webhook_secret.get_secret_value()),
            ("STRAVA_CLIENT_SECRET", self.strava_client_secret.get_secret_value()),
        ]
        return [(name, key) for name, key in candidates if key]

    @property
    def timeout_s(self) -> float:
        return self.sync_timeout_ms / 1000

    @property
    def longest_event_days(self) -> int | None:
        """The days after which every finished event is deleted. None: some stay with the activities."""
        most = self.retention_days
        ages = [days or most for days in (self.event_retention_days, self.failed_event_retention_days)]
        longest = None if None in ages else max(days for days in ages if days is not None)
        return longest if most is None or longest is None else min(longest, most)

    @property
    def is_local(self) -> bool:
        """Whether APP_URL names this machine, so that no other machine can reach it."""
        return urlsplit(self.app_url).hostname in ("127.0.0.1", "localhost", "::1")

    def secrets(self) -> list[str]:
        """Return all secret values, for redaction. Short ones are left out: they occur in other text."""
        fields = type(self).model_fields
        values = [getattr(self, name) for name in fields if name not in ("database_url",)]
        texts = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        password = urlsplit(self.database).password
        parts = [
            part.strip()
            for text in (*texts, password or "", self.verify_token, self.path_secret)
            for part in text.split(",")
        ]
        return sorted({part for part in parts if len(part) >= 6}, key=len, reverse=True)

    def require_strava(self) -> None:
        """Raise SettingsError when the Strava application is not configured."""
        for name in ("strava_client_id", "strava_client_secret"):
            value = getattr(self, name)
            if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
                raise SettingsError(
                    f"{name.upper()} is not set: copy it from https://www.strava.com/settings/api into .env"
                )


def load_settings() -> Settings:
    """Read the settings. Raises SettingsError: one line that names the setting and says what to do."""
    try:
        settings = Settings()
    except ValidationError as problem:
        raise SettingsError(_first_problem(problem)) from None
    except UnicodeDecodeError:
        raise SettingsError(".env is not UTF-8 encoded text: save it as UTF-8") from None
    if settings.webhook_signature == "enforce" and not settings.signature_keys:
        raise SettingsError(
            "WEBHOOK_SIGNATURE=enforce needs a key to check signatures with: set WEBHOOK_SECRET"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]*", settings.webhook_path_secret.get_secret_value()):
        raise SettingsError("WEBHOOK_PATH_SECRET: use only letters, digits, - and _ (one path segment)")
    _require_long_secrets(settings)
    return settings


def _require_long_secrets(settings: Settings) -> None:
    """Raise SettingsError if strangers can reach the installation and could guess one of its secrets."""
    if settings.is_local:
        return
    for name in ("admin_password", "api_key", "webhook_path_secret", "strava_verify_token"):
        length = len(getattr(settings, name).get_secret_value())
        if 0 < length < SECRET_CHARACTERS:
            raise SettingsError(
                f"{name.upper()} has {length} characters, but APP_URL is public: use at least "
                f"{SECRET_CHARACTERS} (`feedzone init` generates such secrets)"
            )


def unknown_settings() -> list[str]:
    """Return a warning for each name in `.env` or the environment that is almost the name of a setting.

    Names that resemble none belong to other programs, unless `.env` has them with a prefix of ours.
    """
    known = {name.upper() for name in (*Settings.model_fields, *OTHER_NAMES)}
    in_file = {name.upper() for name in _names_in_file()}
    warnings = []
    for name in sorted(in_file | {name.upper() for name in os.environ}):
        near = _nearest(name, known)
        if name in known or not (near or (name in in_file and name.startswith(PREFIXES))):
            continue
        hint = f"did you mean {near}?" if near else "feedzone has no such setting"
        warnings.append(f"{name} is set, but unknown: {hint}")
    return warnings


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the setting whose name is almost `name`; None if there is none."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=ALMOST)), None)


def _names_in_file() -> list[str]:
    try:
        return list(DotEnvSettingsSource(Settings).env_vars)
    except (OSError, UnicodeDecodeError):
        return []


def _first_problem(problem: ValidationError) -> str:
    error = problem.errors(include_url=False, include_input=False)[0]
    name = str(error["loc"][0]).upper()
    message = error["msg"].removeprefix("Value error, ")
    return f"{name}: {message[0].lower()}{message[1:]}"
