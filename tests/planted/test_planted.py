"""The planted mistakes fit the source, cover every package, and the harness tells found from survived."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from . import mistakes as module
from .__main__ import HEADING, ROOT, TABLE, WIDER
from .mistakes import LISTS, DoesNotFit, Mistake, mistakes, read

PACKAGE = ROOT / "src" / "feedzone"
TESTS = ROOT / "tests"
ALL = mistakes()
ROW = re.compile(r"^\| (\S+) \| (\d+) \| (\d+) \|", re.M)


@pytest.mark.parametrize("path", sorted(LISTS.glob("*.txt")), ids=lambda path: path.stem)
def test_each_mistake_fits_the_source_exactly_once_and_is_valid_python(path):
    for mistake in read(path):
        source = (PACKAGE / mistake.file).read_text()
        planted = mistake.plant(source)
        assert planted != source, mistake.place
        compile(planted, mistake.place, "exec")


def test_each_mistake_names_tests_that_exist():
    named = {test for mistake in ALL for test in mistake.tests} | {
        test for _, tests in WIDER for test in tests
    }
    assert [test for test in sorted(named) if not (TESTS / test).exists()] == []
    assert [mistake.place for mistake in ALL if not mistake.tests] == []


def test_no_mistake_is_listed_twice():
    counts = Counter((mistake.file, mistake.old, mistake.new) for mistake in ALL)
    assert [key for key, count in counts.items() if count > 1] == []


def test_the_mistakes_are_many_and_in_every_package():
    packages = {
        str(path.parent.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "migrations" not in path.parts and path.name != "__init__.py"
    }
    areas = {"." if mistake.area == "(top)" else mistake.area for mistake in ALL}
    assert sorted(packages - areas) == []
    assert len(ALL) >= 200


def test_the_table_in_the_documents_says_that_almost_all_were_found():
    section = TABLE.read_text().partition(HEADING)[2]
    rows = {name: (int(a), int(b)) for name, a, b in ROW.findall(section)}
    planted, found = rows.pop("all")
    assert planted == sum(count for count, _ in rows.values()) >= 200
    assert found == sum(count for _, count in rows.values()) >= 0.97 * planted


def test_a_mistake_that_no_longer_fits_names_its_place_and_file():
    mistake = Mistake("web.txt:7", "a.py", "x = 1", "x = 2", ())
    with pytest.raises(DoesNotFit, match=r"web\.txt:7: a\.py has its text 2 times, not once"):
        mistake.plant("x = 1\nx = 1\n")


def test_a_list_has_mistakes_of_several_lines_and_removals(tmp_path):
    path = tmp_path / "some.txt"
    path.write_text(
        "# Comment\na.py: unit/x.py\n- one\n-     two\n+ three\n- four\n+\n\nb.py: unit/y.py\n- five\n"
    )
    assert [(m.place, m.file, m.old, m.new, m.tests) for m in read(path)] == [
        ("some.txt:3", "a.py", "one\n    two", "three", ("unit/x.py",)),
        ("some.txt:6", "a.py", "four", "", ("unit/x.py",)),
        ("some.txt:10", "b.py", "five", "", ("unit/y.py",)),
    ]


def test_stale_mistakes_can_be_pruned(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("x = 1\ny = 2\n")
    (tmp_path / "some.txt").write_text(
        "a.py: unit/x.py\n- x = 1\n+ x = 2\n- z = 3\n-     w\n+ z = 4\n- y = 2\n+\n"
    )
    monkeypatch.setattr(module, "LISTS", tmp_path)
    assert module.prune(tmp_path) == ["some.txt:4"]
    assert [m.old for m in read(tmp_path / "some.txt")] == ["x = 1", "y = 2"]


HARNESS = """
from planted.__main__ import Copy
from planted.mistakes import Mistake
copy = Copy()
tests = ("unit/test_ids.py",)
print(copy.finds(None, tests))
print(copy.finds(Mistake("x", "domain/ids.py", "milliseconds", "microseconds_of_nobody", tests), tests))
print(copy.finds(None, tests))
copy.remove()
"""


def test_the_harness_finds_a_mistake_and_leaves_no_trace_of_it():
    source = (PACKAGE / "domain" / "ids.py").read_text()
    old = next(line for line in source.splitlines() if line.strip().startswith("return"))
    code = HARNESS.replace('"milliseconds"', repr(old)).replace('"microseconds_of_nobody"', '"    return 7"')
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(TESTS)))}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["False", "True", "False"], run.stderr
    assert (PACKAGE / "domain" / "ids.py").read_text() == source
