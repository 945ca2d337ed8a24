"""The API under /api/v3: the data that a bearer may read (docs/strava-api.md#resources)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import payloads, streams
from .athletes import detailed_json, gear_json, summary_json
from .grants import Grant
from .history import ActivitySpec
from .http import Request, Response, bad_request, error_response, json_response, not_found
from .world import NotFoundError, World

MAX_PER_PAGE = 200


class Api:
    """Handles the data calls of a bearer, after quota and authentication were checked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._activity_calls: dict[str, Callable[[Request, ActivitySpec], Response]] = {
            "activity": lambda _, spec: json_response(self._world.detail(spec)),
            "streams": self._streams,
            "laps": self._laps,
            "zones": self._zones,
            "photos": self._photos,
            "comments": lambda *_: json_response([]),
        }

    def handle(self, endpoint: str, request: Request, grant: Grant) -> Response:
        """Return the response to a data call; `endpoint` is a name from `endpoint_of`."""
        if endpoint == "athlete":
            return self._athlete(grant)
        if endpoint == "gear":
            return self._gear(grant, request.parts[-1])
        if not grant.reads_activities:
            return error_response(
                401, "Authorization Error", "AccessToken", "activity:read_permission", "missing"
            )
        if endpoint == "list_activities":
            return self._list(request, grant)
        if endpoint == "upload":
            return self._upload(request.parts[-1], grant)
        spec = self._find_activity(request.parts[3], grant)
        if spec is None:
            return not_found("Activity")
        if endpoint == "activity" and self._strays(spec):
            return not_found("Activity")
        if spec.id in self._world.faults.poison:
            return json_response({"message": "error"}, 500)
        return self._activity_calls[endpoint](request, spec)

    def _athlete(self, grant: Grant) -> Response:
        athlete = self._world.athletes[grant.athlete_id]
        detailed = "profile:read_all" in grant.scopes
        return json_response(detailed_json(athlete) if detailed else summary_json(athlete))

    def _gear(self, grant: Grant, gear_id: str) -> Response:
        for gear in self._world.athletes[grant.athlete_id].gear:
            if gear.id == gear_id and not gear.deleted:
                return json_response(gear_json(gear, 3))
        return not_found("Gear")

    def _list(self, request: Request, grant: Grant) -> Response:
        try:
            before, after = _query_number(request, "before"), _query_number(request, "after")
            page, size = int(request.query.get("page", 1)), int(request.query.get("per_page", 30))
        except ValueError:
            return bad_request("Application", "page")
        if not 1 <= size <= MAX_PER_PAGE:
            return bad_request("Application", "per page", "limit exceeded")
        if page < 1:
            return bad_request("Application", "page")
        specs = self._world.visible(grant.athlete_id, grant.reads_private, before, after)
        # Strava reverses the order when only `after` is sent (docs/strava-api.md#resources).
        if after is None or before is not None:
            specs.reverse()
        return json_response([self._world.summary(spec) for spec in specs[(page - 1) * size : page * size]])

    def _find_activity(self, text: str, grant: Grant) -> ActivitySpec | None:
        try:
            spec = self._world.activity(int(text))
        except (NotFoundError, ValueError):
            return None
        is_own = spec.athlete_id == grant.athlete_id
        is_allowed = grant.reads_private or not spec.private
        is_visible = self._age(spec) >= self._world.faults.visible_delay_s
        return spec if is_own and is_allowed and is_visible else None

    def _streams(self, request: Request, spec: ActivitySpec) -> Response:
        motion, stride = self._world.motion(spec), self._world.stride(spec)
        if motion is None:
            return not_found("Activity")
        by_type = request.query.get("key_by_type", "").lower() == "true"
        # Strava answers an empty set while it processes an upload (docs/strava-api.md#streams).
        since = max(spec.created_at, spec.streams_since)
        if self._world.clock() - since < self._world.faults.stream_delay_s:
            return json_response({} if by_type else [])
        keys = {k.strip() for k in request.query.get("keys", "").split(",")}
        size = streams.sample_count(motion, stride)
        rows: dict[str, dict[str, Any]] = {
            key: {"data": data, "series_type": "distance", "original_size": size, "resolution": "high"}
            for key, data in streams.build(motion, keys, stride).items()
        }
        return json_response(rows if by_type else [{"type": key, **row} for key, row in rows.items()])

    def _laps(self, _: Request, spec: ActivitySpec) -> Response:
        world = self._world
        athlete = world.athletes[spec.athlete_id]
        return json_response(payloads.laps(spec, athlete, world.motion(spec), world.stride(spec)))

    def _zones(self, _: Request, spec: ActivitySpec) -> Response:
        world = self._world
        athlete = world.athletes[spec.athlete_id]
        if not athlete.premium:
            return json_response({"message": "Payment Required", "errors": []}, 402)
        return json_response(payloads.zones(athlete, world.motion(spec), world.totals(spec)))

    def _photos(self, request: Request, spec: ActivitySpec) -> Response:
        world, size = self._world, request.query.get("size", "600")
        ready_since = world.clock() - world.faults.photo_delay_s
        athlete = world.athletes[spec.athlete_id]
        return json_response(
            payloads.photos(spec, athlete, int(size) if size.isdecimal() else 600, ready_since)
        )

    def _upload(self, text: str, grant: Grant) -> Response:
        upload_id = int(text) if text.isdecimal() else 0
        spec = self._world.activities.get(upload_id - payloads.UPLOAD_OFFSET)
        if spec is None or spec.manual or spec.athlete_id != grant.athlete_id:
            return not_found("Upload")
        busy = self._age(spec) < self._world.faults.stream_delay_s
        status = "Your activity is ready."
        if spec.deleted:
            status = "The created activity has been deleted."
        elif busy:
            status = "Your activity is still being processed."
        activity_id = None if busy or spec.deleted else spec.id
        return json_response({
            "id": upload_id, "id_str": text, "external_id": f"garmin_ping_{spec.id % 10**9}",
            "error": None, "status": status, "activity_id": activity_id,
        })  # fmt: skip

    def _strays(self, spec: ActivitySpec) -> bool:
        """Whether Strava answers 404 about a fresh activity that it has shown before, or lists."""
        faults = self._world.faults
        fresh = self._age(spec) < faults.stray_404_s
        return fresh and faults.stray_404 > 0 and self._world.fault_rng.random() < faults.stray_404

    def _age(self, spec: ActivitySpec) -> float:
        return self._world.clock() - spec.created_at


def endpoint_of(method: str, parts: list[str]) -> str | None:
    """Return the name of a data call from its path below /api/v3; None if no such call exists."""
    if method != "GET":
        return None
    match parts:
        case ["athlete"]:
            return "athlete"
        case ["athlete", "activities"]:
            return "list_activities"
        case ["activities", _]:
            return "activity"
        case ["activities", _, "streams" | "laps" | "zones" | "photos" | "comments" as part]:
            return part
        case ["gear", _]:
            return "gear"
        case ["uploads", _]:
            return "upload"
    return None


def template_of(endpoint: str) -> str:
    """Return the path of a data call with a placeholder for its id, for the record of calls."""
    templates = {
        "athlete": "/athlete", "list_activities": "/athlete/activities", "activity": "/activities/{id}",
        "gear": "/gear/{id}", "upload": "/uploads/{id}",
    }  # fmt: skip
    return templates.get(endpoint, f"/activities/{{id}}/{endpoint}")


def _query_number(request: Request, name: str) -> float | None:
    text = request.query.get(name, "")
    return float(text) if text else None
