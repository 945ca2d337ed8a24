"""The command line: parse, call the app, print."""

from .main import main

__all__ = ["main"]
