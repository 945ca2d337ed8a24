"""The lock files pin all that pyproject.toml asks for, and nothing of the machine that wrote them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
BUILD = PYPROJECT["dependency-groups"]["build"]
RUN = [*PROJECT["dependencies"], *PYPROJECT["build-system"]["requires"], *BUILD]
ASKED = {"run": RUN, "dev": [*RUN, *PROJECT["optional-dependencies"]["dev"]]}


def text(name: str) -> str:
    return (ROOT / f"requirements/{name}.txt").read_text()


def locked(name: str) -> dict[str, Requirement]:
    """Return the pinned requirements of a lock file, by canonical name."""
    pins = [Requirement(line.removesuffix(" \\")) for line in text(name).splitlines() if line[:1].isalpha()]
    return {canonicalize_name(pin.name): pin for pin in pins}


def version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize("name", ["run", "dev"])
def test_every_dependency_is_locked_within_its_range_and_for_the_same_systems(name):
    pins = locked(name)
    for requirement in map(Requirement, ASKED[name]):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} is not locked: run `make lock`"
        assert version(pin) in requirement.specifier, f"{pin} is not {requirement}: run `make lock`"
        assert pin.marker == requirement.marker, f"{pin} is not {requirement}: run `make lock`"


def test_tests_run_with_the_versions_that_people_install():
    dev = locked("dev")
    assert {name: version(pin) for name, pin in locked("run").items()} == {
        name: version(dev[name]) for name in locked("run")
    }


@pytest.mark.parametrize("name", ["run", "dev"])
def test_every_locked_package_has_hashes(name):
    blocks = re.split(r"^(?=[a-zA-Z])", text(name), flags=re.M)[1:]
    assert len(blocks) == len(locked(name))
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block


@pytest.mark.parametrize("name", ["run", "dev"])
def test_a_lock_file_names_no_index_and_no_folder(name):
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links|@ file|(?:-c|-r) /", text(name))


def test_the_node_that_builds_the_pages_is_locked():
    source = (ROOT / "hatch_build.py").read_text()
    assert re.search(r'^NODE = "(.+)"$', source, re.M)[1] in BUILD
