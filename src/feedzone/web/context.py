"""Settings and parts that the composition root passes to web/."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import PathParameter, SkipValidation

from ..domain.job_kinds import KINDS, JobKind
from ..ports import Clock
from ..queries.read_models import ReadModels
from ..services.athletes import AthleteService
from ..services.dead_letters import DeadLetterService
from ..services.readiness import ReadinessService
from ..services.reconciliation import ReconciliationService
from ..services.sessions import SessionService
from ..services.subscription import SubscriptionService
from ..telemetry import Metrics


@dataclass(frozen=True)
class WebOptions:
    """Settings that web/ needs. An empty password or key means that none is set."""

    app_url: str
    is_local: bool
    """Whether `app_url` names this machine."""
    strava_configured: bool
    session_key: bytes = field(repr=False)
    """Signs cookies and links."""
    admin_password: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    tiles: str = ""
    """The URL of map tiles, with {z}, {x} and {y}. Empty: no map background."""
    tiles_by: str = ""
    """The attribution that the tile host requires."""
    retention_days: int | None = None
    """Days that the audit trail is kept; None: until the athlete disconnects."""
    event_days: int | None = None
    """Days that events are kept at most; None: until the athlete disconnects."""
    enabled_kinds: frozenset[JobKind] = frozenset()
    """The kinds of jobs that the settings switch on."""

    @property
    def collects(self) -> list[str]:
        """What feedzone stores here beyond the usual, in sentences for athletes."""
        return [info.collects for kind, info in KINDS.items() if info.collects and kind in self.enabled_kinds]

    @property
    def is_https(self) -> bool:
        return self.app_url.startswith("https://")

    @property
    def base_path(self) -> str:
        """The path of `app_url`; empty at the root of a host."""
        return urlsplit(self.app_url).path.rstrip("/")

    @property
    def tile_host(self) -> str:
        """The only other host that pages may load from."""
        parts = urlsplit(self.tiles)
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""

    @property
    def connect_url(self) -> str:
        """The link that leads straight to Strava: for reconnecting athletes, and for programs."""
        return f"{self.app_url}/connect"

    @property
    def join_url(self) -> str:
        """The link to send to new athletes: the page explains first what connecting means."""
        return f"{self.app_url}/join"

    @property
    def host(self) -> str:
        """The host name of this installation."""
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
    sessions: SessionService
    readiness: ReadinessService


Parts = NamedDependency[SkipValidation[WebParts]]
"""A handler gets the parts by an argument `parts: Parts`."""

HttpRequest = Request[Any, Any, Any]
LARGEST_ID = 2**63 - 1
AthleteId = Annotated[int, PathParameter(ge=0, le=LARGEST_ID, description="the athlete's id at Strava")]
ActivityId = Annotated[int, PathParameter(ge=0, le=LARGEST_ID, description="the activity's id at Strava")]
