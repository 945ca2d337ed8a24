"""The published packages: sdist and wheel contain the pages' assets; building needs no Node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = "src/feedzone/web/static"


def build(where: Path, target: str, out: Path) -> Path:
    """Build without isolation and without a network, so that nothing missing is fetched silently."""
    away = dict.fromkeys(("http_proxy", "https_proxy", "npm_config_registry"), "http://127.0.0.1:9")
    line = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    done = subprocess.run(
        line, cwd=where, env=os.environ | away, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return next(out.iterdir())


@pytest.mark.timeout(240)
def test_a_wheel_built_from_the_sdist_without_node_or_network_holds_what_pages_load(tmp_path):
    loaded = json.loads((ROOT / STATIC / "manifest.json").read_text())["files"]
    archive = build(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(archive) as packed:
        names = packed.getnames()
        packed.extractall(tmp_path / "unpacked", filter="data")
    assert not [name for name in names if "node_modules" in name]
    source = next((tmp_path / "unpacked").iterdir())
    assert (source / "frontend/package-lock.json").exists()
    wheel = build(source, "wheel", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as packed:
        inside = set(packed.namelist())
    for name in loaded.values():
        for ending in ("", ".br", ".gz"):
            assert f"feedzone/web/static/{name}{ending}" in inside
    assert "feedzone/web/templates/overview.html" in inside
