"""Functions without a kernel on the target become formulas with the same values."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest

from symbucket.compiler.rewrite.base import PassContext
from symbucket.compiler.rewrite.spell_out_functions import FUNCTIONS, spell_out_functions
from symbucket.compiler.target import Target
from symbucket.ir import IR_VERSION, Builder, new_graph
from symbucket.runtime.providers import PROVIDERS
from symbucket.runtime.session import run_model

(CUDA,) = (provider for provider in PROVIDERS if provider.device_type == "gpu")
TARGET = PassContext(target=Target(CUDA.name, CUDA.missing))

_EVERYWHERE = np.concatenate([np.linspace(-6, 6, 4001), np.geomspace(1e-6, 30, 2000)])
_UNIT = np.concatenate([np.linspace(-1, 1, 4001), np.geomspace(1e-6, 1, 500)])
_BEYOND_ONE = 1 + np.concatenate([np.geomspace(1e-6, 1e30, 3000), [0.0]])
_LARGE = np.array([1e4, 3e4, 1e10, 1e30, np.inf])
INPUTS = {
    "Acos": _UNIT,
    "Acosh": np.concatenate([_BEYOND_ONE, _LARGE]),
    "Asin": _UNIT,
    "Asinh": np.concatenate([_EVERYWHERE, _LARGE, -_LARGE]),
    "Atan": np.concatenate([_EVERYWHERE, _LARGE, -_LARGE]),
    "Atanh": _UNIT,
    "Cosh": np.concatenate([_EVERYWHERE, [-89.0, 89.0, 90.0, -np.inf, np.inf]]),
    "Sinh": np.concatenate([_EVERYWHERE, -_EVERYWHERE, [-89.0, 89.0, 90.0, -np.inf, np.inf]]),
    "Tan": _EVERYWHERE,
}


def spelled_out(op_type, x, *inputs, shape=None, **attributes):
    """Outputs of the node and of what replaces it; the types of the nodes that do."""
    results, op_types = [], []
    for context in (PassContext(), TARGET):
        g = Builder(new_graph("example"))
        value = g.input("x", x.shape, ir.DataType.FLOAT)
        g.graph.outputs.append(g.op(op_type, value, *map(g.const, inputs), **attributes))
        assert spell_out_functions(g.graph, context) == (context is TARGET)
        op_types = [node.op_type for node in g.graph]
        g.graph.outputs[0].name = "y"
        model = ir.serde.serialize_model(ir.Model(g.graph, ir_version=IR_VERSION))
        results.append(run_model(model.SerializeToString(), {"x": x})["y"])
    return *results, op_types


def test_all_functions_that_cuda_misses():
    assert set(FUNCTIONS) == set(INPUTS)
    assert set(FUNCTIONS) | {"Col2Im"} == set(CUDA.missing) - {"GRU", "If", "LSTM", "RNN"}


@pytest.mark.parametrize("op_type", FUNCTIONS)
def test_functions_are_right_to_a_few_units_in_the_last_place(op_type):
    x = INPUTS[op_type].astype(np.float32)
    _, result, op_types = spelled_out(op_type, x)
    assert not {op_type, *FUNCTIONS} & set(op_types)
    numpy_name = op_type.lower().replace("a", "arc", 1) if op_type[0] == "A" else op_type.lower()
    with np.errstate(all="ignore"):
        expected = getattr(np, numpy_name)(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("op_type", ["Acos", "Acosh", "Asin", "Atanh"])
def test_outside_of_the_domain_is_nan(op_type):
    x = np.array([-3.0, np.nan] if op_type == "Acosh" else [-1.5, 2.0, np.nan], np.float32)
    assert np.isnan(spelled_out(op_type, x)[1]).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("pad", [0, 1])
def test_columns_are_added_by_a_convolution(stride, dilation, pad):
    image, block = np.array([7, 6]), np.array([2, 3])
    counts = (image + 2 * pad - dilation * (block - 1) - 1) // stride + 1
    x = np.random.default_rng(0).normal(size=(2, 18, math.prod(counts))).astype(np.float32)
    settings = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": [pad] * 4}
    expected, result, op_types = spelled_out("Col2Im", x, image, block, **settings)
    assert op_types == ["Reshape", "ConvTranspose"]
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_in_loops_and_for_other_targets():
    g = Builder(new_graph("example"))
    g.graph.outputs.append(g.op("Tan", g.input("x", (2,), ir.DataType.FLOAT)))
    assert spell_out_functions(g.graph) == 0
    assert [node.op_type for node in g.graph] == ["Tan"]
    assert spell_out_functions(g.graph, TARGET) == 1
    assert [node.op_type for node in g.graph] == ["Sin", "Cos", "Div"]
