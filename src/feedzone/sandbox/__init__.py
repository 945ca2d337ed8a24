"""A faithful fake of Strava: a real server for the demo, and an in-process one for simulations.

It imports nothing from the rest of feedzone, so that a mistake there is not repeated here. It behaves as
docs/strava-api.md describes. Start reading at `world` (state), `app` (HTTP) and `sender` (events).
"""

from .app import create_app
from .autopilot import Autopilot
from .faults import ConnectionDroppedError, Faults
from .impostor import MARK, NAMES, Impostor
from .inprocess import Answer, request
from .limits import UNLIMITED, Limits
from .records import Call, Delivery, Event
from .sender import DeliveryRules, Sender, Wire, signature
from .server import RunningSandbox, SandboxOptions, run, running, serve
from .wire import HttpWire
from .world import Application, Behaviour, NotFoundError, World

__all__ = [
    "MARK",
    "NAMES",
    "UNLIMITED",
    "Answer",
    "Application",
    "Autopilot",
    "Behaviour",
    "Call",
    "ConnectionDroppedError",
    "Delivery",
    "DeliveryRules",
    "Event",
    "Faults",
    "HttpWire",
    "Impostor",
    "Limits",
    "NotFoundError",
    "RunningSandbox",
    "SandboxOptions",
    "Sender",
    "Wire",
    "World",
    "create_app",
    "request",
    "run",
    "running",
    "serve",
    "signature",
]
