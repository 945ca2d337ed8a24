"""feedzone: the sync engine between Strava and your own database."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name):
        """`__version__`, looked up when it is asked for: that takes longer than to print the help."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version

        return version("feedzone")
