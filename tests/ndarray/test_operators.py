"""Operators on arrays: every record, and values that MXNet 1.9.1 gives."""

from __future__ import annotations

import inspect
import pydoc
import threading

import numpy as np
import pytest

import symbucket as sb
from symbucket import nd, ops
from symbucket.errors import (
    DataError,
    InvalidArgumentError,
    ShapeError,
    UnsupportedError,
)
from symbucket.ndarray.in_numpy import KERNELS
from symbucket.ndarray.program import OperatorProgram, operator_program
from tests.ops.op_cases import CASES

RANDOM = {name for name in ops.names() if ops.find(name).random}


def of_names(names):
    """One case for each operator, the first one in the table."""
    first = {}
    for case in CASES:
        if case.op not in RANDOM:
            first.setdefault(case.op, case)
    return [pytest.param(case, id=case.op) for op, case in first.items() if op in names]


def arrays_of(case, dtype=np.float32):
    inputs = {name: np.asarray(array) for name, array in case.make(0).items()}
    return {n: a.astype(dtype if a.dtype.kind == "f" else a.dtype) for n, a in inputs.items()}


@pytest.mark.parametrize("case", of_names({case.op for case in CASES}))
def test_every_operator_gives_what_its_symbol_gives(case):
    inputs = {name: nd.array(a, dtype=a.dtype) for name, a in arrays_of(case).items()}
    symbol = getattr(sb.sym, case.op)(*map(sb.sym.Variable, inputs), **case.attrs)
    executor = symbol.bind(
        sb.cpu(),
        {n: a.copy() for n, a in inputs.items() if n in symbol.list_arguments()},
        aux_states={n: a.copy() for n, a in inputs.items() if n not in symbol.list_arguments()},
    )
    results = getattr(nd, case.op)(*inputs.values(), **case.attrs)
    results = results if isinstance(results, list) else [results]
    for result, expected in zip(results, executor.forward(), strict=True):
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(result.asnumpy(), expected.asnumpy(), rtol=1e-6, atol=5e-7)


@pytest.mark.parametrize("case", of_names(KERNELS))
def test_what_numpy_computes_is_what_the_model_computes(case):
    arrays = arrays_of(case)
    op = ops.find(case.op).make(case.attrs)
    (expected,) = OperatorProgram(
        op, tuple((a.shape, a.dtype) for a in arrays.values()), sb.cpu()
    ).run([nd.array(a, dtype=a.dtype) for a in arrays.values()])
    result = KERNELS[op.op_name](op, *arrays.values())
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(result, expected.asnumpy(), rtol=2e-6, atol=5e-7)


def test_arguments():
    x = nd.array([[1, 2], [3, 4]])
    for result in (
        nd.sum(x, 0),
        nd.sum(x, axis=(0,)),
        nd.sum(data=x, axis=np.array([0]), name="s"),
        x.sum(0),
        x.sum(axis="0"),
    ):
        assert result.asnumpy().tolist() == [4, 6]
    assert nd.clip(x, 2, 3).asnumpy().tolist() == [[2, 2], [3, 3]]
    assert nd.concat(x, x, dim=0).shape == nd.concat(*[x, x], dim=0).shape == (4, 2)
    assert nd.concat([x, x], dim=1).shape == (2, 4)
    assert nd.add_n(x, x).asnumpy().tolist() == [[2, 4], [6, 8]]
    assert nd.transpose(x, (1, 0)).asnumpy().tolist() == [[1, 3], [2, 4]]
    weight = nd.ones((3, 2))
    assert nd.FullyConnected(x, weight, num_hidden=3, no_bias=True).shape == (2, 3)
    with pytest.raises(InvalidArgumentError, match=r"nd.FullyConnected: bias must be given"):
        nd.FullyConnected(x, weight, num_hidden=3)
    with pytest.raises(InvalidArgumentError, match=r"nd.exp: data must be given"):
        nd.exp()
    with pytest.raises(InvalidArgumentError, match=r"nd.exp: 2 arrays were given; its inputs are"):
        nd.exp(x, x)
    with pytest.raises(InvalidArgumentError, match=r"no input 'foo'; its inputs are data"):
        nd.exp(x, foo=x)
    with pytest.raises(InvalidArgumentError, match="unknown attribute 'foo'"):
        nd.exp(x, foo=1)
    for wrong in (1, [1, 2], np.ones(2)):
        with pytest.raises(
            InvalidArgumentError, match=r"expected an NDArray, as nd.array\(values\)"
        ):
            nd.exp(wrong)
    with pytest.raises(InvalidArgumentError, match=r"(?s)weight is array.*expected an NDArray"):
        nd.FullyConnected(x, weight=np.ones((3, 2)), num_hidden=3, no_bias=True)
    with pytest.raises(AttributeError, match="There is no operator 'no_such'"):
        nd.no_such


