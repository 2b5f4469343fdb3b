"""Values of operators beside the recorded ones."""

from __future__ import annotations

from typing import Any

import numpy as np

import symbucket as sb

x = sb.sym.Variable("x")
y = sb.sym.Variable("y")


def evaluate(symbol: sb.Symbol, **arrays: Any) -> np.ndarray[Any, Any]:
    given = {n: np.asarray(a, dtype=np.float32) for n, a in arrays.items()}
    bound = symbol.simple_bind(sb.cpu(), grad_req="null", **{n: a.shape for n, a in given.items()})
    return bound.forward(**given)[0].asnumpy()


def test_comparisons_and_logic_give_ones_and_zeros() -> None:
    left, right = [1.0, 2.0, 0.0], [2.0, 2.0, 0.0]
    for op, expected in (
        ("_equal", [0, 1, 1]),
        ("_not_equal", [1, 0, 0]),
        ("_greater", [0, 0, 0]),
        ("_greater_equal", [0, 1, 1]),
        ("_lesser", [1, 0, 0]),
        ("_lesser_equal", [1, 1, 1]),
        ("_logical_and", [1, 1, 0]),
        ("_logical_or", [1, 1, 0]),
        ("_logical_xor", [0, 0, 0]),
    ):
        assert evaluate(getattr(sb.sym, op)(x, y), x=left, y=right).tolist() == expected, op


def test_rounding() -> None:
    values = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.4, -2.6]
    for op, expected in (
        ("round", [-3, -2, -1, 1, 2, 2, -3]),
        ("rint", [-3, -2, -1, 0, 1, 2, -3]),
        ("fix", [-2, -1, 0, 0, 1, 2, -2]),
        ("trunc", [-2, -1, 0, 0, 1, 2, -2]),
        ("floor", [-3, -2, -1, 0, 1, 2, -3]),
        ("ceil", [-2, -1, 0, 1, 2, 3, -2]),
    ):
        np.testing.assert_array_equal(evaluate(getattr(sb.sym, op)(x), x=values), expected, op)


def test_modulo_has_the_sign_of_the_divisor() -> None:
    assert evaluate(x % 3, x=[-4.0, 4.0]).tolist() == [2.0, 1.0]
    np.testing.assert_allclose(evaluate(x % y, x=[-4.0, 4.0], y=[-3.0, -3.0]), [-1.0, -2.0])


def test_one_hot_outside_the_depth_is_all_off() -> None:
    out = evaluate(sb.sym.one_hot(x, depth=2, on_value=5, off_value=-1), x=[1.0, -1.0, 2.0])
    assert out.tolist() == [[-1, 5], [-1, -1], [-1, -1]]


def test_softmax_with_length_gives_zeros_behind_it() -> None:
    bound = sb.sym.softmax(x, y, use_length=True).simple_bind(sb.cpu(), x=(2, 3))
    out = bound.forward(x=np.zeros((2, 3)), y=[2, 0])[0].asnumpy()
    np.testing.assert_allclose(out, [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])


def test_positions_of_extremes() -> None:
    data = [[1.0, 5.0, 5.0], [7.0, 0.0, 2.0]]
    assert evaluate(sb.sym.argmax(x), x=data).tolist() == [3.0]
    assert evaluate(sb.sym.argmax(x, axis=1), x=data).tolist() == [1.0, 0.0]
    assert evaluate(sb.sym.argmin(x, axis=0, keepdims=True), x=data).tolist() == [[0.0, 1.0, 1.0]]
    assert evaluate(sb.sym.argmin(x, keepdims=True), x=data).tolist() == [[4.0]]


def test_reduction_of_everything_has_shape_one() -> None:
    for op in ("sum", "mean", "max", "min", "prod", "norm", "sum_axis", "max_axis", "min_axis"):
        assert evaluate(getattr(sb.sym, op)(x), x=np.ones((2, 3))).shape == (1,)
        assert evaluate(getattr(sb.sym, op)(x, axis=(0, 1)), x=np.ones((2, 3))).shape == (1,)
        assert evaluate(getattr(sb.sym, op)(x, keepdims=True), x=np.ones((2, 3))).shape == (1, 1)


def test_padding_is_numpys() -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    for mode in ("constant", "edge", "reflect"):
        out = evaluate(sb.sym.Pad(x, mode=mode, pad_width=(1, 0, 2, 1)), x=data)
        np.testing.assert_array_equal(out, np.pad(data, ((1, 0), (2, 1)), mode=mode))
    out = evaluate(sb.sym.Pad(x, mode="constant", pad_width=(0, 0, 0, 1), constant_value=7), x=data)
    assert out[:, 3].tolist() == [7.0, 7.0]


def test_arange_repeats_and_counts_down() -> None:
    assert evaluate(sb.sym.arange(3)).tolist() == [0, 1, 2]
    assert evaluate(sb.sym.arange(5, 0, -2)).tolist() == [5, 3, 1]
    assert evaluate(sb.sym.arange(0, 2, repeat=2)).tolist() == [0, 0, 1, 1]


def test_ids_of_any_integer_dtype_select_and_differentiate() -> None:
    for dtype in ("int32", "int64", "float32"):
        ids = sb.sym.Variable("ids", dtype=dtype)
        symbol = sb.sym.Embedding(ids, input_dim=4, output_dim=2, name="e")
        bound = symbol.simple_bind(sb.cpu(), ids=(3,))
        bound.arg_dict["e_weight"][...] = np.arange(8).reshape(4, 2)
        out = bound.forward(is_train=True, ids=np.array([3, 3, 1]))[0]
        assert out.asnumpy().tolist() == [[6, 7], [6, 7], [2, 3]]
        bound.backward(np.ones((3, 2), np.float32))
        assert bound.grad_dict["e_weight"].asnumpy()[:, 0].tolist() == [0, 1, 0, 2]


def test_a_range_of_integers_drops_fractions_first() -> None:
    assert sb.nd.arange(0.5, 3, 0.5, dtype="int32").asnumpy().tolist() == [0] * 5
    assert sb.nd.arange(1.3, 9, 1.3, dtype="int32").asnumpy().tolist() == [1, 2, 3, 4, 5, 6]
    assert sb.nd.arange(-1.7, -9, -1.3, dtype="int32").asnumpy().tolist() == [
        -1,
        -2,
        -3,
        -4,
        -5,
        -6,
    ]


def test_where_two_images_are_equal_the_first_has_the_gradient_of_their_distance() -> None:
    a, b = sb.sym.Variable("a"), sb.sym.Variable("b")
    distance = sb.sym.Correlation(a, b, max_displacement=0, is_multiply=False)
    executor = distance.simple_bind(sb.cpu(), a=(1, 1, 1, 3), b=(1, 1, 1, 3))
    executor.forward(is_train=True, a=[[[[1.0, 2.0, 3.0]]]], b=[[[[1.0, 1.0, 4.0]]]])
    executor.backward(sb.nd.ones((1, 1, 1, 3)))
    assert executor.grad_dict["a"].asnumpy().ravel().tolist() == [1.0, 1.0, -1.0]
    assert executor.grad_dict["b"].asnumpy().ravel().tolist() == [-1.0, -1.0, 1.0]
