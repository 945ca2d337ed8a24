"""A faithful fake of Strava: a real server to play with, and in-process for simulations.

It imports nothing from the rest of feedzone, so that it can disagree with it. What it knows of Strava is the
contract in the project's documentation; start reading at `world` (state), `app` (HTTP) and `sender` (events).
"""

from .app import create_app
from .faults import ConnectionDroppedError, Faults
from .inprocess import Answer, request
from .life import Life
from .limits import UNLIMITED, Limits
from .records import Call, Delivery, Event
from .sender import DeliveryRules, Sender, Wire, signature
from .server import Running, SandboxOptions, run, running, serve
from .wire import HttpWire
from .world import Application, Behaviour, NotThereError, World

__all__ = [
    "UNLIMITED",
    "Answer",
    "Application",
    "Behaviour",
    "Call",
    "ConnectionDroppedError",
    "Delivery",
    "DeliveryRules",
    "Event",
    "Faults",
    "HttpWire",
    "Life",
    "Limits",
    "NotThereError",
    "Running",
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
