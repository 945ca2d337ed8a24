"""Values of others in the output of commands: they are text, whatever they contain."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from feedzone.cli import console

HOSTILE = [
    "[/red]x",
    "[bold]Ada[/bold]",
    "\x1b[31mred\x1b]0;title\x07",
    "a\rb",
    "\u202eevil",
    "\ud800",
    "\x9b2J",
]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    for name in ("out", "err"):
        terminal = Console(
            file=stream, force_terminal=True, color_system="standard", highlight=False, width=200
        )
        monkeypatch.setattr(console, name, terminal)
    return stream


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "show",
    [
        lambda name: console.say(f"{name}: complete"),
        lambda name: console.complain(f"{name}: unknown"),
        lambda name: console.show_table(["name", "status"], [[name, "active"]], whole=["name"]),
    ],
    ids=["line", "error", "table"],
)
def test_a_name_cannot_use_markup_or_control_the_terminal(terminal, show, name):
    show("Ada")
    ordinary = terminal.getvalue().count("\x1b")
    show(name)
    printed = terminal.getvalue()
    assert printed.count("\x1b") == 2 * ordinary
    assert not set("\x07\r\x9b\u202e\ud800") & set(printed)
    assert "".join(character for character in name if character.isprintable()) in printed.replace(
        "\ufffd", ""
    )


def test_the_lines_of_a_message_stay_and_a_name_has_no_lines(terminal):
    console.say(f"Athletes:\n{console.plain('Ada' + chr(10) + 'admin')}", lead="! ")
    assert terminal.getvalue().splitlines()[1] == "Ada\ufffdadmin"


def test_secrets_are_hidden(terminal, monkeypatch):
    monkeypatch.setattr(console, "_secrets", ["the-secret"])
    console.say("https://host/the-secret")
    assert "the-secret" not in terminal.getvalue()
    assert "https://host/" in terminal.getvalue()
