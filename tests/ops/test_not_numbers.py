"""NaN, infinities and zeros of either sign: alike in arrays, symbols and imported files."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import symbucket as sb
from symbucket import nd, sym
from symbucket.errors import ShapeError

nan, inf = np.nan, np.inf
VALUES = np.array(
    [
        [1, nan, -2, 0.5],
        [nan, 3, 2, nan],
        [2, 5, inf, nan],
        [inf, nan, -inf, 0],
        [nan] * 4,
        [-inf] * 4,
        [inf, 1, inf, -inf],
        [-0.0, 0.0, 0.0, -0.0],
        [1, 3, 3, 2],
    ],
    np.float32,
)
REPEATED = np.tile(VALUES, (1, 9))  # whole vectors of a processor, and a rest

EXTREMES = {"max": np.max, "min": np.min, "argmax": np.argmax, "argmin": np.argmin}


def run(symbol, **arrays):
    arrays = {n: nd.array(a, dtype=a.dtype) for n, a in arrays.items()}
    return [o.asnumpy() for o in symbol.bind(sb.cpu(), arrays).forward()]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("name", EXTREMES)
def test_a_nan_is_an_extreme_and_the_first_one_its_position(name, axis, dtype):
    for values in (VALUES.astype(dtype), REPEATED.astype(dtype)):
        expected = np.atleast_1d(EXTREMES[name](values, axis=axis))
        keywords = {} if axis is None else {"axis": axis}
        (symbol,) = run(getattr(sym, name)(sym.Variable("x"), **keywords), x=values)
        array = getattr(nd, name)(nd.array(values, dtype=dtype), **keywords).asnumpy()
        assert symbol.dtype == array.dtype == dtype
        np.testing.assert_array_equal(symbol, expected)
        np.testing.assert_array_equal(array, expected)


def test_a_nan_gets_no_gradient_and_takes_it_from_no_other_row():
    x = sym.Variable("x")
    for symbol, hits in (
        (sym.max(x, axis=1), VALUES.max(axis=1, keepdims=True) == VALUES),
        (sym.min(x, axis=1), VALUES.min(axis=1, keepdims=True) == VALUES),
    ):
        executor = symbol.simple_bind(sb.cpu(), x=VALUES.shape)
        executor.forward(is_train=True, x=VALUES)
        head = np.arange(1, 10, dtype=np.float32)
        executor.backward([nd.array(head)])
        expected = hits * head[:, None]
        np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), expected)


def keys(values):
    """What an order compares: NaN as plus infinity."""
    return np.where(np.isnan(values), inf, values)


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_in_an_order_nan_counts_as_infinity(axis, ascending):
    order = np.argsort(keys(VALUES) * (1 if ascending else -1), axis=axis, kind="stable")
    ordered = np.take_along_axis(VALUES, order, axis)
    first = np.split(order, [2], axis)[0]
    x, array, way = sym.Variable("x"), nd.array(VALUES), {"axis": axis, "is_ascend": ascending}
    for expected, operator, more in (
        (order, "argsort", {}),
        (ordered, "sort", {}),
        (first, "topk", {"k": 2}),
        (np.split(ordered, [2], axis)[0], "topk", {"k": 2, "ret_typ": "value"}),
    ):
        (symbol,) = run(getattr(sym, operator)(x, **way, **more), x=VALUES)
        np.testing.assert_array_equal(symbol, expected)
        result = getattr(nd, operator)(array, **way, **more).asnumpy()
        np.testing.assert_array_equal(result, expected)


def test_gradients_of_ordered_numbers_go_where_they_came_from():
    values = nd.topk(nd.array(VALUES), k=2).asnumpy().astype(int)
    executor = sym.topk(sym.Variable("x"), k=2, ret_typ="value").simple_bind(sb.cpu(), x=(9, 4))
    executor.forward(is_train=True, x=VALUES)
    head = np.arange(1, 19, dtype=np.float32).reshape(9, 2)
    executor.backward([nd.array(head)])
    expected = np.zeros((9, 4), np.float32)
    np.put_along_axis(expected, values, head, 1)
    np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), expected)


def imported(op_type, outputs, *others, **attributes):
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, ["x", *(n for n, _ in others)], names, **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, VALUES.shape)
    graph = helper.make_graph(
        [node],
        "g",
        [x],
        [helper.make_empty_tensor_value_info(name) for name in names],
        [onnx.numpy_helper.from_array(a, n) for n, a in others],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return run(sym.from_onnx(onnx.shape_inference.infer_shapes(model), fixed="*"), x=VALUES)


def test_imported_nodes_are_as_pytorch_has_them():
    axes = ("axes", np.array([1]))
    for name, function in (("ReduceMax", np.max), ("ReduceMin", np.min)):
        expected = function(VALUES, axis=1)
        np.testing.assert_array_equal(imported(name, 1, axes, keepdims=0)[0], expected)
    for name, function in (("ArgMax", np.argmax), ("ArgMin", np.argmin)):
        expected = function(VALUES, axis=1)
        np.testing.assert_array_equal(imported(name, 1, axis=1, keepdims=0)[0], expected)
    order = np.argsort(-keys(VALUES), axis=1, kind="stable")[:, :3]
    values, positions = imported("TopK", 2, ("k", np.array([3])), axis=1)
    np.testing.assert_array_equal(positions, order)
    np.testing.assert_array_equal(values, np.take_along_axis(VALUES, order, 1))


FUNCTIONS = {  # values, and what they give; MXNet 1.9.1 agrees
    "sign": ([nan, -inf, -0.0, inf], [0, -1, 0, 1]),
    "erf": ([nan, inf, -inf, 0], [nan, 1, -1, 0]),
    "erfinv": ([1, -1, 1.5, nan, 0], [inf, -inf, nan, nan, 0]),
    "gamma": ([inf, -inf, 0.0, -0.0, -2, nan, 4], [inf, nan, inf, -inf, nan, nan, 6]),
    "gammaln": ([inf, -inf, 0, -1, nan], [inf, inf, inf, inf, nan]),
    "norm": ([3e30, 4e30], [5e30]),
    "relu": ([nan, -inf, inf], [nan, 0, inf]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_at_their_edges(name):
    values, expected = FUNCTIONS[name]
    values = np.tile(np.array(values, np.float32), 1 if name == "norm" else 5)
    expected = np.tile(np.array(expected, np.float32), 1 if name == "norm" else 5)
    (symbol,) = run(getattr(sym, name)(sym.Variable("x")), x=values)
    np.testing.assert_allclose(symbol, expected, rtol=1e-5)
    np.testing.assert_allclose(getattr(nd, name)(nd.array(values)).asnumpy(), expected, rtol=1e-5)


def test_rests_and_hypotenuses_of_all_sizes():
    a = np.array([1e10, -1e10, -7, 5, 5, -5, 3, inf, 7], np.float32)
    b = np.array([3, 3, 3, inf, -inf, inf, 0, 2, -3], np.float32)
    with np.errstate(all="ignore"):
        expected = np.where(b == 0, 0, np.mod(a, b))
    x, y = sym.Variable("a"), sym.Variable("b")
    np.testing.assert_array_equal(run(sym.broadcast_mod(x, y), a=a, b=b)[0], expected)
    np.testing.assert_array_equal(nd.modulo(nd.array(a), nd.array(b)).asnumpy(), expected)
    a, b = np.array([3e30, 3e-30, -3], np.float32), np.array([4e30, 4e-30, 4], np.float32)
    np.testing.assert_allclose(run(sym.broadcast_hypot(x, y), a=a, b=b)[0], np.hypot(a, b))
    np.testing.assert_allclose(run(sym.norm(sym.Variable("a")), a=a[1:2])[0], a[1:2])


def test_sums_of_powers_that_are_zero_get_no_gradient():
    x, zeros = sym.Variable("x"), np.zeros((1, 1, 4, 4), np.float32)
    for p in (2, 3):
        y = sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="lp", p_value=p)
        executor = y.simple_bind(sb.cpu(), x=zeros.shape)
        executor.forward(is_train=True, x=zeros)
        executor.backward([nd.ones((1, 1, 2, 2))])
        np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), zeros)


@pytest.mark.parametrize(
    ("call", "size", "dtype"),
    [
        (nd.argmax, 257, "uint8"),
        (nd.argmin, 129, "int8"),
        (lambda x: nd.topk(x, dtype="uint8"), 257, "float32"),
        (lambda x: nd.argsort(x, dtype="float16"), 2050, "float32"),
    ],
)
def test_positions_that_a_dtype_does_not_hold_are_refused(call, size, dtype):
    call(nd.zeros((size - 1,), dtype=dtype))
    with pytest.raises(ShapeError, match="does not hold"):
        call(nd.zeros((size,), dtype=dtype))
