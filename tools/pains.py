"""Writes docs/pains.md: which test shows what about each pain of existing integrations. `make docs` runs it.

A test names the pains it is about in its docstring or a comment: "Pain 14.", "pains 18 to 20", "trap 3".
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NAMED = re.compile(r"\b(pain|trap)s? ((?:\d+(?: to |, | and )?)+)", re.I)


WANTED = [*(("pain", number) for number in range(11, 58)), *(("trap", number) for number in range(1, 19))]
"""What must have a test: the pains of running (sections B to E), and all traps."""


def missing() -> list[str]:
    """Those of WANTED that no test names."""
    named = tests()
    return [f"{kind} {number}" for kind, number in WANTED if (kind, number) not in named]


def numbers(text: str) -> set[tuple[str, int]]:
    """("pain", 14) and the like, for all that a text names."""
    found: set[tuple[str, int]] = set()
    for kind, listed in _NAMED.findall(text):
        for part in re.split(r", | and ", listed.rstrip(", and")):
            first, _, last = part.partition(" to ")
            if first.strip().isdigit():
                end = int(last) if last.strip().isdigit() else int(first)
                found |= {(kind.lower(), number) for number in range(int(first), end + 1)}
    return found


def tests() -> dict[tuple[str, int], list[str]]:
    """Pain or trap → the tests that name it."""
    named: dict[tuple[str, int], list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text()
        lines = source.splitlines()
        tree = ast.parse(source)
        whole = numbers(ast.get_docstring(tree) or "")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                for one in numbers(text) | whole:
                    named[one].append(
                        f"{path.relative_to(ROOT / 'tests')}: {node.name[5:].replace('_', ' ')}"
                    )
    return named


def page() -> str:
    """The whole page."""
    head = [
        "# Pains and traps, and the tests that show them",
        "",
        "Written by `make docs` from the tests; do not edit. The numbers are those of the list of pains of",
        "existing integrations that feedzone is built against, and of the traps that others fell into.",
        "",
        f"Of pains 11 to 57 and traps 1 to 18, without a test: {', '.join(missing()) or 'none'}.",
        "",
    ]
    body = []
    for (kind, number), where in sorted(tests().items()):
        body.append(f"- **{kind} {number}**")
        body += [f"  - {one}" for one in sorted(set(where))]
    return "\n".join([*head, *body, ""])


if __name__ == "__main__":
    target = ROOT / "docs" / "pains.md"
    target.write_text(page())
    sys.stdout.write(f"wrote {target.relative_to(ROOT)}\n")
