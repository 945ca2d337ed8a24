"""Answers that are not Strava's: proxies, firewalls, login portals, maintenance pages, wrong addresses."""

from __future__ import annotations

import msgspec

from feedzone.ports import Response


def _answer(status: int, body: object, **headers: str) -> Response:
    return Response(status, headers, body if isinstance(body, bytes) else msgspec.json.encode(body))


def _refusal(status: int, message: str, *faults: tuple[str, str, str]) -> Response:
    errors = [dict(zip(("resource", "field", "code"), fault, strict=True)) for fault in faults]
    return _answer(status, {"message": message, "errors": errors})


HTML = b"<!DOCTYPE html><html><title>Attention Required! | Cloudflare</title></html>"
ELSEWHERE = _refusal(404, "Resource Not Found", ("Gear", "", "not found"))
NO_SUCH_PATH = _refusal(404, "Record Not Found", ("resource", "path", "invalid"))
PROBLEM = {"type": "about:blank", "title": "Not Found", "status": 404}

ODD: dict[str, Response] = {
    "100": _answer(100, b""),
    **{
        f"{status} empty": _answer(status, b"", location="https://elsewhere.test")
        for status in (301, 302, 303, 307, 308)
    },
    "200 html": _answer(200, HTML),
    "200 text": _answer(200, b"OK"),
    "200 number": _answer(200, b"7"),
    "200 string": _answer(200, b'"ok"'),
    "200 other json": _answer(200, {"message": "We are down for maintenance"}),
    "200 error body": _answer(200, {"message": "error", "errors": []}),
    "200 list of numbers": _answer(200, [1, 2, 3]),
    "200 list of lists": _answer(200, [[]]),
    "200 not utf-8": _answer(200, b'{"id": "\xff"}'),
    "200 nested": _answer(200, b"[" * 100_000),
    "202": _answer(202, {"status": "queued"}),
    "203 html": _answer(203, HTML),
    "206 empty": _answer(206, b""),
    "226": _answer(226, b"{}"),
    **{f"{status} html": _answer(status, HTML) for status in (400, 401, 402, 403, 404, 405, 410, 418, 451)},
    **{
        f"{status} empty": _answer(status, b"")
        for status in (400, 401, 402, 403, 404, 407, 408, 409, 410, 422)
    },
    "401 json": _answer(401, {"error": "invalid_token"}),
    "401 basic of a proxy": _answer(401, {"message": "Unauthorized", "errors": []}),
    "403 waf json": _answer(403, {"message": "Forbidden"}),
    "403 foreign fault": _refusal(403, "Forbidden", ("Firewall", "ip", "blocked")),
    "404 gear": ELSEWHERE,
    "404 path": NO_SUCH_PATH,
    "404 problem": _answer(404, PROBLEM),
    "404 without errors": _refusal(404, "Resource Not Found"),
    "404 errors without message": _answer(404, {"errors": [{"resource": "Activity", "code": "not found"}]}),
    "404 list": _answer(404, [{"resource": "Activity", "field": "", "code": "not found"}]),
    "404 truncated": _answer(404, b'{"message":"Resource Not Found","errors":[{"resource":"Acti'),
    "404 other code": _refusal(404, "Resource Not Found", ("Activity", "", "moved")),
    "400 gear": _refusal(400, "Bad Request", ("Gear", "id", "invalid")),
    "410 gear": _refusal(410, "Gone", ("Gear", "", "not found")),
    "500": _answer(500, {"message": "error"}),
    "501 html": _answer(501, HTML),
    "511 portal": _answer(511, HTML),
    "521 html": _answer(521, HTML),
    "530 json": _answer(530, {"errors": [{"resource": "Activity", "field": "", "code": "not found"}]}),
    "599": _answer(599, b""),
    "999": _answer(999, b""),
}
