"""The sandbox's web pages: plain forms to act as any athlete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader

from .athletes import Athlete
from .history import sport_names
from .http import Request, Response, html_response, redirect
from .payloads import iso
from .places import utc_offset_s
from .world import World

ROWS = 6
MEANINGS = {
    "read": "View your public profile",
    "read_all": "View your private routes and segments",
    "profile:read_all": "View your complete profile",
    "profile:write": "Change your profile",
    "activity:read": "View data about your activities",
    "activity:read_all": "View data about your private activities",
    "activity:write": "Upload activities for you",
}
_templates = Environment(loader=PackageLoader("feedzone.sandbox"), autoescape=True, trim_blocks=True)


class Pages:
    """The home page and the actions of its buttons."""

    def __init__(self, world: World) -> None:
        self._world = world

    def home(self) -> Response:
        """Return the home page: all athletes, their latest activities, and buttons to change them."""
        world = self._world
        return html_response(
            _templates.get_template("home.html").render(
                title="Home",
                athletes=[self._athlete_row(athlete) for athlete in world.athletes.values()],
                usage=world.meter.usage(world.clock()),
                limits=world.meter.limits,
                subscription=world.subscription,
                events=world.journal.event_count,
            )
        )

    def click(self, action: str, request: Request) -> Response:
        """Do the action of a button and redirect to the home page.

        Raise ValueError for an unknown action or bad input, NotFoundError for an unknown id.
        """
        form, world = request.form(), self._world
        buttons: dict[str, Callable[[], object]] = {
            "add": lambda: world.add_athlete(history_days=60),
            "record": lambda: world.record(int(form["athlete_id"]), form["sport"], float(form["minutes"])),
            "deauthorize": lambda: world.deauthorize(int(form["athlete_id"])),
            "rename": lambda: world.rename(int(form["activity_id"]), form["name"]),
            "hide": lambda: world.hide(int(form["activity_id"])),
            "unhide": lambda: world.unhide(int(form["activity_id"])),
            "delete": lambda: world.delete(int(form["activity_id"])),
        }
        if action not in buttons:
            raise ValueError(f"there is no button {action!r}")
        buttons[action]()
        return redirect("/", 303)

    def _athlete_row(self, athlete: Athlete) -> dict[str, Any]:
        world = self._world
        specs = world.visible(athlete.id, private_too=True)
        grant = world.grants.live.get(athlete.id)
        usual = [name for name, _ in athlete.mix]
        return {
            "id": athlete.id,
            "name": athlete.full_name,
            "city": athlete.city.name,
            "count": len(specs),
            "scopes": ", ".join(sorted(grant.scopes)) if grant else "",
            "sports": usual + [name for name in sport_names() if name not in usual],
            "rows": [
                {
                    "id": spec.id,
                    "name": spec.name,
                    "sport_type": spec.sport_type,
                    "private": spec.private,
                    "when": iso(spec.start + utc_offset_s(athlete.city, spec.start))[:16].replace("T", " "),
                }
                for spec in reversed(specs[-ROWS:])
            ],
        }


def consent(params: dict[str, str], scopes: list[str], athletes: list[Athlete]) -> Response:
    """Return the consent page, with a choice of athlete and of scopes."""
    template = _templates.get_template("consent.html")
    return html_response(
        template.render(title="Authorize", params=params, scopes=scopes, athletes=athletes, meanings=MEANINGS)
    )


def seats_full() -> Response:
    """Return the page for an athlete when no seat is free (docs/strava-api.md#authorize)."""
    return html_response(_templates.get_template("seats_full.html").render(title="Limit exceeded"), 403)
