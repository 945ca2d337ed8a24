"""feedzone inside another Python program: an ASGI application, a worker and reads.

See docs/embedding.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from .app import App, build, prepare_database, stop_signals, working
from .errors import FeedzoneError, InvalidInput, reason_of
from .queries.activities import ActivityDetail, ActivityFilter, ActivityPage
from .queries.athletes import Athlete, AthletePage
from .settings import Settings

# Arrow takes 0.1 s and 40 MB to import: only a program that reads streams pays for it.
if TYPE_CHECKING:
    import pyarrow as pa

    from .web.server import FrontDoor

log = structlog.get_logger("feedzone.embed")

MAX_PAGE = 200
"""The most items on one page, as in the HTTP API."""


class NotRunning(FeedzoneError):
    """feedzone has not been started: enter `async with engine:` or the application's lifespan first."""


class Engine:
    """Reads activities, streams and athletes, and requests syncs.

    An async context manager: it opens the database, and creates the schema of an empty one. It runs no
    jobs itself: `create_app` and `run_worker` do.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: App | None = None

    async def __aenter__(self) -> Engine:
        if self._app is not None:
            raise FeedzoneError("this engine is already running: make another one")
        # In a thread: it is synchronous, and the program's event loop may be busy serving requests.
        await asyncio.to_thread(prepare_database, self._settings)
        self._app = build(self._settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        app, self._app = self._app, None
        if app is not None:
            await app.close()

    @property
    def _parts(self) -> App:
        if self._app is None:
            raise NotRunning
        return self._app

    async def athletes(self, *, limit: int = MAX_PAGE, cursor: str | None = None) -> AthletePage:
        """Return one page of athletes, by id. Pass its `next_cursor` to get the next page."""
        return await self._parts.queries.athletes.page(limit=_checked(limit), cursor=cursor)

    async def athlete(self, athlete_id: int) -> Athlete:
        """Return one athlete with the state of their sync. Raises errors.NotFound."""
        return await self._parts.queries.athletes.get(athlete_id)

    async def activities(
        self,
        *,
        athlete_id: int | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        sport_type: str | None = None,
        visibility: str | None = None,
        updated_since: datetime | None = None,
        ids: Iterable[int] | None = None,
        limit: int = MAX_PAGE,
        cursor: str | None = None,
    ) -> ActivityPage:
        """Return one page of activities, latest start first, without those deleted at Strava.

        `after` (inclusive) and `before` (exclusive) limit the start. Pass `next_cursor` for the next page.
        `updated_since` selects by the last change of the stored activity.
        """
        chosen = None if ids is None else tuple(ids)
        selection = ActivityFilter(athlete_id, after, before, sport_type, visibility, updated_since, chosen)
        return await self._parts.queries.activities.page(selection, limit=_checked(limit), cursor=cursor)

    async def activity(self, activity_id: int) -> ActivityDetail:
        """Return one activity with its JSON as received. Raises errors.NotFound, also if it was deleted."""
        return await self._parts.queries.activities.get(activity_id)

    async def streams(self, activity_id: int) -> dict[str, pa.Array[Any]]:
        """Return the streams as Arrow arrays by channel, in Strava's units; gaps are nulls.

        `latlng` is an array of pairs. Raises errors.NotFound, whose message says whether the streams are
        still pending or do not exist.
        """
        streams = await self._parts.queries.activities.streams(activity_id)
        # A long ride takes tens of milliseconds: not on the event loop.
        return await asyncio.to_thread(_arrays, streams)

    async def sync(self, athlete_id: int, *, days: int | None = None, everything: bool = False) -> None:
        """Queue a backfill of INITIAL_SYNC_DAYS, of `days`, or of the complete history; then return.

        A worker runs it, in this process or in another one. Raises errors.NotFound.
        """
        await self._parts.athletes.sync(athlete_id, days=days, everything=everything)


class Application:
    """The ASGI application with webhook, pages and API; make it with `create_app`.

    A server that runs it directly starts and stops it by the lifespan protocol. A framework that mounts it
    does not pass that on: use `lifespan` there.
    """

    def __init__(self, settings: Settings, *, worker: bool) -> None:
        self.engine = Engine(settings)
        """Reads the same database, while the application runs."""
        self._worker = worker
        self._door: FrontDoor | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, _host: object = None) -> AsyncIterator[None]:
        """Run feedzone within. It takes and ignores the host application, as Starlette passes it."""
        # Here, because a program that only reads or works need not load a web framework.
        from .serve import front_door
        from .web.app import end_streams

        async with self.engine:
            parts = self.engine._parts
            door = front_door(parts)
            await parts.inbox.start()
            work = working(parts) if self._worker else contextlib.nullcontext()
            async with door.site.lifespan(), work:
                self._door = door
                try:
                    yield
                finally:
                    self._door = None
                    end_streams(door.site)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
        elif self._door is None:
            raise NotRunning
        else:
            await self._door(scope, receive, send)

    async def _serve_lifespan(self, receive: Any, send: Any) -> None:
        phase = "startup"
        await receive()
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as problem:
            # Sent rather than raised: a server may take an exception for "has no lifespan", and go on.
            log.error("application_failed", phase=phase, exc_info=not isinstance(problem, FeedzoneError))
            await send({"type": f"lifespan.{phase}.failed", "message": reason_of(problem)})
            return
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: Settings, *, worker: bool = True) -> Application:
    """Return an ASGI application with feedzone's webhook, pages and API.

    It runs jobs as well, unless `worker` is False: then start `run_worker` or `feedzone work` elsewhere.
    """
    return Application(settings, worker=worker)


async def run_worker(settings: Settings) -> None:
    """Run jobs until this is cancelled, or the process receives SIGINT or SIGTERM."""
    async with Engine(settings) as engine:
        with _signalled() as stop:
            async with working(engine._parts):
                await stop.wait()


@contextlib.contextmanager
def _signalled() -> Iterator[asyncio.Event]:
    """Yield an event that signals set. Outside of the main thread nothing sets it."""
    try:
        stop = stop_signals()
    except (RuntimeError, ValueError, NotImplementedError):
        yield asyncio.Event()
        return
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().remove_signal_handler(number)


def _checked(limit: int) -> int:
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"limit must be from 1 to {MAX_PAGE}, not {limit}")
    return limit


def _arrays(streams: Mapping[str, Mapping[str, Any]]) -> dict[str, pa.Array[Any]]:
    return {name: _array(entry.get("data") or []) for name, entry in streams.items()}


def _array(data: list[Any]) -> pa.Array[Any]:
    import pyarrow as pa

    try:
        pairs = any(isinstance(value, list) for value in data)
        array: pa.Array[Any] = pa.array(data, pa.list_(pa.float64(), 2) if pairs else None)
    except (pa.ArrowException, OverflowError):
        # The values have no common type. Strava has never sent such a channel: return each as JSON.
        array = pa.array([msgspec.json.encode(value).decode() for value in data])
    return array
