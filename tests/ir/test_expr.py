"""Formulas over ONNX values: what they compute, and that they append what is written."""

import math

import numpy as np
import onnx_ir as ir
import pytest

from symbucket.ir import IR_VERSION, Builder, Expr, new_graph
from symbucket.ir.expr import (
    clip,
    cos,
    cosh,
    erf,
    exp,
    log,
    maximum,
    minimum,
    reciprocal,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    tanh,
    where,
)
from tests.ops.op_harness import Runner

FLOAT = ir.DataType.FLOAT
A = np.array([[0.5, 1.5, 2.0], [3.0, 0.25, 1.0]], np.float32)
B = np.array([[2.0, 1.5, 0.5], [1.0, 4.0, 1.0]], np.float32)
M = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 1.0]], np.float32)
GRID = np.arange(6, dtype=np.float32).reshape(2, 3)

# What is written, and the same in numpy.
FORMULAS = {
    "neg": (lambda a, b: -a, lambda a, b: -a),
    "abs": (lambda a, b: abs(a - b), lambda a, b: abs(a - b)),
    "add": (lambda a, b: a + b, lambda a, b: a + b),
    "add_number": (lambda a, b: a + 2, lambda a, b: a + 2),
    "number_add": (lambda a, b: 2.5 + a, lambda a, b: 2.5 + a),
    "sub": (lambda a, b: a - b, lambda a, b: a - b),
    "number_sub": (lambda a, b: 1 - a, lambda a, b: 1 - a),
    "mul": (lambda a, b: a * b, lambda a, b: a * b),
    "mul_array": (lambda a, b: a * GRID, lambda a, b: a * GRID),
    "array_mul": (lambda a, b: GRID * a, lambda a, b: GRID * a),
    "number_mul": (lambda a, b: np.float64(3) * a, lambda a, b: 3 * a),
    "div": (lambda a, b: a / b, lambda a, b: a / b),
    "number_div": (lambda a, b: 2.0 / a, lambda a, b: 2 / a),
    "pow": (lambda a, b: a**b, lambda a, b: a**b),
    "number_pow": (lambda a, b: 2.0**a, lambda a, b: 2.0**a),
    "matmul": (lambda a, b: a @ M, lambda a, b: a @ M),
    "array_matmul": (lambda a, b: M @ a, lambda a, b: M @ a),
    "equal": (lambda a, b: a == b, lambda a, b: a == b),
    "unequal": (lambda a, b: a != 1.5, lambda a, b: a != 1.5),
    "less": (lambda a, b: a < b, lambda a, b: a < b),
    "less_equal": (lambda a, b: a <= b, lambda a, b: a <= b),
    "greater": (lambda a, b: a > 1.0, lambda a, b: a > 1.0),
    "greater_equal": (lambda a, b: a >= b, lambda a, b: a >= b),
    "number_less": (lambda a, b: a > 1.0, lambda a, b: a > 1.0),
    "and": (lambda a, b: (a < b) & (a > 0.4), lambda a, b: (a < b) & (a > 0.4)),
    "or": (lambda a, b: (a < b) | (a > 2.5), lambda a, b: (a < b) | (a > 2.5)),
    "not": (lambda a, b: ~(a < b), lambda a, b: ~(a < b)),
    "where": (lambda a, b: where(a > b, a, b), lambda a, b: np.where(a > b, a, b)),
    "where_number": (lambda a, b: where(a > b, 7, b), lambda a, b: np.where(a > b, 7, b)),
    "maximum": (maximum, np.maximum),
    "minimum": (lambda a, b: minimum(a, 1.0), lambda a, b: np.minimum(a, 1)),
    "clip": (lambda a, b: clip(a, 0.7, 1.6), lambda a, b: np.clip(a, 0.7, 1.6)),
    "clip_above": (lambda a, b: clip(a, high=1.6), lambda a, b: np.minimum(a, 1.6)),
    "exp": (lambda a, b: exp(a), lambda a, b: np.exp(a)),
    "log": (lambda a, b: log(a), lambda a, b: np.log(a)),
    "sqrt": (lambda a, b: sqrt(a), lambda a, b: np.sqrt(a)),
    "reciprocal": (lambda a, b: reciprocal(a), lambda a, b: 1 / a),
    "sign": (lambda a, b: sign(a - b), lambda a, b: np.sign(a - b)),
    "sin": (lambda a, b: sin(a), lambda a, b: np.sin(a)),
    "cos": (lambda a, b: cos(a), lambda a, b: np.cos(a)),
    "sinh": (lambda a, b: sinh(a), lambda a, b: np.sinh(a)),
    "cosh": (lambda a, b: cosh(a), lambda a, b: np.cosh(a)),
    "tanh": (lambda a, b: tanh(a), lambda a, b: np.tanh(a)),
    "sigmoid": (lambda a, b: sigmoid(a), lambda a, b: 1 / (1 + np.exp(-a))),
    "erf": (lambda a, b: erf(a), lambda a, b: np.vectorize(math.erf)(a)),
    "reshape": (lambda a, b: a.reshape((3, 2)), lambda a, b: a.reshape(3, 2)),
    "transpose": (lambda a, b: a.transpose([1, 0]), lambda a, b: a.T),
    "swap_last": (
        lambda a, b: a.reshape((1, 2, 3)).swap_last(),
        lambda a, b: a.T[None],
    ),
    "expand": (lambda a, b: a.expand((4, 2, 3)), lambda a, b: np.broadcast_to(a, (4, 2, 3))),
    "cast": (lambda a, b: a.cast(ir.DataType.INT64), lambda a, b: a.astype(np.int64)),
    "sum": (lambda a, b: a.sum(), lambda a, b: a.sum()),
    "sum_axis": (lambda a, b: a.sum(-1), lambda a, b: a.sum(-1)),
    "sum_kept": (lambda a, b: a.sum([0, 1], keepdims=True), lambda a, b: a.sum(keepdims=True)),
    "mean": (lambda a, b: a.mean(), lambda a, b: a.mean()),
    "mean_axis": (lambda a, b: a.mean([0]), lambda a, b: a.mean(0)),
    "mean_kept": (lambda a, b: a.mean(-1, keepdims=True), lambda a, b: a.mean(1, keepdims=True)),
    "sum_to_row": (lambda a, b: a.sum_to((1, 3)), lambda a, b: a.sum(0, keepdims=True)),
    "sum_to_vector": (lambda a, b: a.sum_to((3,)), lambda a, b: a.sum(0)),
    "sum_to_scalar": (lambda a, b: a.sum_to(()), lambda a, b: a.sum()),
    "filled": (lambda a, b: a + a.filled(2.0), lambda a, b: a + 2),
    "op": (lambda a, b: a.op("Gather", [1, 0], axis=0), lambda a, b: a[[1, 0]]),
    "ops": (lambda a, b: a.ops("Split", [1, 1], axis=0, outputs=2)[1], lambda a, b: a[1:]),
    "softmax": (
        lambda a, b: exp(a) / exp(a).sum(1, keepdims=True),
        lambda a, b: np.exp(a) / np.exp(a).sum(1, keepdims=True),
    ),
}


