"""If, Scan and Loop of ONNX files: outputs of the file itself, and slopes of the outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import UnsupportedError
from symbucket.types import Array
from tests.ops.op_harness import Runner


def _model(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]>\n{text}')
    onnx.checker.check_model(model, full_check=True)
    return model


def _agree(model: onnx.ModelProto, slopes: bool = True, **arrays: Array) -> sb.Symbol:
    """Compare outputs with those of the runtime, and gradients with finite differences."""
    symbol = sym.from_onnx(model, params=[])
    results = Runner(model.SerializeToString()).run(arrays)
    expected = [results[out.name] for out in model.graph.output]
    bound = symbol.simple_bind(
        sb.cpu(),
        "write",
        type_dict={n: a.dtype for n, a in arrays.items()},
        **{n: a.shape for n, a in arrays.items()},
    )
    bound.feed(arrays)
    for is_train in (False, True):
        for value, array in zip(bound.forward(is_train=is_train), expected, strict=True):
            np.testing.assert_allclose(value.asnumpy(), array, rtol=1e-5, atol=1e-6)
    if slopes:
        sb.test_utils.check_numeric_gradient(symbol, arrays, numeric_eps=1e-2, rtol=2e-2, atol=5e-3)
    return symbol


def _draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


BRANCH = """
main (float[2,3] x, float[1] p) => (float[2,3] y)
<float[1] two = {2.0}> {
    s = ReduceSum<keepdims=0>(x)
    limit = Squeeze(p)
    positive = Greater(s, limit)
    y = If (positive) <
        then_branch = one () => (float[2,3] a) { e = Exp(x) a = Mul(e, two) },
        else_branch = other () => (float[2,3] b) { b = Mul(x, x) }
    >
}
"""


@pytest.mark.parametrize("limit", [-9.0, 9.0])
def test_an_if_on_data(limit: float) -> None:
    x = _draw(2, 3)
    symbol = sym.from_onnx(_model(BRANCH), params=[])
    expected = np.exp(x) * 2 if limit < 0 else x * x
    slope = np.exp(x) * 2 if limit < 0 else 2 * x
    bound = symbol.simple_bind(sb.cpu(), x=(2, 3), p=(1,))
    bound.forward(is_train=True, x=x, p=np.array([limit], np.float32))
    np.testing.assert_allclose(bound.outputs[0].asnumpy(), expected, rtol=1e-5)
    bound.backward([sb.nd.ones((2, 3))])
    np.testing.assert_allclose(bound.grad_dict["x"].asnumpy(), slope, rtol=1e-5)


SCAN = """
main (float[5,2,3] x, float[2,3] h, float[3,3] w) => (float[2,3] last, float[5,2,3] all)
{
    last, all = Scan <num_scan_inputs = 1, DIRECTIONS
        body = step (float[2,3] before, float[2,3] cut) => (float[2,3] after, float[2,3] out) {
            m = MatMul(before, w)
            s = Add(m, cut)
            after = Tanh(s)
            out = Mul(after, cut)
        }
    > (h, x)
}
"""


@pytest.mark.parametrize(
    "directions",
    ["", "scan_input_directions = [1],", "scan_output_directions = [1],"],
)
def test_a_scan(directions: str) -> None:
    model = _model(SCAN.replace("DIRECTIONS", directions))
    _agree(model, x=_draw(5, 2, 3), h=_draw(2, 3, seed=1), w=_draw(3, 3, seed=2))


def test_a_scan_over_another_axis() -> None:
    text = SCAN.replace("DIRECTIONS", "scan_input_axes = [1], scan_output_axes = [-1],")
    text = text.replace("float[5,2,3] x", "float[2,5,3] x").replace(
        "float[5,2,3] all", "float[2,3,5] all"
    )
    _agree(_model(text), x=_draw(2, 5, 3), h=_draw(2, 3, seed=1), w=_draw(3, 3, seed=2))


LOOP = """
main (float[4,3] x, float[3] h) => (float[3] last, float[4,3] all)
<int64 most = {4}, bool yes = {1}> {
    last, all = Loop (most, yes, h) <
        body = step (int64 i, bool go, float[3] before) => (bool on, float[3] after, float[3] out) {
            on = Identity(go)
            row = Gather(x, i)
            s = Mul(before, row)
            after = Sin(s)
            out = Add(after, row)
        }
    >
}
"""


def test_a_counted_loop() -> None:
    symbol = _agree(_model(LOOP), x=_draw(4, 3), h=_draw(3, seed=1) + np.float32(2))
    bound = symbol.simple_bind(sb.cpu(), x=(4, 3), h=(3,))
    bound.forward(is_train=False)


WHILE = """
main (float[1] x, float[1] w) => (float[1] last)
<int64 most = {20}, bool yes = {1}, float limit = {10.0}> {
    last = Loop (most, yes, x) <
        body = step (int64 i, bool go, float[1] before) => (bool on, float[1] after) {
            after = Mul(before, w)
            s = ReduceSum<keepdims=0>(after)
            on = Less(s, limit)
        }
    >
}
"""


def test_a_loop_that_data_end() -> None:
    _agree(_model(WHILE), x=np.array([1.5], np.float32), w=np.array([1.7], np.float32))


def test_weights_in_a_loop_are_trained() -> None:
    text = SCAN.replace("DIRECTIONS", "").replace(", float[3,3] w)", ")")
    text = text.replace("\n{\n", "\n<float[3,3] w = {1,0,0,0,1,0,0,0,1}> {\n", 1)
    symbol, report = sym.from_onnx(_model(text), report=True)
    assert symbol.list_arguments() == ["x", "h", "w"]
    assert "w" in report.trained


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            WHILE.replace("(float[1] last)", "(float[1] last, float[n,1] all)")
            .replace("last = Loop", "last, all = Loop")
            .replace("float[1] after) {", "float[1] after, float[1] out) { out = Neg(before)"),
            "how many rows the Loop stacks depends on data",
        ),
        (
            LOOP.replace("<int64 most = {4}, bool yes = {1}>", "<bool yes = {1}>").replace(
                "float[3] h)", "float[3] h, int64 most)", 1
            ),
            "give it a constant maximum",
        ),
    ],
)
def test_what_sizes_would_depend_on_is_refused(text: str, message: str) -> None:
    symbol: Any = sym.from_onnx(_model(text), params=[])
    shapes = {n: {"x": (1,), "w": (1,), "h": (3,), "most": ()}[n] for n in symbol.list_arguments()}
    if "h" in shapes:
        shapes["x"] = (4, 3)
    with pytest.raises(UnsupportedError, match=message):
        symbol.simple_bind(sb.cpu(), **shapes).forward()
