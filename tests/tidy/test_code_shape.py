"""Modules and functions are short, modules have docstrings, and only the clock reads the time."""

from __future__ import annotations

import ast
import re

import pytest
from project_files import PACKAGE, SOURCES, TESTS, is_migration, relative

MODULE_LINES = 400
FUNCTION_LINES = 60
READS_THE_TIME = re.compile(r"\b(datetime\.now|time\.time|utcnow)\(")

HAND_WRITTEN_SOURCES = [path for path in SOURCES if not is_migration(path)]
HAND_WRITTEN = [*HAND_WRITTEN_SOURCES, *TESTS]


@pytest.mark.parametrize("path", HAND_WRITTEN, ids=relative)
def test_a_module_is_short(path):
    assert len(path.read_text().splitlines()) <= MODULE_LINES


@pytest.mark.parametrize("path", HAND_WRITTEN_SOURCES, ids=relative)
def test_a_function_is_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", HAND_WRITTEN_SOURCES, ids=relative)
def test_a_module_has_a_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_domain_never_awaits_nor_reads_the_clock():
    for path in (PACKAGE / "domain").rglob("*.py"):
        source = path.read_text()
        assert "async def" not in source, path
        assert not READS_THE_TIME.search(source), path


def test_only_the_clock_reads_the_time():
    """An injected clock is useless if any other code reads the machine's time."""
    allowed = {"clock.py", "demo.py"}
    for path in SOURCES:
        if path.name not in allowed and "sandbox" not in path.parts:
            assert not READS_THE_TIME.search(path.read_text()), path
