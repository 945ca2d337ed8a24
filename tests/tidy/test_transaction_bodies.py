"""A transaction body may run twice, after a deadlock, so it changes nothing but the database."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src/feedzone"
FOLDERS = ("store", "services", "ingest", "web", "cli")  # queries fill caches, which may be filled twice
FILES = sorted(path for folder in FOLDERS for path in (SOURCE / folder).rglob("*.py"))


def bodies(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """The functions that take a connection."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = (ast.unparse(arg.annotation) for arg in node.args.args if arg.annotation)
            if "Connection" in names:
                yield node


def changes(body: ast.FunctionDef) -> Iterator[str]:
    """What the body changes outside of itself."""
    for node in ast.walk(body):
        if isinstance(node, ast.Nonlocal | ast.Global):
            yield ast.unparse(node)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []
        for target in targets:
            if ast.unparse(target).startswith("self."):
                yield ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(SOURCE)) for path in FILES])
def test_a_transaction_body_changes_nothing_but_the_database(path):
    for body in bodies(ast.parse(path.read_text())):
        assert list(changes(body)) == [], body.name


def test_a_body_that_changes_something_else_is_found():
    tree = ast.parse("def f(self, connection: Connection):\n    self.seen = 1\n")
    assert [list(changes(body)) for body in bodies(tree)] == [["self.seen = 1"]]
