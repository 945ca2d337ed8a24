"""Answers that are not Strava's, for a while: proxies, firewalls, portals, wrong hosts.

Two names are Strava's own word: `not_found` is its 404 about the requested activity, `truncated` its answer
that broke off. All others come from somebody in between, so that the request never reaches Strava.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from .http import HTML, Request, Response, error_response, html_response, json_response, not_found

MARK = ("x-sandbox-answer", "foreign")
"""The header by which tests know these answers; Strava sends none."""

_PAGE = "<!DOCTYPE html><html><title>Attention Required!</title><body>Checking your browser</body></html>"
_PORTAL = "<html><head><meta http-equiv=refresh content=0></head><body>Log in to this network</body></html>"


def _redirect(status: int) -> Callable[[Request], Response]:
    return lambda r: Response(status, b"", HTML, [("location", f"https://elsewhere.test{r.path}")])


def _html(status: int, page: str = _PAGE) -> Callable[[Request], Response]:
    return lambda _: html_response(page, status)


def _empty(status: int) -> Callable[[Request], Response]:
    return lambda _: Response(status, b"")


def _json(value: object, status: int) -> Callable[[Request], Response]:
    return lambda _: json_response(value, status)


FOREIGN: dict[str, Callable[[Request], Response]] = {
    **{f"redirect_{status}": _redirect(status) for status in (301, 302, 303, 307, 308)},
    **{f"html_{status}": _html(status) for status in (200, 400, 401, 403, 404, 410, 500, 503, 521)},
    **{f"empty_{status}": _empty(status) for status in (200, 202, 401, 403, 404, 410, 502)},
    "portal": _html(200, _PORTAL),
    "other_404": lambda _: not_found("Club"),
    "path_404": lambda _: error_response(404, "Record Not Found", "resource", "path", "invalid"),
    "other_object": _json({"id": 1, "resource_state": 3, "athlete": {"id": 1}, "name": "Not yours"}, 200),
    "maintenance": _json({"message": "We are down for maintenance"}, 200),
    "wrong_shape": _json([1, "two", None, {}], 200),
    "waf_403": _json({"message": "Forbidden"}, 403),
    "waf_401": _json({"error": "invalid_token"}, 401),
}
OWN = ("not_found", "truncated")
NAMES = (*FOREIGN, *OWN)


@dataclass(frozen=True)
class Impostor:
    """One kind of answer, until `until` (epoch seconds), with probability `rate`.

    Without `endpoints` it answers at all of them, and without `ids` about all activities.
    """

    answer: str
    until: float
    endpoints: frozenset[str] = frozenset()
    ids: frozenset[int] = frozenset()
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.answer not in NAMES:
            raise ValueError(f"no answer is called {self.answer!r}; there are {', '.join(NAMES)}")

    def meets(self, endpoint: str, request: Request, now: float, rng: Random) -> bool:
        if now >= self.until or (self.endpoints and endpoint not in self.endpoints):
            return False
        if self.ids and not any(part.isdecimal() and int(part) in self.ids for part in request.parts):
            return False
        if self.answer == "not_found" and endpoint != "activity":
            return False
        return self.rate >= 1 or rng.random() < self.rate


@dataclass
class Impostors:
    """All that answer now; the newest goes first."""

    active: list[Impostor] = field(default_factory=list)

    def begin(self, impostor: Impostor) -> None:
        self.active.insert(0, impostor)

    def end(self) -> None:
        self.active.clear()

    def met(self, endpoint: str, request: Request, now: float, rng: Random) -> str | None:
        """Return the name of the answer to this request, if not Strava's."""
        self.active = [impostor for impostor in self.active if now < impostor.until]
        return next((i.answer for i in self.active if i.meets(endpoint, request, now, rng)), None)


def foreign(name: str, request: Request) -> Response | None:
    """Return the answer of somebody else, marked; None if Strava itself answers."""
    if name not in FOREIGN:
        return None
    response = FOREIGN[name](request)
    response.headers.append(MARK)
    return response


def distorted(name: str | None, response: Response) -> Response:
    """Return Strava's answer as it arrives: `truncated` loses its second half."""
    if name == "truncated" and len(response.body) > 1:
        response.body = response.body[: len(response.body) // 2]
        response.headers.append(MARK)
    return response
