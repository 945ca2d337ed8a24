"""Run feedzone as users do: as a separate process that tests can kill or stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

FEEDZONE = str(Path(sys.executable).parent / "feedzone")
API_KEY = "test-api-key-0123456789"


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
        self._log = home / f"{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [FEEDZONE, *arguments], env=env, cwd=home, stderr=log, stdout=subprocess.PIPE
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_ready(self, url: str, within_s: float = 30) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"feedzone ended with {self.process.returncode}:\n{self.log}")
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=2) as response:
                    if response.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(f"feedzone was not ready within {within_s} s:\n{self.log}")

    def kill(self) -> None:
        """Kill the process as the kernel does, with no time to shut down."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    async def stop(self, within_s: float = 20) -> int:
        """Stop the process as an operator does.

        The wait runs in a thread: the process may still wait for a sandbox in this event loop.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, within_s)


def command(
    home: Path, env: dict[str, str], *arguments: str, within_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command and wait until it ends."""
    command_line = [FEEDZONE, *arguments]
    return subprocess.run(
        command_line, env=env, cwd=home, capture_output=True, text=True, timeout=within_s, check=False
    )
