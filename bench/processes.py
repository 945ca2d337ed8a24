"""Start, watch and stop the processes that a benchmark measures."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
READY_WITHIN_S = 60.0
STOPS_WITHIN_S = 15.0
STOPPED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
"""How a program ends that was told to stop."""

TICKS = os.sysconf("SC_CLK_TCK")

Process = subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """Let Linux end this process when the benchmark dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@contextlib.contextmanager
def running(command: Sequence[str], env: dict[str, str], folder: Path | str) -> Iterator[Process]:
    """Run a program beside the benchmark; stop it at the end, whatever happens."""
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    process = subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)} | env,
        cwd=folder,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C reaches the benchmark alone, which stops the others in order
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - the benchmark starts processes from its only thread
    )
    try:
        yield process
    finally:
        stop(process)
        if process.returncode not in STOPPED:
            log.seek(0)
            print(log.read()[-2000:].decode(errors="replace"), file=sys.stderr)
        log.close()


def stop(process: Process) -> None:
    """End a process: first politely, and after a while by force."""
    process.terminate()
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_s(process: Process) -> float:
    """Return the CPU time of a process so far, in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(process: Process) -> float:
    """Return the memory that a process occupies, in MB."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def wait_ready(port: int, process: Process, path: str = "/readyz") -> None:
    """Wait until a GET is answered 200."""
    end = time.monotonic() + READY_WITHIN_S
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"a program ended with status {process.returncode}: {process.args!r}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(request)
            if b" 200 " in connection.recv(100):
                return
        time.sleep(0.02)
    raise SystemExit(f"not ready within {READY_WITHIN_S:.0f} s: {process.args!r}")


def module(name: str, argument: Any, within_s: float) -> Any:
    """Run a module of the benchmark in a process of its own: JSON in, JSON out."""
    done = subprocess.run(
        [sys.executable, "-m", name],
        input=json.dumps(argument).encode(),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | python_path(),
        timeout=within_s,
        check=True,
        preexec_fn=_end_with_parent,
    )
    return json.loads(done.stdout)


def python_path() -> dict[str, str]:
    """Return the folders in which the programs find the same feedzone as this process."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))}


def feedzone(*arguments: str) -> list[str]:
    """Return the command that runs feedzone."""
    return [str(Path(sys.executable).parent / "feedzone"), *arguments]


def feedzone_settings(url: str, home: Path | str, port: int, strava: int) -> dict[str, str]:
    """Return settings as environment variables. No limit stops feedzone before the machine does."""
    return python_path() | {
        "FEEDZONE_HOME": str(home),
        "DATABASE_URL": url,
        "APP_URL": f"http://127.0.0.1:{port}",
        "LOG_LEVEL": "ERROR",
        # Connected athletes may send as much as they like; here all events are unproven.
        "WEBHOOK_ATHLETE_LIMIT": "1000000000",
        "WEBHOOK_PATH_SECRET": "",
        "STRAVA_CLIENT_ID": "1",
        "STRAVA_CLIENT_SECRET": "bench",
        "STRAVA_RATE_LIMIT": "1000000,10000000",
        "STRAVA_READ_RATE_LIMIT": "1000000,10000000",
        "STRAVA_API_BASE_URL": f"http://127.0.0.1:{strava}/api/v3",
        "STRAVA_OAUTH_BASE_URL": f"http://127.0.0.1:{strava}/oauth",
    }
