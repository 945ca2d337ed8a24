"""What happened, as a hash that two runs can be compared by, and as a story that a person can read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from .loop import OWNER


class Trace:
    """Lines of (virtual second, kind, what), hashed as they come; ids and ciphertexts stay out of them."""

    def __init__(self, clock: Callable[[], float], tell: Callable[[str], None] | None = None) -> None:
        self._clock = clock
        self._tell = tell
        self._hash = hashlib.sha256()
        self.counts: Counter[str] = Counter()
        self.crashes: list[str] = []

    def note(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        line = f"{self._clock():.6f} {kind} {what}"
        self._hash.update(line.encode())
        if self._tell is not None:
            self._tell(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def engine_log(self, _logger: Any, method: str, entry: Mapping[str, Any]) -> Any:
        """A structlog processor: how jobs ended belongs to the trace, and a bug must not pass unnoticed."""
        owner = OWNER.get()
        event = entry["event"]
        if event in ("job_finished", "job_lease_lost"):
            what = f"{entry['kind']} {entry['key']} {entry['outcome']} attempt {entry['attempt']}"
            self.note(event, f"{owner} {what}")
        elif entry.get("exc_info") or method == "exception":
            self.crashes.append(self._crash(entry))
        if self._tell is not None:
            facts = ", ".join(f"{k}={v}" for k, v in entry.items() if k not in ("event", "exc_info"))
            self._tell(f"{self._clock():.6f}   log {owner} {event} {facts}")
        raise structlog.DropEvent

    def _crash(self, entry: Mapping[str, Any]) -> str:
        shown = structlog.processors.format_exc_info(None, "", dict(entry))
        return f"{self._clock():.0f} s: {entry['event']} {entry.get('key', '')}\n{shown.get('exception', '')}"


class listening:  # noqa: N801  (reads as a statement)
    """While it lasts, the engine's logs go to the trace and nowhere else."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        self._before = structlog.get_config()
        structlog.configure(
            processors=[self._trace.engine_log],
            wrapper_class=structlog.make_filtering_bound_logger(20),
            cache_logger_on_first_use=False,
        )

    def __exit__(self, *_: object) -> None:
        structlog.configure(**self._before)
