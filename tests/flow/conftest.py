"""The fixtures of the flow tests (see ../flow_fixtures.py)."""

from flow_fixtures import eventually_fixture, install, sandbox

__all__ = ["eventually_fixture", "install", "sandbox"]
