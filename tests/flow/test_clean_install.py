"""The built wheel in a clean environment, without the test dependencies: it serves, syncs and exports."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from test_package import ROOT, build

from processes import free_port

NEWER = ("python3.14", "python3.13", "python3.12")


def interpreters() -> list[str]:
    """Return this interpreter, and the newest one of this machine if that is another."""
    for name in NEWER:
        path = shutil.which(name)
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return [sys.executable, path]
    return [sys.executable]


def install(python: str, folder: Path) -> Path:
    """Install the wheel with the locked runtime dependencies; return the folder of its commands."""
    wheel = build(ROOT, "wheel", folder / "wheel")
    subprocess.run([python, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    bin = folder / "venv/bin"
    pip = [sys.executable, "-m", "pip", "--python", bin / "python", "--disable-pip-version-check", "--quiet"]
    for line in (["--require-hashes", "-r", ROOT / "requirements/run.txt"], ["--no-deps", wheel]):
        command = [*pip, "install", "--no-compile", *line]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return bin


@pytest.mark.timeout(900)
@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)
async def test_the_wheel_serves_syncs_and_exports_without_anything_else(
    python: str, tmp_path: Path, eventually
) -> None:
    bin = await asyncio.to_thread(install, python, tmp_path)
    assert not (bin / "pytest").exists()
    port, strava = free_port(), free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONTZPATH": ""}
    line = [bin / "feedzone", "demo", "--port", str(port), "--sandbox-port", str(strava), "--athletes", "1"]
    log = (tmp_path / "log").open("wb")
    demo = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer demo"}) as client:

            async def with_streams():
                assert demo.poll() is None, (tmp_path / "log").read_text()
                try:
                    async with client.get(f"http://127.0.0.1:{port}/api/v1/activities") as answer:
                        items = (await answer.json())["items"] if answer.status == 200 else []
                except aiohttp.ClientError:
                    return None
                return next((each for each in items if each["sync_status"] == "synced"), None)

            activity = await eventually(with_streams, 120)
            async with client.get(f"http://127.0.0.1:{port}/") as page:
                assert page.status == 200
                assert "feedzone" in await page.text()
        home = {"FEEDZONE_HOME": str(tmp_path / ".demo")}
        export = [bin / "feedzone", "export", str(activity["athlete_id"]), "--to", str(tmp_path / "export")]
        done = subprocess.run(export, cwd=tmp_path, env=environment | home, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert list((tmp_path / "export").glob("*.parquet"))
        demo.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(demo.wait, 30) == 0
    finally:
        if demo.poll() is None:
            demo.kill()
        log.close()
    assert "Traceback" not in (tmp_path / "log").read_text()
