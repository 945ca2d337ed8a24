"""Documents, the settings template and the reference agree with the code."""

from __future__ import annotations

import re
import sys

from project_files import DOCUMENTS, ROOT
from typer.testing import CliRunner

from feedzone.cli.main import app
from feedzone.settings import Settings, load_settings

PRONOUNS = {"a", "it", "the", "them"}
"""Words after a line that begins with "make" in a sentence."""


def test_the_settings_template_explains_every_setting_and_nothing_else():
    explained = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.template").read_text(), re.M))
    assert explained == {name.upper() for name in Settings.model_fields}


def test_the_settings_template_has_the_real_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    defaults = load_settings()
    (tmp_path / ".env").write_text((ROOT / ".env.template").read_text())
    assert load_settings() == defaults


def test_every_make_target_in_the_documents_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^ *)make ([a-z]+)\b", documents_text(), re.M)) - PRONOUNS:
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"


def test_every_command_in_the_documents_exists():
    lines = "\n".join(commands(documents_text()))
    for words in sorted(set(re.findall(r"feedzone ((?:[a-z-]+ )?[a-z-]+)(?=[^a-z-]|$)", lines))):
        result = CliRunner().invoke(app, [*words.split(), "--help"])
        assert result.exit_code == 0, f"feedzone {words}: {result.output}"


def documents_text() -> str:
    return "\n".join(path.read_text() for path in DOCUMENTS)


def commands(text: str) -> list[str]:
    """Return the code, inline or indented, that begins with feedzone."""
    inline = re.findall(r"`(?:\.venv/bin/)?(feedzone [^`]+)`", text)
    block = re.findall(r"^ {4,}(?:\.venv/bin/)?(feedzone [^\n]+)$", text, re.M)
    return [re.sub(r" [A-Z/].*| --.*", "", line) for line in inline + block]


def test_the_reference_page_is_up_to_date():
    sys.path.insert(0, str(ROOT / "tools"))
    from reference import reference

    assert (ROOT / "docs/reference.md").read_text() == reference(), "run `make docs`"
