"""What contributors read names files, targets and hooks that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "SECURITY.md")
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page):
    named = set(
        re.findall(r"(?<![\w/.-])((?:[\w.-]+/)+(?:[\w-]+\.\w+)?)(?![\w<*])", (ROOT / page).read_text())
    )
    missing = [
        path for path in named if not any((root / path).exists() for root in (ROOT, ROOT / "src/feedzone"))
    ]
    assert [path for path in missing if not path.startswith(".venv/")] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_exists(page):
    for target in re.findall(r"[`\n] *make (?:[A-Z]+=\S+ )?([a-z]+)", (ROOT / page).read_text()):
        assert re.search(rf"^{target}:", MAKEFILE, re.M), f"make {target}"


def test_make_help_lists_every_target():
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.M)[1].split()
    assert set(phony) - set(re.findall(r"^([a-z]+):.*  ## ", MAKEFILE, re.M)) == {"programs"}
