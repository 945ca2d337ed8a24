"""The rules of the house, as tests: a rule without a check is not a rule."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feedzone.cli.main import app

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MIGRATIONS = "migrations"

MODULE_LINES = 400
FUNCTION_LINES = 60


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=names(SOURCES + TESTS))
def test_a_module_is_short_enough_to_be_read(path):
    if MIGRATIONS not in path.parts:  # a migration is a list
        assert len(path.read_text().splitlines()) <= MODULE_LINES


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_a_function_is_short_enough_to_be_read(path):
    if MIGRATIONS in path.parts:
        return  # a migration is a list
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_a_module_says_what_it_is_for(path):
    if MIGRATIONS not in path.parts:
        assert ast.get_docstring(ast.parse(path.read_text()))


def test_a_domain_function_never_awaits_nor_reads_the_clock():
    for path in (ROOT / "src/feedzone/domain").glob("*.py"):
        source = path.read_text()
        assert "async def" not in source, path
        assert not re.search(r"\b(datetime\.now|time\.time|utcnow)\(", source), path


def test_only_the_clock_reads_the_time():
    """Injected clocks are worth nothing if someone looks at the wall."""
    allowed = {"clock.py", "demo.py"}
    for path in SOURCES:
        if path.name in allowed or "sandbox" in path.parts:
            continue
        assert not re.search(r"\b(datetime\.now|time\.time|utcnow)\(", path.read_text()), path


def test_every_setting_is_explained_in_the_template_and_nothing_else():
    from feedzone.settings import Settings

    explained = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.template").read_text(), re.M))
    assert explained == {name.upper() for name in Settings.model_fields}


def test_the_templates_defaults_are_the_real_ones(tmp_path, monkeypatch):
    from feedzone.settings import Settings, load_settings

    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    untouched = load_settings()
    (tmp_path / ".env").write_text((ROOT / ".env.template").read_text())
    assert load_settings() == untouched


def test_every_make_target_and_command_that_the_documents_name_exists():
    text = "\n".join(
        path.read_text()
        for path in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]
    )
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z]+)\b", text)) - {"a", "the"}:
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"
    for words in sorted(
        set(re.findall(r"feedzone ((?:[a-z-]+ )?[a-z-]+)(?=[^a-z-]|$)", "\n".join(commands(text))))
    ):
        result = CliRunner().invoke(app, [*words.split(), "--help"])
        assert result.exit_code == 0, f"feedzone {words}: {result.output}"


def commands(text: str) -> list[str]:
    """What stands in code, inline or indented, and begins with feedzone."""
    inline = re.findall(r"`(?:\.venv/bin/)?(feedzone [^`]+)`", text)
    block = re.findall(r"^ {4,}(?:\.venv/bin/)?(feedzone [^\n]+)$", text, re.M)
    return [re.sub(r" [A-Z/].*| --.*", "", line) for line in inline + block]


def test_the_reference_says_what_the_code_says():
    sys.path.insert(0, str(ROOT / "tools"))
    from reference import reference

    assert (ROOT / "docs/reference.md").read_text() == reference(), "run `make docs`"


def test_nothing_from_another_host_is_loaded_by_a_page():
    web = ROOT / "src/feedzone"
    for path in [*web.rglob("*.html"), *web.rglob("*.js"), *web.rglob("*.css")]:
        if "static" in path.parts:
            continue  # a bundle; tests/browser sees what it loads
        source = path.read_text()
        assert not re.search(
            r"""(src|href)=["']https?://(?!www\.strava\.com)|@import|url\(https?:""", source
        ), path
