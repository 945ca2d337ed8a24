"""Run feedzone as users do: as a separate process that tests can kill or stop."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FEEDZONE = str(Path(sys.executable).parent / "feedzone")
API_KEY = "test-api-key-0123456789"

# A process that has imported feedzone forks all others: an import takes half a second of computing time.
# What it imports here starts no thread and reads no environment.
LOADED = ("feedzone.cli.main", "feedzone.serve", "feedzone.web.server", "aiohttp", "alembic", "asyncpg")
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(LOADED))


def _main(arguments: tuple[str, ...], env: dict[str, str], home: Path, out: Path, err: Path) -> None:
    """Become a process that a shell would have started."""
    for stream, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(encoding="utf-8")
    os.chdir(home)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["feedzone", *arguments]
    from feedzone.cli import main

    main()


def start(
    home: Path, env: dict[str, str], arguments: tuple[str, ...]
) -> tuple[ForkServerProcess, Path, Path]:
    """Start feedzone; return the process, and the files of its standard output and standard error."""
    out, err = (home / f"{time.monotonic_ns()}.{name}" for name in ("out", "log"))
    process = _forks.Process(target=_main, args=(arguments, env, home, out, err), daemon=True)
    process.start()
    return process, out, err


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, database_url: str, strava_url: str, port: int, **more: str) -> dict[str, str]:
    """Return a complete environment, so that no setting of the machine leaks in."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "FEEDZONE_HOME": str(home / "feedzone"),
        "DATABASE_URL": database_url,
        "STRAVA_CLIENT_ID": "12345",
        "STRAVA_CLIENT_SECRET": "sandbox-secret",
        "STRAVA_API_BASE_URL": f"{strava_url}/api/v3",
        "STRAVA_OAUTH_BASE_URL": f"{strava_url}/oauth",
        "APP_URL": f"http://127.0.0.1:{port}",
        "API_KEY": API_KEY,
        "QUEUE_POLL_INTERVAL": "500",
        "CONFIRM_DELETION_S": "0",
        "LOG_LEVEL": "WARNING",
        # A checkout that is tested without being installed names its source folder here.
        **({"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}),
        **more,
    }


class Feedzone:
    """A feedzone process. `log` is its standard error."""

    def __init__(self, home: Path, env: dict[str, str], *arguments: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._process, _, self._log = start(home, env, arguments)

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def wait_ready(self, url: str, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if not self.is_alive:
                raise AssertionError(f"feedzone ended with {self._process.exitcode}:\n{self.log}")
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=2) as response:
                    if response.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(f"feedzone was not ready within {within_s} s:\n{self.log}")

    def kill(self) -> None:
        """Kill the process as the kernel does, with no time to shut down."""
        self._process.kill()
        self._process.join(10)

    async def stop(self, within_s: float = 20) -> int:
        """Stop the process as an operator does.

        The wait runs in a thread: the process may still wait for a sandbox in this event loop.
        """
        if self.is_alive:
            self._process.terminate()
        return await asyncio.to_thread(_ended, self._process, within_s)


def _ended(process: ForkServerProcess, within_s: float) -> int:
    """Wait for the end of a process; return its exit code."""
    process.join(within_s)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"feedzone did not end within {within_s} s")
    return process.exitcode


def command(
    home: Path, env: dict[str, str], *arguments: str, within_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command and wait until it ends."""
    process, out, err = start(home, env, arguments)
    code = _ended(process, within_s)
    return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())
