"""Gradients of what imported models may bring: each operator of ONNX has a test or is refused.

Operators without a rule of their own are written by others: by a translation, or by the body that
the standard gives them. What comes out is compared with finite differences of the operator.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

import symbucket as sb
from symbucket.compiler.autodiff.differentiate import differentiate
from symbucket.errors import UnsupportedError
from symbucket.ir import OPSET, Builder, known_ops, new_graph
from symbucket.ops.foreign.call import TRANSLATIONS
from tests.compiler.autodiff.cases_imported import CASES, EXACT
from tests.compiler.autodiff.draws import Draw
from tests.compiler.autodiff.gradient_check import STEP, TOLERANCE
from tests.symbol.onnx_models import model

# Samplers, whose places the evaluator rounds to float32: differences are of what we compute.
DIFFERENCES_OF_OWN = {"DeformConv", "GridSample"}

ELSEWHERE = {
    "LSTM": "symbol/test_onnx_import.py",
    "GRU": "symbol/test_onnx_import.py",
    "RNN": "symbol/test_onnx_import.py",
}
RULES_CHECKED_HERE = {"ConvTranspose", "Det", "Einsum", "Resize", "ScatterND"}
REFUSED_AT_IMPORT = {"SequenceMap"}
# Written with QuantizeLinear, which has a rule, at a scale from x or given.
WRITTEN_WITH_RULES = {"DynamicQuantizeLinear", "QLinearMatMul"}


def _schemas() -> dict[str, Any]:
    latest: dict[str, Any] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain or schema.since_version > OPSET or schema.deprecated:
            continue
        if schema.name not in latest or latest[schema.name].since_version < schema.since_version:
            latest[schema.name] = schema
    return latest


def _takes_floats(schema: Any) -> bool:
    types = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    kinds = [types.get(formal.type_str, [formal.type_str]) for formal in schema.inputs]
    return any("tensor(float)" in kind for kind in kinds)


def _without_own_rule() -> list[str]:
    own = {o.op_type for o in known_ops() if not o.domain and (o.gradient or o.no_gradient)}
    return sorted(n for n, s in _schemas().items() if n not in own and _takes_floats(s))


def _written_by_others(name: str) -> bool:
    schema = _schemas()[name]
    return name in TRANSLATIONS or schema.has_function or schema.has_context_dependent_function


def test_every_operator_that_is_written_by_others_has_a_test():
    names = {name for name in _without_own_rule() if _written_by_others(name)}
    assert names | RULES_CHECKED_HERE == {
        *CASES,
        *ELSEWHERE,
        *REFUSED_AT_IMPORT,
        *WRITTEN_WITH_RULES,
    }
    assert all((Path(__file__).parents[2] / file).exists() for file in ELSEWHERE.values())


@pytest.mark.parametrize("name", [n for n in _without_own_rule() if not _written_by_others(n)])
@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT, ir.DataType.INT64])
def test_all_others_are_refused(name, dtype):
    """Whatever they return: integers may be what a gradient has to pass."""
    g = Builder(new_graph("refused"))
    x = g.input("x", (2,), ir.DataType.FLOAT)
    one = ir.Node("", name, [x], num_outputs=1, name="the_node")
    y = one.outputs[0]
    y.name, y.shape, y.type = "y", ir.Shape((2,)), ir.TensorType(dtype)
    g.graph.append(one)
    loss = g.op("Mul", g.cast(y, ir.DataType.FLOAT), x)
    head = g.input("head", (2,), ir.DataType.FLOAT)
    with pytest.raises(UnsupportedError, match=rf"the_node \({name}\)"):
        differentiate(g, [loss], {loss: head}, [x])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", sorted(CASES))
def test_gradients_are_finite_differences(name, seed):
    draw = Draw(seed, zlib.crc32(name.encode()))
    arrays, attributes = CASES[name](draw)
    names = ["" if a is None else f"x{i}" for i, a in enumerate(arrays)]
    values = {n: np.asarray(a) for n, a in zip(names, arrays) if a is not None}
    floats = [n for n, a in values.items() if a.dtype.kind == "f"]
    integers = {n: a for n, a in values.items() if a.dtype.kind != "f"}
    if name == "CastLike":
        floats.remove("x1")  # only its type counts
        integers["x1"] = values["x1"]
    if name == "Resize":
        floats = ["x0"]  # scales are constants
        integers |= {n: a for n, a in values.items() if n == "x2"}
    one = onnx.helper.make_node(name, names, ["y"], "y", **attributes)

    def model_of(kind: int) -> onnx.ModelProto:
        inputs = [(n, values[n].shape, kind) for n in floats]
        return model([one], inputs, [("y", None, kind)], integers, OPSET)

    symbol = sb.sym.from_onnx(model_of(onnx.TensorProto.FLOAT), name="net", fixed="*")
    args = {n: values[n] for n in symbol.list_arguments()}
    grads = {n: np.zeros_like(args[n]) for n in floats if n in args}
    states = {n: values[n] for n in symbol.list_auxiliary_states()}
    executor = symbol.bind(None, args, grads, "write", states)
    (y,) = executor.forward(is_train=True)
    heads = draw.normal(y.shape)
    executor.backward([heads])

    evaluator = None if name in EXACT else ReferenceEvaluator(model_of(onnx.TensorProto.DOUBLE))
    point = {n: values[n].astype(np.float64) for n in floats}

    own = None
    if name in DIFFERENCES_OF_OWN:
        doubles = {n: point.get(n, values[n]) for n in symbol.list_arguments()}
        symbol = sb.sym.from_onnx(model_of(onnx.TensorProto.DOUBLE), fixed="*")
        buffers = {n: sb.nd.array(a, dtype=a.dtype) for n, a in doubles.items()}
        own = symbol.bind(None, buffers, None, "null", {})

    def value(**changed: np.ndarray) -> np.ndarray:
        if own is not None and changed:
            for n in point:
                buffers[n][:] = changed.get(n, point[n])
            return own.forward(is_train=True)[0].asnumpy()
        if evaluator is None:
            inputs = {**values, **point, **changed}
            return EXACT[name](*(inputs[n] for n in names), **attributes)
        return np.asarray(evaluator.run(None, {**point, **changed})[0])

    np.testing.assert_allclose(y.asnumpy(), value(), rtol=1e-4, atol=1e-4)
    step = 1.0 if name == "AffineGrid" else STEP  # linear, and evaluated in float32
    assert grads
    for n in grads:
        gradient = executor.grad_dict[n].asnumpy()
        scale = max(1.0, float(np.abs(gradient).max()))
        for place in list(np.ndindex(*gradient.shape))[: 8 if own else 40]:
            away = np.zeros_like(point[n])
            away[place] = step
            rise = (value(**{n: point[n] + away}) - value(**{n: point[n] - away})) / (2 * step)
            slope = float((rise * heads).sum())
            assert abs(gradient[place] - slope) <= TOLERANCE * scale, (n, place, slope)