def test_out():
    x, y = nd.array([1, 2]), nd.zeros((2,))
    assert nd.exp(x, out=y) is y
    np.testing.assert_allclose(y.asnumpy(), np.exp([1, 2]), rtol=1e-6)
    assert nd.square(x, out=x) is x
    assert x.asnumpy().tolist() == [1, 4]
    parts = [nd.zeros((2, 2)), nd.zeros((2, 2))]
    assert nd.split(nd.ones((2, 4)), num_outputs=2, out=parts) == parts
    assert parts[1].asnumpy().tolist() == [[1, 1], [1, 1]]
    for wrong in (nd.zeros((3,)), nd.zeros((2,), dtype="int32")):
        with pytest.raises(ShapeError, match=r"nd.exp: out is .*, the result float32\[2\]"):
            nd.exp(x, out=wrong)
        assert not wrong.asnumpy().any()
    with pytest.raises(InvalidArgumentError, match="out must be 2 NDArrays"):
        nd.split(nd.ones((2, 4)), num_outputs=2, out=parts[0])


def test_ids_out_of_range_are_cut_as_in_mxnet():
    table, ids = nd.arange(6).reshape((3, 2)), nd.array([5, -1])
    embedded = nd.Embedding(ids, table, input_dim=3, output_dim=2)
    assert embedded.asnumpy().tolist() == [[4, 5], [0, 1]]
    assert ids.asnumpy().tolist() == [5, -1]
    assert nd.take(nd.arange(3), ids).asnumpy().tolist() == [2, 0]
    assert nd.take(nd.arange(3), ids, mode="wrap").asnumpy().tolist() == [2, 2]
    assert nd.pick(nd.arange(4).reshape((2, 2)), ids).asnumpy().tolist() == [1, 2]
    assert not nd.one_hot(ids, 3).asnumpy().any()
    with pytest.raises(DataError, match=r"nd.take: indices\[0\] is 5, but 'take' reads it as"):
        nd.take(nd.arange(3), ids, mode="raise")
    outputs = nd.SoftmaxOutput(nd.ones((2, 2)), nd.array([5, -1]))
    assert outputs.asnumpy().tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_operators_run_as_without_training():
    x = nd.ones((2, 3))
    assert nd.Dropout(x, p=0.5).asnumpy().tolist() == [[1, 1, 1]] * 2
    mean, var = nd.zeros((3,)), nd.ones((3,))
    normed = nd.BatchNorm(x, nd.ones((3,)), nd.zeros((3,)), mean, var)
    np.testing.assert_allclose(normed.asnumpy(), 0.9995004, rtol=1e-6)
    assert mean.asnumpy().tolist() == [0, 0, 0]


def test_random_operators_draw_anew_and_follow_the_seed():
    def draws():
        x = nd.ones((40,))
        return [nd.Dropout(x, p=0.5, mode="always").asnumpy().tolist() for _ in range(2)]

    first = draws()
    assert first[0] != first[1]
    sb.random.seed(3)
    second = draws()
    sb.random.seed(3)
    assert draws() == second != first


def test_methods():
    x = nd.array([[1, 2, 3], [4, 5, 6]])
    assert x.max(axis=1).asnumpy().tolist() == [3, 6]
    assert x.argmax(axis=1).asnumpy().tolist() == [2, 2]
    assert x.norm().shape == (1,)
    assert x.mean().asscalar() == 3.5
    assert x.broadcast_to((2, 3)).shape == (2, 3)
    for name in ops.names():
        if ops.find(name).method == name:
            assert callable(getattr(nd.NDArray, name)), name
    assert nd.NDArray.sum(x).asscalar() == 21
    assert nd.array([1, 2]).broadcast_to((3, 2)).asnumpy().tolist() == [[1, 2]] * 3
    assert [part.shape for part in x.split_v2((1,), axis=1)] == [(2, 1), (2, 2)]


