"""Examples in the records of operators give what they say, on ``sb.nd``."""

from __future__ import annotations

import ast

import symbucket as sb
from symbucket.errors import SymbucketError
from tools.operator_docs import OPEN, records, written


class _ListsAreArrays(ast.NodeTransformer):
    """Puts ``array(...)`` around lists, but not around those in lists."""

    def visit_List(self, node: ast.List) -> ast.Call:
        return ast.Call(ast.Name("array", ast.Load()), [node], [])


def evaluated(call: str) -> str:
    """The value of an example's call, as examples write it."""
    tree = ast.fix_missing_locations(_ListsAreArrays().visit(ast.parse(call, mode="eval")))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    scope = {name: getattr(sb.nd, name) for name in names}
    return shown(eval(compile(tree, call, "eval"), {"__builtins__": {}}, scope))


def shown(value: object) -> str:
    if isinstance(value, sb.nd.NDArray):
        return _numbers(value.asnumpy().tolist())
    if isinstance(value, (list, tuple)) and isinstance(value[0], sb.nd.NDArray):
        return ", ".join(map(shown, value))
    return str(value)  # a shape


def _numbers(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_numbers, value))}]"
    return f"{value + 0.0:.4g}"  # no minus zero


def test_every_operator_has_a_formula_and_an_example_of_itself():
    for record in records():
        if record.op_name not in OPEN:
            assert record.formula, record.op_name
            call, _, result = record.example.partition(" -> ")
            assert result, record.op_name
            names = [name.removeprefix("_").removeprefix("random_") for name in written(record)]
            assert any(name in call for name in names), f"{record.op_name}: {call}"


def test_the_examples_give_what_they_say():
    results = {}
    for record in records():
        call, _, result = record.example.partition(" -> ")
        try:
            value = evaluated(call) if call else result
        except SymbucketError as error:
            value = repr(error)
        if value != result:
            results[record.op_name] = f"{call} is {value}, not {result}"
    assert results == {}
