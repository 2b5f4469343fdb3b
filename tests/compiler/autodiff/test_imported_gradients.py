"""Gradients that are easy to forget, of imported models, with the values that they must have."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import symbucket as sb
from symbucket.compiler.autodiff.differentiate import differentiate
from symbucket.errors import UnsupportedError
from symbucket.ir import Builder, new_graph
from tests.symbol.onnx_models import model, node

INF = float("inf")


def gradients(nodes, feeds, weights=None, heads=None, params=None, opset=17):
    """The output, and by name the gradients of all float arguments."""
    inputs = [(n, a.shape, *([] if a.dtype.kind == "f" else [7])) for n, a in feeds.items()]
    last = nodes[-1].output[0]
    made = model(nodes, inputs, [(last, None)], weights or {}, opset)
    symbol = sb.sym.from_onnx(made, name="net", params=params)
    values = {**(weights or {}), **feeds}
    args = {n: np.atleast_1d(values[n]) for n in symbol.list_arguments()}
    grads = {n: np.zeros_like(a) for n, a in args.items() if a.dtype.kind == "f"}
    executor = symbol.bind(None, args, grads, "write", {})
    (y,) = executor.forward(is_train=True)
    heads = np.ones(y.shape, np.float32) if heads is None else np.asarray(heads, np.float32)
    executor.backward([heads])
    return y.asnumpy(), {n: executor.grad_dict[n].asnumpy() for n in grads}


def f32(values):
    return np.asarray(values, np.float32)


def test_a_computed_limit_of_clip_gets_what_it_cut_off():
    nodes = [
        node("Exp", "a", "e"),
        node("ReduceSum", "e", "high", keepdims=0),
        node("Clip", "x low high", "y"),
    ]
    feeds = {"x": f32([-2.0, 0.2, 0.3, 1.2, 2.0]), "a": f32([-1.0])}
    y, grads = gradients(nodes, feeds, {"low": f32(-0.5)}, [1.0, 2.0, 3.0, 4.0, 5.0])
    limit = np.exp(-1.0)
    np.testing.assert_allclose(y, [-0.5, 0.2, 0.3, limit, limit], rtol=1e-6)
    np.testing.assert_allclose(grads["x"], [0, 2, 3, 0, 0])
    np.testing.assert_allclose(grads["a"], [9 * limit], rtol=1e-6)


def test_learned_limits_of_clip():
    weights = {"low": f32(-0.5), "high": f32(0.4)}
    nodes = [node("Clip", "x low high", "y")]
    x, heads = f32([-2.0, -1.0, 0.2, 0.5, 0.6]), [1.0, 2.0, 3.0, 4.0, 5.0]
    _, grads = gradients(nodes, {"x": x}, weights, heads, params=["low", "high"])
    assert grads["low"].item() == 3.0
    assert grads["high"].item() == 9.0
    np.testing.assert_array_equal(grads["x"], [0, 0, 3, 0, 0])
    weights = {"low": f32(0.4), "high": f32(-0.5)}  # then the upper one is always the result
    y, grads = gradients(nodes, {"x": x}, weights, heads, params=["low", "high"])
    np.testing.assert_array_equal(y, np.full(5, -0.5, np.float32))
    assert (grads["low"].item(), grads["high"].item()) == (0.0, 15.0)
    np.testing.assert_array_equal(grads["x"], np.zeros(5))


QUANTIZED = [
    node("MatMul", "x w", "h"),
    node("QuantizeLinear", "h s z", "q"),
    node("DequantizeLinear", "q s z", "y"),
]


def test_quantization_passes_gradients_straight_through():
    """Numbers within the range as if they were not rounded, others not at all, as in torch."""
    weights = {"w": f32([[1.0, 30.0], [2.0, 0.5]]), "s": f32(0.1), "z": np.int8(3)}
    x = f32([[0.52, 1.0], [-1.0, 0.25]])  # h: 2.52, 16.1 (cut off at 12.4); -0.5, -29.875 (-13.1)
    heads = [[1.0, 2.0], [3.0, 4.0]]
    y, grads = gradients(QUANTIZED, {"x": x}, weights, heads)
    np.testing.assert_allclose(y, [[2.5, 12.4], [-0.5, -13.1]], rtol=1e-6)
    dh = f32([[1.0, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(grads["w"], x.T @ dh, rtol=1e-5)
    np.testing.assert_allclose(grads["x"], dh @ weights["w"].T, rtol=1e-5)


def test_a_learned_step_size():
    """Learned step size quantization: the rounding error within the range, its end outside."""
    weights = {"w": np.eye(2, dtype=np.float32), "s": f32([0.1]), "z": np.zeros(1, np.int8)}
    x = f32([[0.52, 20.0], [-0.56, -20.0]])
    heads = f32([[1.0, 2.0], [3.0, 4.0]])
    _, grads = gradients(QUANTIZED, {"x": x}, weights, heads, params=["s"])
    slopes = f32([[5 - 5.2, 127], [-6 + 5.6, -128]])
    np.testing.assert_allclose(grads["s"], [(slopes * heads).sum()], rtol=1e-4)


def test_integers_of_a_quantization_may_be_moved_but_not_computed_with():
    weights = {"s": f32(0.1), "z": np.int8(0), "shape": np.array([4], np.int64)}
    nodes = [
        node("QuantizeLinear", "x s z", "q0"),
        node("Transpose", "q0", "q1", perm=[1, 0]),
        node("Reshape", "q1 shape", "q2"),
        node("DequantizeLinear", "q2 s z", "y"),
    ]
    x = f32([[0.1, 0.2], [0.3, 40.0]])
    _, grads = gradients(nodes, {"x": x}, weights, [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(grads["x"], [[1.0, 3.0], [2.0, 0.0]], rtol=1e-6)
    nodes[1:3] = [node("MatMulInteger", "q0 q0", "q1"), node("Cast", "q1", "y", to=1)]
    with pytest.raises(UnsupportedError, match=r"net/q1/MatMulInteger \(MatMulInteger\)"):
        gradients(nodes[:3], {"x": x}, weights)


def test_a_cast_to_integers_has_the_gradient_zero():
    nodes = [
        node("Mul", "x x", "a"),
        node("Cast", "a", "i", to=7),
        node("Cast", "i", "b", to=1),
        node("Mul", "b x", "y"),
    ]
    _, grads = gradients(nodes, {"x": f32([1.2, 1.6])})
    np.testing.assert_array_equal(grads["x"], [1.0, 2.0])


def test_the_value_of_a_padding_gets_what_the_padding_gets():
    nodes = [node("ReduceSum", "a", "v", keepdims=0), node("Pad", "x p v", "y")]
    weights = {"p": np.array([1, -1], np.int64)}  # one more at the start, the last one cropped
    feeds = {"x": f32([1.0, 2.0, 3.0]), "a": f32([0.5, 0.25])}
    y, grads = gradients(nodes, feeds, weights, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(y, [0.75, 1.0, 2.0])
    np.testing.assert_array_equal(grads["a"], [1.0, 1.0])
    np.testing.assert_array_equal(grads["x"], [2.0, 3.0, 0.0])


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_paddings_that_repeat_elements_add_up(mode):
    nodes = [node("Pad", "x p", "y", mode=mode)]
    weights = {"p": np.array([2, 1], np.int64)}
    y, grads = gradients(nodes, {"x": f32([1, 2, 3])}, weights, [1, 2, 3, 4, 5, 6], opset=19)
    places = np.pad(np.arange(3), (2, 1), mode=mode)
    np.testing.assert_array_equal(y, places + 1)
    sums = np.zeros(3)
    np.add.at(sums, places, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(grads["x"], sums)


def test_values_of_a_one_hot():
    nodes = [node("OneHot", "i d values", "y", axis=0)]
    feeds, weights = {"i": np.array([0, 2, 5])}, {"d": np.array(3), "values": f32([0.1, 0.9])}
    heads = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    y, grads = gradients(nodes, feeds, weights, heads, params=["values"])
    np.testing.assert_allclose(y, np.where(np.arange(3)[:, None] == [0, 2, 5], 0.9, 0.1))
    np.testing.assert_array_equal(grads["values"], [45 - 9, 9])


@pytest.mark.parametrize("outputs", ["y", "y i"])
@pytest.mark.parametrize("order", [0, 1])
def test_the_largest_element_gets_the_gradient_in_either_storage_order(outputs, order):
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 6)).astype(np.float32)
    pool = node("MaxPool", "x", outputs, kernel_shape=[2, 2], strides=[2, 2], storage_order=order)
    nodes = [pool, node("Mul", "y two", "z")]
    heads = np.arange(12.0).reshape(1, 2, 2, 3)
    _, grads = gradients(nodes, {"x": x}, {"two": f32(2.0)}, heads)
    windows = x.reshape(1, 2, 2, 2, 3, 2)
    hit = windows == windows.max((3, 5), keepdims=True)
    expected = (hit * 2 * heads[:, :, :, None, :, None]).reshape(x.shape)
    np.testing.assert_array_equal(grads["x"], expected)


def test_a_window_that_is_masked_whole_has_no_gradient():
    """Not even the last element, which onnxruntime 1.19 names as the largest one."""
    x = np.full((1, 2, 4, 4), -INF, np.float32)
    x[0, 0, 0, 1], x[0, 1, 3, 3] = 3.0, 4.0
    nodes = [node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[2, 2])]
    _, grads = gradients(nodes, {"x": x}, heads=np.arange(1.0, 9.0).reshape(1, 2, 2, 2))
    expected = np.zeros(x.shape)
    expected[0, 0, 0, 1], expected[0, 1, 3, 3] = 1.0, 8.0
    np.testing.assert_array_equal(grads["x"], expected)


@pytest.mark.parametrize("axes", [True, False])
def test_a_reduction_over_no_axis_takes_each_element_by_itself(axes):
    x, heads = f32([[-1.0, 2.0], [3.0, -4.0]]), f32([[1.0, 2.0], [3.0, 4.0]])
    weights = {"axes": np.zeros(0, np.int64)} if axes else {}
    for op, value, slope in (
        ("ReduceL1", abs(x), np.sign(x)),
        ("ReduceL2", abs(x), np.sign(x)),
        ("ReduceSumSquare", x * x, 2 * x),
        ("ReduceLogSumExp", x, 1.0),
        ("ReduceMax", x, 1.0),
        ("ReduceProd", x, 1.0),
    ):
        nodes = [node(op, "x axes" if axes else "x", "y", noop_with_empty_axes=1)]
        y, grads = gradients(nodes, {"x": x}, weights, heads, opset=18)
        np.testing.assert_array_equal(y, value, err_msg=op)
        np.testing.assert_array_equal(grads["x"], heads * slope, err_msg=op)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_equal_extremes_share_a_gradient(op, keepdims):
    """As PyTorch's amax; each of a sentence's equal words would get all of it otherwise."""
    sign = 1 if op == "ReduceMax" else -1
    x = sign * f32([[[1, 3], [3, 3]], [[2, 2], [2, 2]], [[5, 1], [0, 5]]])
    heads = f32([6.0, 4.0, 1.0]).reshape((3, 1, 1) if keepdims else 3)
    shares = f32([[[0, 2], [2, 2]], [[1, 1], [1, 1]], [[0.5, 0], [0, 0.5]]])
    nodes = [node(op, "x axes", "y", keepdims=keepdims)]
    y, grads = gradients(nodes, {"x": x}, {"axes": np.array([1, -1])}, heads, opset=18)
    np.testing.assert_array_equal(y, sign * f32([3, 2, 5]).reshape(heads.shape))
    np.testing.assert_array_equal(grads["x"], shares)


def test_equal_extremes_of_all_axes_share_a_gradient():
    for x, share in ((f32([2.0, 2.0, -INF]), [3, 3, 0]), (f32([-INF] * 3), [2, 2, 2])):
        y, grads = gradients([node("ReduceMax", "x", "y", keepdims=0)], {"x": x}, heads=6.0)
        assert y.item() == x[0]
        np.testing.assert_array_equal(grads["x"], share)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_the_first_extreme_gets_the_gradient_where_pytorch_gives_it_to_one(op):
    sign = 1 if op == "ReduceMax" else -1
    x = sign * f32([[1, 3, 3], [2, 2, 2], [0, 0, 5]])
    nodes = [node(op, "x", "y", axes=[1], keepdims=0, first_extreme=1)]
    y, grads = gradients(nodes, {"x": x}, heads=[1, 2, 3])
    np.testing.assert_array_equal(y, sign * f32([3, 2, 5]))
    np.testing.assert_array_equal(grads["x"], [[0, 1, 0], [2, 0, 0], [0, 0, 3]])


@pytest.mark.parametrize("size", [(4,), (2, 2), (1, 2, 2)])
def test_a_global_pool_gives_its_gradient_to_the_first_of_equal_maxima(size):
    x = f32([[1, 3, 3, 3], [2, 2, 2, 2], [0, 0, 0, 5]]).reshape(1, 3, *size)
    heads = f32([1, 2, 3]).reshape(1, 3, *[1] * len(size))
    y, grads = gradients([node("GlobalMaxPool", "x", "y")], {"x": x}, heads=heads)
    np.testing.assert_array_equal(y, f32([3, 2, 5]).reshape(heads.shape))
    expected = f32([[0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 3]])
    np.testing.assert_array_equal(grads["x"], expected.reshape(x.shape))


@pytest.mark.parametrize("masking", ["Where", "Add"])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_a_row_that_is_masked_whole_and_replaced_has_no_gradient(op, masking):
    """As exporters write attention over rows of padding: the softmax is NaN, then 0."""
    nodes = [
        node("MatMul", "x w", "h"),
        node("Where", "c h ninf", "m") if masking == "Where" else node("Add", "h bias", "m"),
        node(op, "m", "p", axis=-1),
        node("IsNaN", "p", "n"),
        node("Where", "n zero p", "p2"),
        node("Where", "c p2 zero", "y"),
    ]
    mask = np.array([[True, False, True], [False] * 3])
    w = np.eye(3, dtype=np.float32)
    weights = {"c": mask, "ninf": f32(-INF), "zero": f32(0.0), "w": w}
    weights["bias"] = f32(np.where(mask, 0.0, -INF))
    x = f32([[0.5, 1.0, -0.5], [1.0, 2.0, 3.0]])
    heads = f32([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    y, grads = gradients(nodes, {"x": x}, weights, heads)
    p = np.exp(x[0, ::2]) / np.exp(x[0, ::2]).sum()
    dy = heads[0, ::2]
    if op == "Softmax":
        expected, value = p * (dy - (dy * p).sum()), p
    else:
        expected, value = dy - p * dy.sum(), np.log(p)
    np.testing.assert_allclose(y[0, ::2], value, rtol=1e-6)
    np.testing.assert_array_equal(y[1], np.zeros(3))
    np.testing.assert_allclose(grads["x"][0], [expected[0], 0.0, expected[1]], rtol=1e-5)
    np.testing.assert_array_equal(grads["x"][1], np.zeros(3))
    np.testing.assert_allclose(grads["w"], np.outer(x[0], grads["x"][0]), rtol=1e-5)


def test_only_rows_that_can_be_masked_cost_more():
    def nodes_of(mask):
        g = Builder(new_graph("rows"))
        x, w = (g.input(n, (2, 2), ir.DataType.FLOAT) for n in "xw")
        scores = g.op("Mul", g.op("MatMul", x, w), g.const(f32(0.5)))
        scores = g.op("Where", g.const(np.eye(2) > 0), scores, g.const(f32(mask)))
        y = g.op("Softmax", scores)
        differentiate(g, [y], {y: g.input("dy", (2, 2), ir.DataType.FLOAT)}, [w])
        return [node.op_type for node in g.graph]

    assert "ReduceL1" in nodes_of(-INF)
    assert "ReduceL1" not in nodes_of(-1e9)


def test_a_masked_row_that_is_used_stays_not_a_number():
    """As in torch: what is lost must not look like a gradient."""
    nodes = [node("Add", "x mask", "m"), node("Softmax", "m", "y", axis=-1)]
    feeds = {"x": f32([[1.0, 2.0]])}
    y, grads = gradients(nodes, feeds, {"mask": f32([[-INF, -INF]])}, [[1.0, 2.0]], params=[])
    assert np.isnan(y).all()
    assert np.isnan(grads["x"]).all()


def test_the_log_sum_of_a_row_that_is_masked_whole():
    nodes = [node("Add", "x mask", "m"), node("ReduceLogSumExp", "m", "y", axes=[1], keepdims=0)]
    mask = f32([[0.0, -INF], [-INF, -INF]])
    y, grads = gradients(nodes, {"x": f32([[1.0, 2.0], [3.0, 4.0]])}, {"mask": mask}, params=[])
    np.testing.assert_array_equal(y, [1.0, -INF])
    np.testing.assert_array_equal(grads["x"], [[1.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("p", [1, 2])
def test_normalizing_zeros(p):
    nodes = [node("LpNormalization", "x", "y", axis=1, p=p)]
    y, grads = gradients(nodes, {"x": f32([[0.0, 0.0], [3.0, 4.0]])}, heads=[[5, 6], [1.0, 2.0]])
    np.testing.assert_array_equal(y[0], [0.0, 0.0])
    np.testing.assert_array_equal(grads["x"][0], [0.0, 0.0])
    right = [4 * (4 - 6) / 125, -3 * (4 - 6) / 125] if p == 2 else [-4 / 49, 3 / 49]
    np.testing.assert_allclose(grads["x"][1], right, rtol=1e-5)


def test_powers():
    """Whole exponents of a learned base, of integers too; what has no derivative is no number."""
    nodes = [node("Pow", "x e", "y")]
    x = f32([-1.5, 0.0, 2.0])
    y, grads = gradients(nodes, {"x": x}, {"e": np.array([2, 0, 3])})
    np.testing.assert_array_equal(y, [2.25, 1.0, 8.0])
    np.testing.assert_array_equal(grads["x"], [-3.0, 0.0, 12.0])
    _, grads = gradients(nodes, {"x": x, "e": f32([2.0, 2.0, 2.0])})
    np.testing.assert_allclose(grads["e"], [np.nan, 0.0, 4 * np.log(2.0)], rtol=1e-6)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("kernel", [1, 2])
def test_same_padding_of_strides_beyond_the_window(auto_pad, kernel):
    """At least no padding, never less, in every runtime."""
    x, w = f32([[range(1, 8)]]), f32([[range(1, 1 + kernel)]])
    nodes = [node("Conv", "x w", "y", strides=[3], auto_pad=auto_pad)]
    begin = int(kernel == 2 and auto_pad == "SAME_LOWER")
    y, grads = gradients(nodes, {"x": x, "w": w}, heads=[[[1.0, 10.0, 100.0]]])
    padded = np.pad(x[0, 0], (begin, kernel))
    windows = np.stack([padded[i : i + kernel] for i in (0, 3, 6)])
    np.testing.assert_array_equal(y[0, 0], windows @ w[0, 0])
    np.testing.assert_array_equal(grads["w"][0, 0], f32([1, 10, 100]) @ windows)


def test_an_output_padding_of_a_stride_is_refused():
    x, w = np.ones((1, 1, 3), np.float32), np.ones((1, 1, 2), np.float32)
    nodes = [node("ConvTranspose", "x w", "y", dilations=[2], output_padding=[1])]
    with pytest.raises(UnsupportedError, match=r"output_padding=\[1\] that is not below strides"):
        gradients(nodes, {"x": x}, {"w": w})
