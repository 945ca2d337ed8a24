"""The record of a run: a hash to compare two runs, and lines that a person can read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from .loop import OWNER


class Trace:
    """Hash lines of (virtual second, kind, text).

    The lines contain no random ids and no ciphertexts: these differ between two runs of one seed.
    """

    def __init__(self, clock: Callable[[], float], print_line: Callable[[str], None] | None = None) -> None:
        self._clock = clock
        self.print_line = print_line
        self._hash = hashlib.sha256()
        self.counts: Counter[str] = Counter()
        self.crashes: list[str] = []

    def note(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        line = f"{self._clock():.6f} {kind} {text}"
        self._hash.update(line.encode())
        if self.print_line is not None:
            self.print_line(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def engine_log(self, _logger: Any, method: str, entry: Mapping[str, Any]) -> Any:
        """Note how jobs ended, and record every logged bug. (A structlog processor.)"""
        owner = OWNER.get()
        event = entry["event"]
        if event in ("job_finished", "job_lease_lost"):
            text = f"{entry['kind']} {entry['key']} {entry['outcome']} attempt {entry['attempt']}"
            self.note(event, f"{owner} {text}")
        elif entry.get("exc_info") or method == "exception":
            self.crashes.append(self._crash(entry))
        if self.print_line is not None:
            details = ", ".join(f"{k}={v}" for k, v in entry.items() if k not in ("event", "exc_info"))
            self.print_line(f"{self._clock():.6f}   log {owner} {event} {details}")
        raise structlog.DropEvent

    def _crash(self, entry: Mapping[str, Any]) -> str:
        formatted = structlog.processors.format_exc_info(None, "", dict(entry))
        where = f"{self._clock():.0f} s: {entry['event']} {entry.get('key', '')}"
        return f"{where}\n{formatted.get('exception', '')}"


class CapturedLogs:
    """A context in which the engine's logs go to the trace and nowhere else."""

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
