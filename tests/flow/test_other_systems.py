"""Systems without a time zone database, a UTF-8 terminal, uvloop, or signal handlers of loops."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from web_world import BEGIN

from feedzone.app import prepare_database, stop_signals
from feedzone.cli import serving
from feedzone.domain.athlete import AthleteProfile
from feedzone.settings import Settings
from feedzone.store import athletes
from feedzone.store.engine.database import open_database

ASCII = {
    "PYTHONIOENCODING": "ascii",
    "LANG": "C",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
}

ALL_HELP = """
import click, typer
from feedzone.cli.main import app

def walk(command, path):
    context = click.Context(command, info_name=" ".join(path))
    print(command.get_help(context) or "")
    for name in getattr(command, "commands", {}):
        walk(command.commands[name], [*path, name])

walk(typer.main.get_command(app), ["feedzone"])
"""


def run(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder, env=os.environ | environment, capture_output=True, check=False, timeout=100,
    )  # fmt: skip


def test_time_zones_work_without_a_database_of_the_system(tmp_path: Path) -> None:
    script = (
        "from feedzone.web.auth.viewer import viewer\n"
        "v = viewer({'feedzone_zone': 'Europe%2FZurich'}, is_operator=False, athlete_id=1, signed_in=True)\n"
        "print(v.tz, v.tz.utcoffset(__import__('datetime').datetime(2026, 7, 1)))"
    )
    done = run(tmp_path, script, PYTHONTZPATH="")
    assert done.stdout.split() == [b"Europe/Zurich", b"2:00:00"], done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_names_that_a_terminal_cannot_show_do_not_end_a_command(tmp_path: Path, encoding: str) -> None:
    prepare_database(Settings(_env_file=None, feedzone_home=tmp_path))
    database = open_database(f"sqlite:///{tmp_path / 'feedzone.db'}")
    profile = AthleteProfile(1, "zoe", "Zoë 🚴", "Łódź…")
    database.run_sync(lambda c: athletes.connect(c, profile, "activity:read", "active", None, BEGIN))
    main = "from feedzone.cli.main import main; main()"
    environment = ASCII | {"PYTHONIOENCODING": encoding, "FEEDZONE_HOME": str(tmp_path)}
    for line in (
        ["athletes", "list"],
        ["athletes", "show", "1"],
        ["athletes", "show", "2"],
        ["nonsense"],
        ["--help"],
    ):
        done = run(tmp_path, main, *line, **environment)
        assert b"Traceback" not in done.stderr, (line, done.stderr)
        assert done.stdout or done.stderr
    assert b"Zo" in run(tmp_path, main, "athletes", "list", **environment).stdout


def test_the_help_of_every_command_prints_in_ascii(tmp_path: Path) -> None:
    done = run(tmp_path, ALL_HELP, **ASCII)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_without_uvloop_the_loop_of_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert serving._loop_factory() is not None
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert serving._loop_factory() is None
    loops = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())

    serving._run(main())
    assert type(loops[0]).__module__.startswith("asyncio.")


async def test_without_signal_handlers_of_the_loop_a_signal_still_stops_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse, raising=False)
    try:
        stop = stop_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 10)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
