"""feedzone: the sync engine between Strava and your own database."""

from importlib.metadata import version

__version__ = version("feedzone")
