"""Indexing, views and assignment, as MXNet 1.9.1 does them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import symbucket as sb
from symbucket import nd
from symbucket.errors import IndexingError, InvalidArgumentError, ShapeError, UnsupportedError

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
ALL = slice(None)

# Key -> shape of the result in MXNet, and whether it is a view there.
KEYS = [
    (0, (3, 4), True),
    (-1, (3, 4), True),
    (np.int64(1), (3, 4), True),
    (slice(0, 1), (1, 3, 4), True),
    (ALL, (2, 3, 4), True),
    (slice(0, 2, 2), (1, 3, 4), True),
    (slice(-5, 1), (1, 3, 4), True),
    (slice(None, None, -1), (2, 3, 4), False),
    ((0, 1), (4,), True),
    ((0, slice(0, 2)), (2, 4), True),
    ((slice(0, 1), slice(0, 2)), (1, 2, 4), True),
    ((slice(0, 2), 0), (2, 4), False),
    ((ALL, slice(0, 1)), (2, 1, 4), False),
    ((0, 1, slice(1, 3)), (2,), True),
    ((0, 1, 2), (1,), True),
    (Ellipsis, (2, 3, 4), True),
    ((Ellipsis, 0), (2, 3), False),
    ((0, Ellipsis), (3, 4), True),
    (None, (1, 2, 3, 4), True),
    ((0, None), (1, 3, 4), True),
    ((), (2, 3, 4), True),
    ((ALL, ALL, slice(None, None, 2)), (2, 3, 2), False),
    (slice(5, 9), (0, 3, 4), None),
    ([0, 1], (2, 3, 4), False),
    ([0], (1, 3, 4), False),
    ([[0, 1], [1, 0]], (2, 2, 3, 4), False),
    ((0, [0, 1]), (2, 4), False),
    (([0, 1], [1, 2]), (2, 4), False),
    ((ALL, [0, 2], [0, 1]), (2, 2), False),
    (np.array([0, 1]), (2, 3, 4), False),
]


@pytest.mark.parametrize(("key", "shape", "is_view"), KEYS)
def test_contiguous_parts_are_views(key, shape, is_view):
    x = nd.array(X)
    part = x[key]
    assert part.shape == shape
    np.testing.assert_array_equal(part.asnumpy(), X[key].reshape(shape))
    part[:] = -1
    if is_view is not None:
        assert bool((x.asnumpy() == -1).any()) is is_view
    y = nd.array(X)
    y[key] = -1
    expected = X.copy()
    expected[key] = -1
    np.testing.assert_array_equal(y.asnumpy(), expected)


def test_arrays_are_row_numbers_whatever_their_dtype():
    x = nd.array(X)
    np.testing.assert_array_equal(x[nd.array([1, 0])].asnumpy(), X[::-1])
    np.testing.assert_array_equal(x[nd.array([0]), nd.array([1])].asnumpy(), X[0:1, 1])
    x[nd.array([1], dtype="int32")] = 3
    assert x.asnumpy()[1].tolist() == [[3.0] * 4] * 3
    assert x.asnumpy()[0].tolist() == X[0].tolist()


MASKS = [[True, False], np.array([True, False]), True, nd.array([1, 0], dtype="bool")]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: type(mask).__name__)
def test_masks_are_refused(mask):
    x = nd.array(X)
    with pytest.raises(IndexingError, match=r"is no index .*asnumpy"):
        x[mask]
    with pytest.raises(IndexingError, match="is no index"):
        x[mask] = 1
    np.testing.assert_array_equal(x.asnumpy(), X)


def test_keys_that_fit_nothing():
    x = nd.array(X)
    for key, text in [
        (2, "index 2 is out of bounds for axis 0"),
        (-3, "out of bounds"),
        ((0, 3), r"shape \(2, 3, 4\): index 3 is out of bounds for axis 1"),
        ((0, 0, 0, 0), "too many indices"),
        ([5], "out of bounds"),
        (1.0, "1.0 of type float is no index"),
        ("a", "'a' of type str is no index"),
        (["a"], "is no index; expected row numbers"),
    ]:
        with pytest.raises(IndexError, match=text):
            x[key]
        with pytest.raises(IndexingError, match=text):
            x[key] = 1
    np.testing.assert_array_equal(x.asnumpy(), X)


def test_assignment():
    for key, values in [
        (0, nd.ones((4,))),
        (0, np.ones((3, 4))),
        (0, [1, 2, 3, 4]),
        (0, nd.ones((1, 3, 4))),
        (ALL, nd.ones((2, 3, 4), dtype="int32")),
        ((ALL, 0), 5),
        (slice(None, None, -1), nd.array(X)),
        (1, True),
    ]:
        x, expected = nd.array(X), X.copy()
        x[key] = values
        expected[key] = np.asarray(values)
        np.testing.assert_array_equal(x.asnumpy(), expected)
    x = nd.array(X)
    x[0, 0, 0] = nd.array([5])
    assert x.asnumpy()[0, 0].tolist() == [5, 1, 2, 3]
    x = nd.array(X)
    x[1] = x[0]
    np.testing.assert_array_equal(x.asnumpy(), [X[0], X[0]])
    for wrong in ("a", None, [None], nd.ones((5,)), np.ones((3, 3))):
        with pytest.raises(ShapeError):
            x[:] = wrong
    np.testing.assert_array_equal(x.asnumpy(), [X[0], X[0]])


SHAPES = [
    (((6, 4),), {}, (6, 4)),
    ((-1,), {}, (24,)),
    ((6, 4), {}, (6, 4)),
    (((0, -1),), {}, (2, 12)),
    ((), {"shape": (4, 6)}, (4, 6)),
    (((-2,),), {}, (2, 3, 4)),
    (((-3, 0),), {}, (6, 4)),
    (((0, 0, -4, 2, 2),), {}, (2, 3, 2, 2)),
    (((-1, 0),), {"reverse": True}, (6, 4)),
    ((np.array([4, 6]),), {}, (4, 6)),
]


@pytest.mark.parametrize(("sizes", "named", "shape"), SHAPES)
def test_reshapes_are_views(sizes, named, shape):
    x = nd.array(X)
    y = x.reshape(*sizes, **named)
    assert y.shape == shape
    y[:] = -1
    assert (x.asnumpy() == -1).all()


def test_shapes_that_do_not_fit():
    x = nd.array(X)
    for shape in ((5, 5), (-1, -1), (0, 0, 0, 0), ()):
        with pytest.raises(InvalidArgumentError, match=r"reshape|codes"):
            x.reshape(shape)
    assert nd.ones((1,)).reshape(()).shape == ()
    assert nd.zeros((2, 0)).reshape((0, -1)).shape == (2, 0)


def test_what_is_a_view_and_what_a_copy():
    views = [
        lambda x: x.astype("float32", copy=False),
        lambda x: x.as_in_context(sb.cpu()),
        lambda x: x.detach(),
        lambda x: x.as_nd_ndarray(),
        lambda x: x[:].reshape((-1,)),
        lambda x: x.reshape((6, 4))[2:3],
        lambda x: list(x)[1],
    ]
    copies = [
        lambda x: x.flatten(),
        lambda x: x.expand_dims(0),
        lambda x: x.squeeze(),
        lambda x: x.T,
        lambda x: x.transpose(),
        lambda x: x.swapaxes(0, 1),
        lambda x: x.astype("float32"),
        lambda x: x.as_in_context(sb.cpu(1)),
        lambda x: x.copy(),
        lambda x: x.copyto(sb.cpu()),
        lambda x: x.slice_axis(0, 0, 1),
        lambda x: x.reshape_like(nd.zeros((6, 4))),
        lambda x: x.tostype("default"),
        lambda x: nd.reshape(x, (6, 4)),
        nd.identity,
        nd.BlockGrad,
        nd.array,
        copy.copy,
        lambda x: copy.deepcopy([x])[0],
        lambda x: pickle.loads(pickle.dumps(x)),
    ]
    for make in [*views, *copies]:
        x = nd.array(X)
        make(x)[:] = -1
        assert bool((x.asnumpy() == -1).any()) is (make in views)


def test_views_of_what_an_executor_reads():
    network = sb.sym.FullyConnected(sb.sym.Variable("x"), num_hidden=2, no_bias=True, name="f")
    executor = network.simple_bind(sb.cpu(), x=(3, 4), grad_req="null")
    executor.arg_dict["f_weight"][:] = 0
    executor.arg_dict["f_weight"][1][:] = 1
    executor.arg_dict["x"].reshape((12,))[:] = np.arange(12)
    np.testing.assert_array_equal(executor.forward()[0].asnumpy(), [[0, 6], [0, 22], [0, 38]])
    # A view can be bound, too: the executor reads and writes the whole.
    whole = nd.zeros((2, 3, 4))
    bound = network.bind(sb.cpu(), {"x": whole[1], "f_weight": nd.ones((2, 4))})
    whole[:] = 2
    assert bound.forward()[0].asnumpy().tolist() == [[8, 8]] * 3


def test_rows_and_numbers():
    x = nd.array([1, 2, 3])
    assert [row.shape for row in x] == [(1,)] * 3
    assert [float(row) for row in x] == [1, 2, 3]
    assert 2 in x
    assert 5 not in x
    one = nd.array([2.5])
    assert isinstance(one.asscalar(), np.float32)
    assert bool(nd.array([])) is False
    assert not nd.array([0])
    with pytest.raises(ShapeError, match=r"shape \(3,\) is neither true nor false"):
        bool(x)
    assert repr(nd.array(2.5)) == "\n2.5\n<NDArray  @cpu(0)>"
    assert len({x, x, one}) == 2


def test_names_that_scripts_ask_for():
    x = nd.array(X)
    assert (x.ctx, x.stype, x.grad, x.writable) == (sb.cpu(), "default", None, True)
    assert x.wait_to_read() is None
    assert x.T.shape == (4, 3, 2)
    restored = pickle.loads(pickle.dumps(nd.array([1, 2], ctx=sb.cpu(3), dtype="float64")))
    assert (restored.context, restored.dtype) == (sb.cpu(3), np.float64)
    assert np.from_dlpack(x).tolist() == X.tolist()
    with pytest.raises(UnsupportedError, match=r"attach_grad: there is no autograd.*args_grad"):
        x.attach_grad()
    with pytest.raises(UnsupportedError, match=r"NDArray.backward: there is no autograd"):
        x.backward()
    with pytest.raises(UnsupportedError, match="every array is dense here"):
        x.tostype("csr")
    with pytest.raises(ShapeError, match=r"copyto: the array has shape \(2, 3, 4\)"):
        x.copyto(nd.zeros((3, 2)))
    whole = nd.zeros((2, 3, 4), dtype="int32")
    assert x.copyto(whole) is whole
    np.testing.assert_array_equal(whole.asnumpy(), X.astype(int))
