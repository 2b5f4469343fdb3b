"""Passes that let a maximum be taken earlier: before and after, and equal numbers."""

import numpy as np
import onnx
import pytest

from symbucket import sym
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.compiler.rewrite.pool_before_relu import pool_before_relu
from symbucket.compiler.rewrite.pool_before_scale import pool_before_scale
from tests.compiler.rewrite.graph_text import changed
from tests.compiler.rewrite.test_keep_numbers import run

POOL = "MaxPool <kernel_shape = [2, 2], strides = [2, 2]>"


def test_relu_comes_after_the_pool():
    count, after = changed(
        pool_before_relu,
        f"(float[1,2,4,4] x) => (float[1,2,2,2] y) {{ r = Relu(x)  y = {POOL}(r) }}",
    )
    assert count == 1
    assert after == [
        "%0 = MaxPool(x, kernel_shape=(2, 2), strides=(2, 2))",
        "%1 = Relu(%0)",
        "-> %1",
    ]


def test_a_relu_that_something_else_reads_stays():
    count, _ = changed(
        pool_before_relu,
        f"""(float[1,2,4,4] x) => (float[1,2,2,2] y, float[1,2,4,4] z) {{
            r = Relu(x)  y = {POOL}(r)  z = Neg(r)
        }}""",
    )
    assert count == 0


def test_positions_of_the_maxima_are_those_after_relu():
    count, _ = changed(
        pool_before_relu,
        f"""(float[1,2,4,4] x) => (float[1,2,2,2] y, int64[1,2,2,2] i) {{
            r = Relu(x)  y, i = {POOL}(r)
        }}""",
    )
    assert count == 0


def test_numbers_and_gradients_stay_the_same_with_ties_and_windows_below_zero():
    x, head = sym.Variable("x"), sym.Variable("head")
    pool = sym.Pooling(sym.relu(x), kernel=(2, 2), stride=(2, 2), pool_type="max")
    net = sym.MakeLoss(pool * head)
    rng = np.random.default_rng(3)
    arrays = {
        "x": rng.integers(-2, 3, (2, 3, 8, 6)).astype(np.float32),
        "head": rng.normal(size=(2, 3, 4, 3)).astype(np.float32),
    }
    shapes = {name: array.shape for name, array in arrays.items()}
    results = []
    for disable in ((), ("pool-before-relu",)):
        options = CompilerOptions(disable=disable)
        step = compile_training(net, shapes, wanted=["x"], options=options).step
        assert step.passes.get("pool-before-relu", 0) == (not disable)
        results.append(run(step, arrays))
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name])
        assert np.any(value)


NORM = "symbucket.NormalizeBatch <axes = [0, 2, 3], eps = 0.5>"


def test_scale_and_shift_come_after_the_pool():
    count, after = changed(
        pool_before_scale,
        f"""(float[2,2,4,4] x, float[2,1,1] s, float[2,1,1] b)
            => (float[2,2,2,2] y, float[1,2,1,1] m) {{
            n, c, r, m, v = {NORM}(x, s, b)  y = {POOL}(n)
        }}""",
    )
    assert count == 1
    assert after == [
        "%0 = Less(s, 0.0)",
        "%1 = Where(%0, -1.0, 1.0)",
        "%2 = Mul(s, %1)",
        "%3, %4, %5, %6 = Normalize(x, %1, axes=(0, 2, 3), eps=0.5)",
        "%7 = MaxPool(%3, kernel_shape=(2, 2), strides=(2, 2))",
        "%8 = Mul(%7, %2)",
        "%9 = Add(%8, b)",
        "-> %9, %5",
    ]


@pytest.mark.parametrize(
    ("reads", "scale"),
    [("z = Neg(n)", "2,1,1"), ("z = Neg(c)", "2,1,1"), ("z = Neg(r)", "2,1,1"), ("", "4,4")],
)
def test_the_pool_stays_where_more_is_read_or_a_channel_has_many_scales(reads, scale):
    count, _ = changed(
        pool_before_scale,
        f"""(float[2,2,4,4] x, float[{scale}] s, float[2,1,1] b) => (float[2,2,2,2] y) {{
            n, c, r, m, v = {NORM}(x, s, b)  y = {POOL}(n)  {reads}
        }}""",
    )
    assert count == 0


