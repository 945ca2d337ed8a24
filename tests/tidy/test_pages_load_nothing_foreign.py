"""Pages load nothing from another host."""

from __future__ import annotations

import re

import pytest
from project_files import PACKAGE, relative

FOREIGN = re.compile(r"""(src|href)=["']https?://(?!www\.strava\.com)|@import|url\(https?:""")

# tests/browser checks the bundles under static/.
ASSETS = [
    path
    for pattern in ("*.html", "*.js", "*.css")
    for path in sorted(PACKAGE.rglob(pattern))
    if "static" not in path.parts
]


@pytest.mark.parametrize("path", ASSETS, ids=relative)
def test_a_page_loads_nothing_from_another_host(path):
    assert not FOREIGN.search(path.read_text())
