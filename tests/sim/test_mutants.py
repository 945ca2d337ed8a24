"""The deliberate mutations fit the source, and the worlds find them (docs/mutations.md)."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from . import mutants
from .mutations import MUTATIONS, Edit, Mutation, MutationDoesNotFit
from .scenario import SCENARIOS

NAMES = [mutation.name for mutation in MUTATIONS]
ENGINE = mutants.ROOT / "src" / "feedzone"


@pytest.fixture(scope="module")
def sources():
    """Return the text of each file that a mutation changes."""
    return {edit.file: (ENGINE / edit.file).read_text() for m in MUTATIONS for edit in m.edits}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=NAMES)
def test_a_mutation_fits_the_source_exactly_once_and_is_valid_python(mutation, sources, tmp_path):
    for edit in mutation.edits:
        (tmp_path / edit.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / edit.file).write_text(sources[edit.file])
    mutation.apply(tmp_path)
    for edit in mutation.edits:
        mutated = (tmp_path / edit.file).read_text()
        assert mutated != sources[edit.file]
        compile(mutated, edit.file, "exec")


def test_a_mutation_that_no_longer_fits_reports_its_name_and_file(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    with pytest.raises(MutationDoesNotFit, match=r"two x: src/feedzone/a\.py has its text 2 times, not once"):
        Mutation("two x", "", (Edit("a.py", "x = 1", "x = 2"),)).apply(tmp_path)


def test_every_mutation_has_a_unique_name_and_known_scenarios():
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []
    assert {scenario for m in MUTATIONS for scenario in m.scenarios} <= set(SCENARIOS)


def test_the_table_in_the_documents_has_every_mutation_and_a_world_that_found_it():
    rows = re.findall(r"^\| ([^|]+) \|.*\| (\d+) of (\d+) \|", mutants.TABLE.read_text(), re.M)
    counts = {name: (int(count), int(worlds)) for name, count, worlds in rows}
    assert list(counts) == [mutants.ENGINE.name, *NAMES]
    assert counts.pop(mutants.ENGINE.name)[0] == 0
    assert [name for name, (count, _) in counts.items() if not count] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("events deduplicated by object", "acknowledged event was not stored"),
    ],
)
def test_a_world_finds_a_mutation_and_reports_the_divergence(name, expected):
    verdict = mutants.judge(next(m for m in MUTATIONS if m.name == name), [2])
    assert (verdict.finds, verdict.worlds) == (1, 1)
    assert any(expected in kind for kind in verdict.messages)


def test_a_world_that_crashes_counts_as_a_find():
    crash = Edit("__init__.py", "_MODULES = {", "raise SystemExit(3)\n_MODULES = {")
    broken = Mutation("broken", "everything", (crash,))
    verdict = mutants.judge(broken, [0, 1])
    assert (verdict.finds, verdict.worlds) == (2, 2)
    assert next(iter(verdict.messages)).startswith(mutants.CRASHED)


def test_a_mutation_that_no_world_finds_makes_the_command_fail(capsys):
    unnoticed = mutants.Verdict(MUTATIONS[0], worlds=3)
    noticed = mutants.Verdict(MUTATIONS[1], worlds=3, finds=1)
    sound = mutants.Verdict(mutants.ENGINE, worlds=3)
    assert mutants.verdict_of([sound, noticed]) == 0
    assert mutants.verdict_of([sound, noticed, unnoticed]) == 1
    assert f"{NAMES[0]}: not found" in capsys.readouterr().out


def test_messages_of_different_worlds_count_as_one_kind():
    first, second = (
        mutants.kind_of(f"activity {n}: name is 'Loop {n}' here and 'x' at Strava") for n in (17, 4)
    )
    assert first == second
    kinds = {
        mutants.kind_of(f"acknowledged event was not stored: activity {n} create of 7 at 3") for n in (1, 2)
    }
    assert kinds == {"acknowledged event was not stored"}