def test_one_compilation_for_each_signature():
    shape = (3, 5, 7)  # no other test has it
    nd.erf(nd.ones(shape))
    before = operator_program.cache_info()
    for _ in range(3):
        nd.erf(nd.ones(shape))
    after = operator_program.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (0, 3)
    nd.erf(nd.ones(shape, dtype="float32")[0:2])
    assert operator_program.cache_info().misses == before.misses + 1


@pytest.mark.parametrize("rows", [2, 400])  # copied into the session's arrays, and bound
def test_results_are_arrays_of_their_own(rows):
    x = nd.ones((rows, 64))
    first = nd.tan(x)
    kept = first.asnumpy()
    second = nd.tan(x * 2)
    np.testing.assert_array_equal(first.asnumpy(), kept)
    np.testing.assert_allclose(second.asnumpy(), np.tan(2), rtol=1e-5)
    first[:] = 0
    np.testing.assert_array_equal(nd.tan(x).asnumpy(), kept)


def test_threads_take_turns():
    wrong = []

    def work(number):
        x = nd.ones((4, 4)) * number
        for _ in range(50):
            if not np.allclose(nd.cos(x).asnumpy(), np.cos(number)):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "int8"])
def test_integers_without_a_kernel_are_computed_in_other_dtypes(dtype):
    a, b = nd.array([7, 8, 0], dtype=dtype), nd.array([2, 3, 5], dtype=dtype)
    for result, expected in [
        (nd.exp(b), [7, 20, 148 if dtype != "int8" else -108]),
        (a.sum(), [15]),
        (a.mean(), [5]),
        (b.prod(), [30]),
        (nd.round(a), [7, 8, 0]),
        (a.argmax(axis=0), [1]),
        (nd.argmin(a, axis=0), [2]),
        (nd.cumsum(a), [7, 15, 15]),
    ]:
        assert result.dtype == dtype
        assert result.asnumpy().tolist() == expected
    large = nd.array([200, 100], dtype="uint8")
    assert large.sum().asnumpy().tolist() == [44]


@pytest.mark.parametrize("name", ["exp", "sort"])
def test_what_the_runtime_refuses(name):
    x = nd.array([1, 0], dtype="bool")
    with pytest.raises(UnsupportedError, match=rf"nd.{name} of bool\[2\]: the runtime refuses it"):
        getattr(nd, name)(x)


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match="dot"):
        nd.dot(nd.ones((2, 3)), nd.ones((2, 3)))


def test_functions_describe_themselves():
    assert {"exp", "FullyConnected", "array", "zeros", "random_gamma"} <= set(dir(nd))
    parameters = inspect.signature(nd.FullyConnected).parameters
    assert list(parameters)[:4] == ["data", "weight", "bias", "num_hidden"]
    assert parameters["weight"].default is inspect.Parameter.empty
    assert parameters["bias"].default is None
    assert "out" in parameters
    text = pydoc.render_doc(nd.FullyConnected)
    assert "num_hidden: an integer; required." in text
    assert "variable" not in text


def test_namespaces():
    x = nd.ones((2, 4))
    assert nd.contrib.div_sqrt_dim(x).asnumpy().tolist() == [[0.5] * 4] * 2
    with pytest.raises(AttributeError, match=r"nd.contrib has no operator 'no_such'"):
        nd.contrib.no_such
    for namespace in ("contrib", "image", "linalg"):
        assert set(ops.in_namespace(namespace)) <= set(dir(getattr(nd, namespace)))
    assert nd.ndarray.NDArray is nd.NDArray
    for name in ops.in_namespace("linalg"):
        assert callable(getattr(nd, f"linalg_{name}"))
    assert nd.sample_normal(nd.zeros((3,)), nd.ones((3,)), shape=(2,)).shape == (3, 2)
    assert nd.random_randint(0, 3, shape=(2,)).dtype == np.int32


def test_operators_in_python():
    @sb.operator.register("triple_of_nd")
    class Triple(sb.operator.CustomOpProp):
        def create_operator(self, ctx, shapes, dtypes):
            return TripleOp()

    class TripleOp(sb.operator.CustomOp):
        def forward(self, is_train, req, in_data, out_data, aux):
            self.assign(out_data[0], req[0], in_data[0] * 3)

    x = nd.ones((2,))
    assert nd.Custom(x, op_type="triple_of_nd").asnumpy().tolist() == [3, 3]
    assert nd.Custom(data=x * 2, op_type="triple_of_nd").asnumpy().tolist() == [6, 6]
