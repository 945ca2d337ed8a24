"""feedzone: the sync engine between Strava and your own database.

`__all__` is the public Python interface (docs/embedding.md); all other modules may change in any release.
The types are in `__init__.pyi`, so that this module imports nothing.
"""

_MODULES = {
    "Engine": "feedzone.embed",
    "Settings": "feedzone.settings",
    "create_app": "feedzone.embed",
    "run_worker": "feedzone.embed",
}

__all__ = ["Engine", "Settings", "__version__", "create_app", "run_worker"]


def __getattr__(name):
    """Import a public name at its first use: `feedzone --help` needs none and should be fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("feedzone")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__():
    return sorted({*globals(), *__all__})
