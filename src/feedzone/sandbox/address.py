"""Where the API is: below /api/v3 today, from 2027 on another host without a prefix.

The sandbox has one host. The prefix tells the old address from the new one. OAuth does not
move (docs/strava-api.md#hosts).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .faults import ConnectionDroppedError
from .http import Request
from .impostor import FOREIGN

PREFIX = ["api", "v3"]
NOTHING = "nothing"
"""The old host is gone: the connection breaks."""
_OTHER_ROUTES = ("api", "control", "oauth", "ui")


@dataclass
class ApiAddress:
    """The addresses at which the API answers."""

    moved: bool = False
    """Whether the API answers without the prefix."""
    old_answer: str | None = None
    """What answers below the prefix instead of the API, if anything does."""

    def move(self, moved: bool, old_answer: str | None) -> None:
        """Move the API to its new address, or back. Without `old_answer` the old address works as well."""
        if old_answer is not None and old_answer not in (NOTHING, *FOREIGN):
            raise ValueError(f"no answer is called {old_answer!r}")
        self.moved, self.old_answer = moved, old_answer if moved else None

    def prefixed(self, request: Request) -> Request:
        """Return the request with the segments that it has at the old address."""
        if not self.moved or not request.parts or request.parts[0] in _OTHER_ROUTES:
            return request
        return replace(request, parts=[*PREFIX, *request.parts])

    def answer_at(self, path: str) -> str | None:
        """Return the name of what answers at this path instead of Strava. Raise if nothing does."""
        if self.old_answer is None or not path.startswith("/api/v3/"):
            return None
        if self.old_answer == NOTHING:
            raise ConnectionDroppedError("reset", acted=False)
        return self.old_answer
