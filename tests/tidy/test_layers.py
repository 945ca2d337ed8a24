"""Every import contract catches a violation, and no modules import each other in a circle."""

from __future__ import annotations

import graphlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
from project_files import PACKAGE, ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

VIOLATIONS: dict[str, list[tuple[str, str]]] = {
    "Layers: each imports only what stands below it; those joined by | never import each other": [
        ("domain/planted.py", "from feedzone.store import events"),
        ("handlers/planted.py", "from feedzone.worker import executor"),
        ("planted/__init__.py", ""),  # a package that no layer lists
    ],
    "Settings are read by app, serve, embed and cli, and passed on as values": [
        ("worker/planted.py", "from feedzone import settings"),
    ],
    "The sandbox stands alone: only the command line starts it": [
        ("worker/planted.py", "from feedzone.sandbox import world"),
    ],
    "Only the store knows SQL": [
        ("queries/planted.py", "import sqlalchemy"),
        ("queries/planted.py", "import asyncpg"),
        ("queries/planted.py", "import alembic"),
    ],
    "Only strava/ speaks HTTP to Strava": [("worker/planted.py", "import aiohttp")],
    "A process without pages loads no web framework: serve.py puts web/ in front of the app": [
        ("app.py", "import litestar"),
        ("telemetry.py", "import jinja2"),  # app.py imports telemetry.py
    ],
}
"""For each contract the lines that break it, each with the module that they are added to."""

LINT = """
import json, sys
from pathlib import Path

sys.path.insert(0, ".")
from importlinter import configuration
from importlinter.application import use_cases

configuration.configure()
options = use_cases.read_user_options("pyproject.toml")
use_cases._register_built_in_contract_types()


def broken():
    report = use_cases.create_report(options, cache_dir="cache")
    if report.could_not_run:
        return ["the linter could not run"]
    return sorted(contract.name for contract, check in report.get_contracts_and_checks() if not check.kept)


results = [broken()]
for name, line in json.loads(sys.argv[1]):
    module = Path("feedzone", name)
    before = module.read_text() if module.exists() else None
    module.parent.mkdir(exist_ok=True)
    module.write_text((before or "") + line + "\\n")
    results.append(broken())
    if before is None:
        module.unlink()
        if module.name == "__init__.py":
            module.parent.rmdir()
    else:
        module.write_text(before)
print(json.dumps(results))
"""
"""Plant each violation in the copy of the package, and print the broken contracts: first those of none."""


def broken_contracts(copy: Path, planted: list[tuple[str, str]]) -> list[list[str]]:
    # In its own process, since this one has imported the real package already.
    command = [sys.executable, "-c", LINT, json.dumps(planted)]
    linter = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert linter.returncode == 0, linter.stderr
    results: list[list[str]] = json.loads(linter.stdout.splitlines()[-1])
    return results


def test_every_contract_has_a_planted_violation():
    assert set(VIOLATIONS) == {contract["name"] for contract in CONTRACTS}


def test_a_violation_breaks_exactly_its_contract(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "feedzone", ignore=only_python)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = [(name, violation) for name, violations in VIOLATIONS.items() for violation in violations]
    clean, *results = broken_contracts(tmp_path, [violation for _, violation in planted])
    assert clean == []
    expected = [(violation, [name]) for name, violation in planted]
    assert [(violation, broken) for (_, violation), broken in zip(planted, results, strict=True)] == expected


def only_python(folder: str, names: list[str]) -> list[str]:
    """Return the files that a copy leaves out."""
    return [name for name in names if not name.endswith(".py") and not (Path(folder) / name).is_dir()]


def test_no_modules_import_each_other_in_a_circle():
    """Imports for type checking count, too: a reader follows them like any other."""
    graph = grimp.build_graph("feedzone", include_external_packages=False, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as problem:
        raise AssertionError("import cycle: " + " <- ".join(problem.args[1])) from None