def inputs(*shapes):
    g = Builder(new_graph("formula"))
    return g, *(Expr(g, g.input(f"x{i}", shape, FLOAT)) for i, shape in enumerate(shapes))


def written(g):
    """The nodes as text: operator, inputs and attributes."""
    return [
        " ".join(
            [
                node.op_type,
                *(
                    str(v.const_value.numpy().tolist()) if v.const_value is not None else v.name
                    for v in node.inputs
                ),
                *(f"{name}={a.value}" for name, a in node.attributes.items()),
            ]
        )
        for node in g.graph
    ]


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_computes_what_numpy_does(name):
    formula, expected = FORMULAS[name]
    g, a, b = inputs(A.shape, B.shape)
    result = formula(a, b)
    want = np.asarray(expected(A, B))
    assert result.shape == want.shape
    assert result.rank == want.ndim
    assert result.size == want.size
    g.graph.outputs.append(g.op("Identity", result.value))
    model = ir.to_proto(ir.Model(g.graph, ir_version=IR_VERSION)).SerializeToString()
    (got,) = Runner(model).run({"x0": A, "x1": B}).values()
    assert got.dtype == (want.dtype if want.dtype.kind in "bi" else np.float32)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_nodes_are_those_that_are_written_in_python_order():
    g, y, dy = inputs((2, 3), (2, 3))
    p = dy * y
    result = p - y * p.sum(-1, keepdims=True)
    assert written(g) == [
        "Mul x1 x0",
        "ReduceSum Mul [1] keepdims=1",
        "Mul x0 ReduceSum",
        "Sub Mul Mul_1",
    ]
    assert result.value.producer().op_type == "Sub"


def test_nothing_is_simplified():
    g, x = inputs((2, 3))
    _ = (x * 1.0 + 0.0) ** 1.0 - -x
    _ = 2.0 * 3.0 * x * 0.0
    assert written(g) == [
        "Mul x0 1.0",
        "Add Mul 0.0",
        "Pow Add 1.0",
        "Neg x0",
        "Sub Pow Neg",
        "Mul 6.0 x0",
        "Mul Mul_1 0.0",
    ]


def test_what_would_change_nothing_appends_nothing():
    g, x = inputs((2, 3))
    same = x.reshape((2, 3)).transpose([0, 1]).cast(FLOAT).expand((2, 3)).sum([]).sum_to((2, 3))
    assert same.value is x.value
    assert written(g) == []


def test_numbers_become_constants_of_the_operands_dtype():
    g = Builder(new_graph("formula"))
    for dtype in (ir.DataType.DOUBLE, ir.DataType.INT64):
        x = Expr(g, g.input(f"x_{dtype.name}", (3,), dtype))
        assert (x + 1).dtype == dtype
        assert (where(x > 0, 1, x)).dtype == dtype
        assert (x == 1).dtype == ir.DataType.BOOL
    assert {v.dtype for v in g.graph.initializers.values()} == {
        ir.DataType.DOUBLE,
        ir.DataType.INT64,
    }


def test_equal_constants_are_one():
    g, x = inputs((3,))
    _ = x * 2.0 + 2.0
    assert len(g.graph.initializers) == 1


def test_an_expression_has_no_truth_value_and_no_hash():
    _, x = inputs((3,))
    with pytest.raises(TypeError, match=r"neither true nor false; use where\("):
        bool(x > 0)
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)
    with pytest.raises(TypeError, match=r"where\(\) needs an Expr among 1 and 0"):
        where(x > 0, 1, 0)


def test_what_is_known_of_a_constant():
    g, x = inputs((3,))
    assert x.constant is None
    np.testing.assert_array_equal(x.const([1, 2]).constant, np.array([1, 2], np.float32))
    assert "x0" in repr(x)
    assert x.g is g
