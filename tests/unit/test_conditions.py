"""The list of health conditions is complete."""

from __future__ import annotations

import ast
import inspect

from feedzone.services import conditions


def test_every_condition_that_is_defined_is_in_a_list():
    functions = {
        node.name: node
        for node in ast.parse(inspect.getsource(conditions)).body
        if isinstance(node, ast.FunctionDef)
    }
    defined = {
        name for name, node in functions.items() if node.returns and ast.unparse(node.returns) == "Condition"
    }
    listed = {
        node.func.id
        for name in ("conditions", "report_conditions")
        for node in ast.walk(functions[name])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert defined
    assert defined <= listed
