"""What the web room is given by the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from ..ports import Clock
from ..queries.read_models import ReadModels
from ..services.athletes import AthleteService
from ..services.dead_letters import DeadLetterService
from ..services.reconciliation import ReconciliationService
from ..services.subscription import SubscriptionService
from ..telemetry import Metrics


@dataclass(frozen=True)
class WebOptions:
    """Settings that the web room needs. An empty password or key means that none was set."""

    app_url: str
    is_local: bool
    """Whether `app_url` names this very machine."""
    strava_configured: bool
    session_key: bytes = field(repr=False)
    """Signs what is put into browsers."""
    admin_password: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    tiles: str = ""
    """Where maps get their pictures from: a URL with {z}, {x} and {y}. Empty: from nowhere."""
    tiles_by: str = ""
    """Whom the pictures' host wants to be named."""
    retention_days: int | None = None
    """How long events and the audit trail are kept; None: for as long as the athlete is connected."""
    fetch_photos: bool = False

    @property
    def is_https(self) -> bool:
        return self.app_url.startswith("https://")

    @property
    def tile_host(self) -> str:
        """All that pages may load from elsewhere."""
        parts = urlsplit(self.tiles)
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""

    @property
    def connect_url(self) -> str:
        """Straight to Strava: for who connects again, and for programs."""
        return f"{self.app_url}/connect"

    @property
    def join_url(self) -> str:
        """The link to send to someone who is to connect: it says first what that means."""
        return f"{self.app_url}/join"

    @property
    def host(self) -> str:
        """Where this is, as people say it."""
        return urlsplit(self.app_url).hostname or self.app_url


@dataclass(frozen=True)
class WebParts:
    options: WebOptions
    queries: ReadModels
    athletes: AthleteService
    dead_letters: DeadLetterService
    reconciliation: ReconciliationService
    subscription: SubscriptionService
    metrics: Metrics
    clock: Clock


Parts = NamedDependency[SkipValidation[WebParts]]
"""How a handler asks for them: an argument `parts: Parts`."""
