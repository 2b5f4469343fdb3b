"""Examples in the records of operators give what they say, on ``sb.nd``."""

from __future__ import annotations

import ast

import pytest

import symbucket as sb
from symbucket import ops
from tools.operator_docs import OPEN, records, written

EXAMPLES = sorted((r.op_name, r.example) for r in records() if r.example)
FEW = set("broadcast_mod Convolution RNN SequenceReverse _sample_normal softmax topk".split())


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


@pytest.mark.parametrize(
    ("name", "example"),
    [
        pytest.param(*pair, id=pair[0], marks=() if pair[0] in FEW else pytest.mark.slow)
        for pair in EXAMPLES
    ],
)
def test_the_example_gives_what_it_says(name, example):
    call, _, result = example.partition(" -> ")
    assert evaluated(call) == result
    assert ops.find(name).example == example
