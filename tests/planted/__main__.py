"""Plant each mistake in a copy of the project, and run the tests that must find it.

`python -m planted [--narrow] [LIST or LIST:LINE ...]`: without names all of them, and docs/mutations.md gets
the table. With `--narrow`, only the tests that a mistake names run, not the wider ones. `--prune` runs
nothing, and removes the mistakes whose text the source has no more.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from .mistakes import DoesNotFit, Mistake, mistakes, prune

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "mutations.md"
HEADING = "## Small mistakes everywhere"
COPIED = ("src", "tests", "docs", "tools", "pyproject.toml", ".env.template", "README.md", "CONTRIBUTING.md")

LIMIT_S = 900
"""Tests that take longer hang."""

OPTIONS = (
    "-q",
    "-x",
    "--no-header",
    "--tb=line",
    "--timeout=90",
    "--database=sqlite",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:warnings",
)
PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout")
"""Loaded by name: loading every installed plugin takes longer than most tests."""

PRELOADED = (
    "aiohttp",
    "alembic",
    "jinja2",
    "litestar",
    "pydantic_settings",
    "sqlalchemy",
    "structlog",
    "uvicorn",
)
"""Packages that every child would import again."""

WIDER = (
    ("web/", ("flow/test_web_pages.py", "flow/test_web_access.py", "flow/test_web_api.py")),
    ("store/", ("store",)),
    ("sandbox/", ("unit",)),
    ("", ("unit", "flow/test_main_path.py", "flow/test_command_line.py")),
)
"""The tests of each area that run if the named ones find nothing."""


class Copy:
    """A copy of the project, with one mistake at a time."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="feedzone-planted-"))
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, self.root / name)

    def finds(self, mistake: Mistake | None, tests: tuple[str, ...]) -> bool:
        """Whether one of the tests fails with the mistake in place."""
        if mistake is None:
            return self._fails(tests)
        path = self.root / "src" / "feedzone" / mistake.file
        source = path.read_text()
        cached = Path(cache_from_source(str(path)))
        try:
            path.write_text(mistake.plant(source))
            cached.unlink(missing_ok=True)  # two versions of one second and one size look the same to Python
            return self._fails(tests)
        finally:
            path.write_text(source)
            cached.unlink(missing_ok=True)

    def _fails(self, tests: tuple[str, ...]) -> bool:
        """Run tests in a child, which starts with pytest loaded."""
        child = os.fork()
        if child == 0:
            os._exit(self._run(tests))
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
                    raise SystemExit(f"pytest could not run {' '.join(tests)}")
                return code != 0
            time.sleep(0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return True

    def _run(self, tests: tuple[str, ...]) -> int:
        os.setsid()
        os.chdir(self.root)
        os.environ |= {"PYTHONPATH": str(self.root / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        sys.path[:] = [
            str(self.root / "src"),
            *(p for p in sys.path if not p.startswith(str(ROOT / "tests"))),
        ]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("feedzone", "planted")]:
            del sys.modules[name]
        base = f"--basetemp={self.root / 'tmp'}"
        try:
            with open(self.root / "out.txt", "w") as out, redirect_stdout(out), redirect_stderr(out):
                return int(pytest.main([*OPTIONS, *PLUGINS, base, *(f"tests/{test}" for test in tests)]))
        except BaseException:
            return 1

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def wider(mistake: Mistake) -> tuple[str, ...]:
    return next(tests for prefix, tests in WIDER if mistake.file.startswith(prefix))


def table(found: Counter[str], planted: Counter[str]) -> str:
    """Return the section of docs/mutations.md about these mistakes."""
    rows = [f"| {area} | {planted[area]} | {found[area]} |" for area in sorted(planted)]
    total = f"| all | {planted.total()} | {found.total()} |"
    return "\n".join((HEADING, "", INTRODUCTION, *rows, total, ""))


INTRODUCTION = """\
Do the tests find a slip? `tests/planted` lists small mistakes of all areas: swapped arguments, a lost
condition, milliseconds for seconds, a forgotten column, an off-by-one, a wrong default. Each names the test
files that should find it; the other tests of its area run if those do not. `make mutants` plants them one by
one in a copy of the project, runs the tests on SQLite, and writes this table.

| Package | Planted | Found |
|---|---|---|"""


def main(arguments: list[str]) -> int:
    if "--prune" in arguments:
        print("\n".join(prune(ROOT / "src" / "feedzone")))
        return 0
    narrow, arguments = "--narrow" in arguments, [name for name in arguments if name != "--narrow"]
    for name in PRELOADED:
        importlib.import_module(name)
    chosen = [
        m
        for m in mistakes()
        if not arguments or m.place in arguments or m.place.partition(":")[0] in arguments
    ]
    found: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    copy = Copy()
    began = time.monotonic()
    try:
        named = sorted({test for mistake in chosen for test in mistake.tests})
        if not arguments and copy.finds(None, tuple(named)):
            print(f"The tests fail without a mistake:\n{(copy.root / 'out.txt').read_text()}")
            return 2
        for mistake in chosen:
            planted[mistake.area] += 1
            word = "found" if copy.finds(mistake, mistake.tests) else ""
            if not word and not narrow and copy.finds(mistake, wider(mistake)):
                word = "found late"
            found[mistake.area] += bool(word)
            passed = time.monotonic() - began
            print(f"{passed:6.0f} s  {word or 'SURVIVED':10}  {mistake.place}  {mistake.file}", flush=True)
    except DoesNotFit as problem:
        print(problem)
        return 2
    finally:
        copy.remove()
    print(f"{found.total()} of {planted.total()} found")
    if not arguments:
        text = TABLE.read_text().partition(HEADING)[0].rstrip()
        TABLE.write_text(f"{text}\n\n{table(found, planted)}")
    return 0 if found.total() == planted.total() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