@pytest.mark.parametrize("stride", [2, 1])
@pytest.mark.parametrize("fix_gamma", [False, True])
def test_a_pool_before_scale_has_the_same_numbers_and_gradients(fix_gamma, stride):
    x, head = sym.Variable("x"), sym.Variable("head")
    norm = sym.BatchNorm(x, fix_gamma=fix_gamma, name="norm")
    pool = sym.Pooling(sym.relu(norm), kernel=(2, 2), stride=(stride, stride), pool_type="max")
    net = sym.MakeLoss(pool * head)
    rng = np.random.default_rng(5)
    out = (2, 4, 4, 3) if stride == 2 else (2, 4, 7, 5)
    arrays = {
        "x": rng.integers(-3, 4, (2, 4, 8, 6)).astype(np.float32),  # with ties
        "norm_gamma": np.array([0.5, -2.0, 1.0, -0.25], np.float32),
        "norm_beta": np.array([0.1, 0.5, -0.2, 0.3], np.float32),
        "norm_moving_mean": np.zeros(4, np.float32),
        "norm_moving_var": np.ones(4, np.float32),
        "head": rng.normal(size=out).astype(np.float32),
    }
    shapes = {name: array.shape for name, array in arrays.items()}
    wanted = ["x", "norm_beta", *([] if fix_gamma else ["norm_gamma"])]
    results = []
    for disable in ((), ("pool-before-scale",), ("pool-before-scale", "pool-before-relu")):
        options = CompilerOptions(disable=disable)
        step = compile_training(net, shapes, wanted=wanted, options=options).step
        assert step.passes.get("pool-before-scale", 0) == (not disable)
        results.append(run(step, arrays))
    for other in results[1:]:
        for name, value in results[0].items():
            np.testing.assert_allclose(value, other[name], rtol=2e-5, atol=2e-6)
            assert np.any(value)


def test_a_scale_of_zero_stops_the_gradient_of_the_data():
    x = sym.Variable("x")
    pool = sym.Pooling(sym.BatchNorm(x, fix_gamma=False, name="norm"), kernel=(2, 2), stride=(2, 2))
    rng = np.random.default_rng(6)
    arrays = {
        "x": rng.normal(size=(2, 1, 4, 4)).astype(np.float32),
        "norm_gamma": np.zeros(1, np.float32),
        "norm_beta": np.full(1, 0.5, np.float32),
        "norm_moving_mean": np.zeros(1, np.float32),
        "norm_moving_var": np.ones(1, np.float32),
    }
    shapes = {name: array.shape for name, array in arrays.items()}
    step = compile_training(sym.MakeLoss(pool), shapes, wanted=["x", "norm_beta"]).step
    result = run(step, arrays)
    assert not np.any(result["x.grad"])
    assert result["norm_beta.grad"] == 8.0
    assert np.all(result["makeloss0_output"] == 0.5)


def test_windows_are_masked_only_where_their_data_can_be_minus_infinity():
    def nodes(net, **shapes):
        model = compile_training(net, shapes, wanted=["w"]).step.model
        return [node.op_type for node in onnx.load_from_string(model).graph.node]

    w = sym.Variable("w")
    data = sym.Convolution(sym.Variable("x"), weight=w, kernel=(1, 1), num_filter=2, no_bias=True)
    pool = sym.Pooling(data, kernel=(2, 2), stride=(2, 2), pool_type="max")
    twice = sym.Pooling(pool, kernel=(2, 2), stride=(2, 2), pool_type="max")
    shapes = {"x": (1, 2, 4, 4), "w": (2, 2, 1, 1)}
    assert "Greater" not in nodes(sym.MakeLoss(twice), **shapes)
    masked = sym.Pooling(data + sym.Variable("m"), kernel=(2, 2), stride=(2, 2), pool_type="max")
    assert "Greater" in nodes(sym.MakeLoss(masked), m=(1, 2, 4, 4), **shapes)
