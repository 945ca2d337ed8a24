"""Install the peers below .bench/, once for each set of versions (versions.toml)."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

VERSIONS = Path(__file__).with_name("versions.toml")
FOLDER = Path(__file__).parents[2] / ".bench"
PYTHON = FOLDER / "venv" / "bin" / "python"
MODULES = FOLDER / "npm"
WITHIN_S = 900.0


def install() -> None:
    """Install what versions.toml names, unless it is there already."""
    versions = tomllib.loads(VERSIONS.read_text())
    done = FOLDER / "installed"
    state = hashlib.sha256(VERSIONS.read_bytes()).hexdigest() + sys.version
    if done.exists() and done.read_text() == state:
        return
    print(f"Installing the peers into {FOLDER.name}/", file=sys.stderr)
    shutil.rmtree(FOLDER, ignore_errors=True)
    MODULES.mkdir(parents=True)
    venv.create(FOLDER / "venv", with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *versions["python"]], check=True, timeout=WITHIN_S)
    if shutil.which("npm"):
        npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
        # Programs in bench/peers/ find no packages above them, so they run as copies beside these.
        (MODULES / "package.json").write_text("{}")
        subprocess.run([*npm, *versions["npm"]], cwd=MODULES, check=True, timeout=WITHIN_S)
    done.write_text(state)


def missing(*programs: str) -> list[str]:
    """Return which of these programs are not installed."""
    return [program for program in programs if not shutil.which(program)]
