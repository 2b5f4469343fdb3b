"""Outputs and step buffers that executors lay over each other."""

import gc
import itertools
import weakref

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.engine import Executor
from symbucket.errors import StateError
from symbucket.runtime import NDArray
from symbucket.runtime.buffers import OUTPUTS, STASH, Buffers, Pool

RNG = np.random.default_rng(8)


class Listener:
    def __init__(self):
        self.heard = []

    def release_buffers(self, group):
        self.heard.append(group)


def test_two_users_share_one_piece_as_large_as_the_larger_share():
    pool, first, second = Pool(), Listener(), Listener()
    pool.join(first)
    pool.join(second)
    small, large = Buffers(sb.cpu(), pool), Buffers(sb.cpu(), pool)
    small.ensure(OUTPUTS, [("a", (3,), np.float32), ("b", (2, 2), np.int64)])
    small["a"][:] = 1
    assert pool.nbytes == 128  # each starts on a boundary of 64 bytes
    large.ensure(OUTPUTS, [("a", (100,), np.float32)])
    assert pool.nbytes == 448
    assert (first.heard, second.heard) == ([OUTPUTS], [OUTPUTS])
    small.refresh()
    large["a"][:] = np.arange(100)
    np.testing.assert_array_equal(small["a"], [0, 1, 2])
    assert (small["b"].shape, small["b"].dtype) == ((2, 2), np.int64)
    assert small.nbytes == large.nbytes == 0


def test_buffers_of_one_user_never_overlap_and_are_aligned():
    pool = Pool()
    buffers = Buffers(sb.cpu(), pool)
    wanted = []
    for i in range(40):
        shape = tuple(int(d) for d in RNG.integers(0, 5, RNG.integers(0, 4)))
        wanted.append((f"v{i}", shape, RNG.choice([np.float32, np.int64, np.bool_])))
    for some in (wanted[:10], wanted[5:30], wanted[30:]):
        buffers.ensure(STASH, some)
    spans = []
    for name, shape, dtype in wanted:
        view = buffers[name].view()
        assert (view.shape, view.dtype) == (shape, dtype)
        assert view.ctypes.data % 64 == 0 or not view.size
        spans.append((view.ctypes.data, view.ctypes.data + view.nbytes))
    spans = sorted(s for s in spans if s[0] < s[1])
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_without_a_pool_each_buffer_is_by_itself_and_stays():
    buffers = Buffers(sb.cpu(), None)
    buffers.ensure(OUTPUTS, [("a", (3,), np.float32)])
    kept = buffers["a"]
    buffers.ensure(OUTPUTS, [("a", (3,), np.float32), ("b", (5,), np.float32)])
    assert buffers["a"] is kept
    assert buffers.nbytes == 32
    assert buffers.holds(OUTPUTS)


def test_what_was_claimed_is_lost_to_the_next_claim_and_to_growth():
    pool = Pool()
    a, b = Buffers(sb.cpu(), pool), Buffers(sb.cpu(), pool)
    a.ensure(OUTPUTS, [("x", (4,), np.float32)])
    a.claim(OUTPUTS, STASH)
    assert a.holds(OUTPUTS)
    assert a.holds(STASH)
    b.claim(OUTPUTS)
    assert not a.holds(OUTPUTS)
    assert a.holds(STASH)
    b.ensure(OUTPUTS, [("x", (90,), np.float32)])
    assert not b.holds(OUTPUTS)


# Executors --------------------------------------------------------------------------------------


def _executor(rows, pool, parameters, grad_req="write"):
    """Two layers whose output needs a head gradient, so that there is a stash."""
    x = sym.FullyConnected(sym.Variable("data"), num_hidden=6, name="one")
    net = sym.FullyConnected(sym.Activation(x, act_type="tanh"), num_hidden=3, name="two")
    shapes = dict(zip(net.list_arguments(), net.infer_shape(data=(rows, 4))[0]))
    for name, shape in shapes.items():
        if name != "data" and name not in parameters:
            parameters[name] = NDArray(RNG.normal(size=shape).astype(np.float32))
    args = {**parameters, "data": NDArray.zeros((rows, 4))}
    grads = {n: NDArray.zeros(a.shape) for n, a in parameters.items()}
    requests = {n: "null" if n == "data" else grad_req for n in shapes}
    return Executor(net, sb.cpu(), args, grads, requests, {}, f"{rows} rows", pool=pool)


def _step(executor, data, head):
    out = executor.forward(is_train=True, data=data)[0].asnumpy()
    executor.backward(head)
    gradients = [g.asnumpy() for g in executor.grad_dict.values() if g is not None]
    return [out, *gradients]


@pytest.mark.parametrize("grad_req", ["write", "add"])
def test_pooled_executors_compute_what_others_do(grad_req):
    pool, parameters = Pool(), {}
    sizes = [2, 5, 3, 9, 2, 9, 5]
    pooled = {r: _executor(r, pool, parameters, grad_req) for r in set(sizes)}
    plain = {r: _executor(r, None, parameters, grad_req) for r in set(sizes)}
    for rows in sizes:
        data, head = RNG.normal(size=(rows, 4)), RNG.normal(size=(rows, 3))
        results = [_step(e[rows], data, head) for e in (pooled, plain)]
        for a, b in zip(*results):
            np.testing.assert_array_equal(a, b)
    largest = plain[9].buffers.nbytes
    assert pool.nbytes <= largest + 64 * len(largest and plain[9].buffers.arrays)


def test_outputs_and_backward_of_an_overwritten_run_are_refused():
    pool, parameters = Pool(), {}
    a, b = _executor(4, pool, parameters), _executor(2, pool, parameters)
    a.forward(is_train=True, data=np.ones((4, 4)))
    b.forward(is_train=False, data=np.ones((2, 4)))
    with pytest.raises(StateError, match=r"4 rows: the outputs of its last run are gone: another"):
        a.outputs
    a.backward(np.ones((4, 3)))  # an inference leaves the activations alone
    b.forward(is_train=True)
    with pytest.raises(StateError, match=r"the activations of its last run are gone"):
        a.backward(np.ones((4, 3)))
    a.forward(is_train=True)
    a.backward(np.ones((4, 3)))


def test_a_pool_keeps_no_executor_alive():
    pool, parameters = Pool(), {}
    a, b = _executor(4, pool, parameters), _executor(8, pool, parameters)
    for executor in (a, b):
        executor.forward(is_train=True)
    gone = weakref.ref(a)
    del a, executor
    gc.collect()
    assert gone() is None
    b.backward(np.ones((8, 3)))
