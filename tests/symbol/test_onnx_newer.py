"""Operators that a runtime lacks or gets wrong, bfloat16, and sizes of 0, in ONNX files."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import symbucket as sb
from symbucket import sym
from symbucket.errors import SymbucketError, UnsupportedError
from tests.symbol.onnx_models import model, node

NEWEST = onnx.defs.onnx_opset_version()


def _rms(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def _attention(x: np.ndarray) -> np.ndarray:
    scores = x @ x.swapaxes(-1, -2) / np.sqrt(x.shape[-1])
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True) @ x


def _products(x: np.ndarray) -> np.ndarray:
    rest = np.cumprod(x[..., ::-1], -1)[..., ::-1]
    return np.concatenate([rest[..., 1:], np.ones_like(x[..., :1])], -1)


CASES: dict[str, tuple[int, list[onnx.NodeProto], dict[str, Any], Any]] = {
    "RMSNormalization": (
        23,
        [node("RMSNormalization", "x ones", "y", axis=-1)],
        {"ones": np.ones(4)},
        _rms,
    ),
    "Attention": (23, [node("Attention", "x x x", "y")], {}, _attention),
    "Swish": (24, [node("Swish", "x", "y")], {}, lambda x: x / (1 + np.exp(-x))),
    "CumProd": (
        26,
        [node("CumProd", "x axis", "y", exclusive=1, reverse=1)],
        {"axis": np.array(3)},
        _products,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_operators_that_opset_21_lacks_have_values_and_gradients(case: str) -> None:
    opset, nodes, constants, exact = CASES[case]
    if opset > NEWEST:
        pytest.skip(f"onnx {onnx.__version__} knows opsets up to {NEWEST}")
    shape = (2, 1, 3, 4)
    held = {
        n: np.asarray(v, np.float32 if v.dtype.kind == "f" else None) for n, v in constants.items()
    }
    proto = model(nodes, [("x", shape)], [("y", None)], held, opset)
    x = np.random.default_rng(1).normal(size=shape)
    executor: Any = sym.from_onnx(proto, fixed="*").simple_bind(sb.cpu(), "write", x=shape)
    (y,) = executor.forward(is_train=True, x=x.astype(np.float32))
    np.testing.assert_allclose(y.asnumpy(), exact(x), rtol=1e-5, atol=1e-5)
    head = np.random.default_rng(2).normal(size=shape)
    executor.backward([head.astype(np.float32)])
    gradient = executor.grad_dict["x"].asnumpy()
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=shape)
        ends = [(exact(x + step * direction) * head).sum() for step in (1e-6, -1e-6)]
        slope = (gradient * direction).sum()
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-3, abs=1e-4)


def test_opsets_that_onnx_does_not_know_are_refused() -> None:
    proto = model([node("Tanh", "x", "y")], [("x", [2])], [("y", [2])], {}, NEWEST + 1)
    with pytest.raises(UnsupportedError, match=f"opset {NEWEST + 1}, and onnx .* up to {NEWEST}"):
        sym.from_onnx(proto)


def test_bfloat16_is_computed_in_float32_and_rounded_by_a_cast() -> None:
    graph = helper.make_graph(
        [node("Mul", "x w", "h"), node("Cast", "h", "y", to=TensorProto.BFLOAT16)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["n"])],
        [helper.make_tensor("w", TensorProto.BFLOAT16, [1], [1.5])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    symbol: Any = sym.from_onnx(proto, params=["w"])
    executor = symbol.simple_bind(sb.cpu(), "write", x=(3,))
    executor.copy_params_from({"w": sb.nd.array([1.5])})
    (y,) = executor.forward(is_train=True, x=np.array([1.0, 1.001, 257.0], np.float32))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.asnumpy(), [1.5, 1.5, 386.0])  # 8 bits of each
    executor.backward([np.ones(3, np.float32)])
    np.testing.assert_allclose(executor.grad_dict["w"].asnumpy(), [259.001], rtol=1e-6)


def test_sizes_of_0_are_sizes() -> None:
    nodes = [
        node("Concat", "past x", "all", axis=1),
        node("ReduceSum", "past axes", "sums", keepdims=0),
        node("ReduceMax", "past axes", "most", keepdims=0),
    ]
    proto = model(
        nodes,
        [("past", ["n", "t", 3]), ("x", ["n", 1, 3])],
        [("all", None), ("sums", None), ("most", None)],
        {"axes": np.array([1])},
        18,
    )
    symbol: Any = sym.from_onnx(proto)
    assert symbol.infer_shape(past=(2, 0, 3), x=(2, 1, 3))[1] == [(2, 1, 3), (2, 3), (2, 3)]
    executor = symbol.simple_bind(sb.cpu(), "write", past=(2, 0, 3), x=(2, 1, 3))
    x = np.arange(6, dtype=np.float32).reshape(2, 1, 3)
    joined, sums, most = executor.forward(is_train=True, x=x)
    np.testing.assert_array_equal(joined.asnumpy(), x)
    assert not sums.asnumpy().any()
    assert (most.asnumpy() == -np.inf).all()
    executor.backward([np.full((2, 1, 3), 2, np.float32), sums, sums])
    np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), np.full((2, 1, 3), 2.0))
    with pytest.raises(SymbucketError, match="3"):
        symbol.simple_bind(sb.cpu(), "write", past=(2, 0, 0), x=(2, 1, 3))


def test_scales_that_give_no_whole_size() -> None:
    """Corners are those of the size that the scale gives: 3.2, not 3 of 4 elements."""
    scales = {"scales": np.array([1, 1, 1, 0.8], np.float32)}
    corners = {"coordinate_transformation_mode": "align_corners", "mode": "linear"}
    resize = helper.make_node("Resize", ["x", "", "scales"], ["y"], "y", **corners)
    proto = model([resize], [("x", (1, 1, 1, 4))], [("y", None)], scales, 18)
    executor: Any = sym.from_onnx(proto, fixed="*").simple_bind(sb.cpu(), "null", x=(1, 1, 1, 4))
    (y,) = executor.forward(x=np.array([[[[1, 2, 3, 5]]]], np.float32))
    places = np.arange(3) * 3 / 2.2
    np.testing.assert_allclose(
        y.asnumpy()[0, 0, 0], np.interp(places, range(4), [1, 2, 3, 5]), 1e-6
    )


def test_samples_without_steps_are_left_alone_when_reversed() -> None:
    lengths = {"lengths": np.array([0, 1, 3], np.int64)}
    reverse = node("ReverseSequence", "x lengths", "y", batch_axis=0, time_axis=1)
    proto = model([reverse], [("x", (3, 3))], [("y", (3, 3))], lengths)
    executor: Any = sym.from_onnx(proto).simple_bind(sb.cpu(), "null", x=(3, 3))
    (y,) = executor.forward(x=np.arange(9, dtype=np.float32).reshape(3, 3))
    np.testing.assert_array_equal(y.asnumpy(), [[0, 1, 2], [3, 4, 5], [8, 7, 6]])
