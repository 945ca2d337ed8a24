"""The sandbox's web pages: plain forms with which a person plays the athletes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader

from .athletes import Athlete
from .history import known_sports
from .http import Request, Response, page, redirect
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
    """The home page and its buttons."""

    def __init__(self, world: World) -> None:
        self._world = world

    def home(self) -> Response:
        """Everybody, their latest activities, and what can be done to them."""
        world = self._world
        return page(
            _templates.get_template("home.html").render(
                title="Home",
                people=[self._person(athlete) for athlete in world.athletes.values()],
                usage=world.meter.usage(world.clock()),
                limits=world.meter.limits,
                subscription=world.subscription,
                events=world.journal.event_count,
            )
        )

    def press(self, action: str, request: Request) -> Response:
        """A button: do it, then show the home page again. ValueError or NotThereError for nonsense."""
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

    def _person(self, athlete: Athlete) -> dict[str, Any]:
        world = self._world
        every = world.visible(athlete.id, private_too=True)
        grant = world.grants.live.get(athlete.id)
        usual = [name for name, _ in athlete.mix]
        return {
            "id": athlete.id,
            "name": athlete.full_name,
            "city": athlete.city.name,
            "count": len(every),
            "scopes": ", ".join(sorted(grant.scopes)) if grant else "",
            "sports": usual + [name for name in known_sports() if name not in usual],
            "rows": [
                {
                    "id": spec.id,
                    "name": spec.name,
                    "sport_type": spec.sport_type,
                    "private": spec.private,
                    "when": iso(spec.start + utc_offset_s(athlete.city, spec.start))[:16].replace("T", " "),
                }
                for spec in reversed(every[-ROWS:])
            ],
        }


def consent(params: dict[str, str], scopes: list[str], people: list[Athlete]) -> Response:
    """The consent page: who you are, and what you allow."""
    template = _templates.get_template("consent.html")
    return page(
        template.render(title="Authorize", params=params, scopes=scopes, people=people, meanings=MEANINGS)
    )


def full() -> Response:
    """What the athlete sees when no seat is left (contract section 2)."""
    return page(_templates.get_template("full.html").render(title="Limit exceeded"), 403)
