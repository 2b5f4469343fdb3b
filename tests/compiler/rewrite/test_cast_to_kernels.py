"""Nodes without a kernel are computed in another type; others stay as they are."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler.rewrite.cast_to_kernels import cast_to_kernels
from symbucket.ir import Builder, new_graph


def text(graph: ir.Graph) -> list[str]:
    return [f"{node.op_type} {node.outputs[0].dtype}" for node in graph]


def test_casts_stand_around_a_node_without_a_kernel() -> None:
    g = Builder(new_graph("example"))
    x = g.input("x", (2,), ir.DataType.DOUBLE)
    g.graph.outputs.append(g.op("Add", g.op("Tan", x), g.op("Sin", x)))
    assert text(g.graph) == ["Tan DOUBLE", "Sin DOUBLE", "Add DOUBLE"]
    assert cast_to_kernels(g.graph) == 1
    assert text(g.graph) == ["Cast FLOAT", "Tan FLOAT", "Cast DOUBLE", "Sin DOUBLE", "Add DOUBLE"]


def test_float32_has_all_kernels() -> None:
    g = Builder(new_graph("example"))
    x = g.input("x", (2,), ir.DataType.FLOAT)
    g.graph.outputs.append(g.op("Sum", g.op("Tan", x), g.op("Erf", x)))
    assert cast_to_kernels(g.graph) == 0


x, y = sym.Variable("x"), sym.Variable("y")


@pytest.mark.parametrize(
    ("symbol", "dtype", "values", "expected"),
    [
        (x % 2, "int32", [5, 4, -5], [1, 0, 1]),
        (sym.broadcast_mod(x, sym.zeros_like(x)), "int32", [5, -3], [0, 0]),
        (sym.add_n(x, x), "int32", [2**30 - 1, -2], [2**31 - 2, -4]),
        (sym.floor(x), "int32", [3, -4], [3, -4]),
        (sym.broadcast_hypot(x, x), "int32", [3, 4], [4, 5]),
        (sym.add_n(x, x), "uint8", [200, 2], [144, 4]),
        (sym.prod(x), "int64", [2, 3, 5], [30]),
        (sym.mean(x), "int64", [7, 8, 0], [5]),
        (sym.argmax(x, axis=0), "int64", [7, 8, 0], [1]),
        (sym.argmin(x, axis=0), "uint8", [7, 8, 0], [2]),
        (sym.erf(x), "float64", [1.0], [0.8427008]),
        (sym.arctanh(x), "float64", [0.5], [0.5493061]),
        (sym.LeakyReLU(x, act_type="gelu"), "float64", [0.5], [0.3457312]),
    ],
)
def test_integers_and_float64(
    symbol: sb.Symbol, dtype: str, values: list[float], expected: list[float]
) -> None:
    result = symbol.eval(x=sb.nd.array(values, dtype=dtype))[0].asnumpy()
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_convolution_in_float64_is_trained() -> None:
    conv = sym.Convolution(x, kernel=(2, 2), num_filter=1, no_bias=True, name="c")
    step = conv.simple_bind(sb.cpu(), type_dict={"x": "float64"}, x=(1, 1, 3, 3))
    for name in step.arg_dict:
        step.arg_dict[name][:] = 1
    assert step.forward(is_train=True)[0].asnumpy().ravel().tolist() == [4.0] * 4
    step.backward([np.ones((1, 1, 2, 2))])
    slopes = step.grad_dict["x"].asnumpy()
    assert slopes.dtype == np.float64
    assert slopes[0, 0].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


def test_a_pool_with_windows_that_overlap_is_trained_in_float16() -> None:
    pool = sym.Pooling(x, kernel=(3,), stride=(2,), pool_type="max")
    step = pool.simple_bind(sb.cpu(), type_dict={"x": "float16"}, x=(1, 1, 5))
    step.arg_dict["x"][:] = [[[1, 0, 4, 2, 3]]]
    assert step.forward(is_train=True)[0].asnumpy().ravel().tolist() == [4.0, 4.0]
    step.backward([np.ones((1, 1, 2))])
    assert step.grad_dict["x"].asnumpy().ravel().tolist() == [0, 0, 2, 0, 0]
