"""The threat model names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:flow|store|unit|sim|browser|tidy)/[\w/]+\.py(?:::\w+)?)`", PAGE)))


@pytest.mark.parametrize("named", NAMED)
def test_a_test_of_a_defence_exists(named: str) -> None:
    path, _, function = named.partition("::")
    text = (TESTS / path).read_text()
    assert not function or re.search(rf"^(?:async )?def {function}\(", text, re.M)


def test_every_threat_has_a_test() -> None:
    rows = re.findall(r"^\| (?!Threat|What|-)(.+) \|$", PAGE.split("## Measured")[0], re.M)
    assert len(rows) > 20
    assert not [row for row in rows if "`" not in row.rpartition("|")[2]]
