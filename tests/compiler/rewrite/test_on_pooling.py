"""The pass that lets a maximum be taken before Relu: before and after, and equal numbers."""

import numpy as np

from symbucket import sym
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.compiler.rewrite.pool_before_relu import pool_before_relu
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
