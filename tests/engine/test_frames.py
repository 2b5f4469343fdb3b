"""Frames: many runs of one network forward before they are run backwards."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.engine.frames import FrameExecutor
from symbucket.errors import StateError, UnsupportedError
from symbucket.runtime import NDArray
from symbucket.runtime.arena import arena_of

RNG = np.random.default_rng(8)
W, TOTAL = RNG.normal(size=(3, 3)).astype(np.float32), np.ones((3, 3), np.float32)
FLOAT = np.dtype(np.float32)


def executor(adding=()):
    """``y = tanh(x w^T)`` with the gradient of w added up."""
    w = sym.Variable("w")
    symbol = sym.tanh(sym.FullyConnected(sym.Variable("x"), w, num_hidden=3, no_bias=True))
    shared, total = {"w": NDArray(W)}, {"w": NDArray(TOTAL)}
    inputs = {"x": ((2, 3), FLOAT)}
    made = FrameExecutor(symbol, sb.cpu(), shared, inputs, total, ["x"], adding, "test")
    return made, total["w"]


def gradients(x, head):
    """Of w and x, by numpy."""
    flow = head * (1 - np.tanh(x @ W.T) ** 2)
    return flow.T @ x, flow @ W


def inputs(count):
    return [RNG.normal(size=(2, 3)).astype(np.float32) for _ in range(count)]


def backward(made, frame, head, first):
    out = NDArray.empty((2, 3))
    made.backward(frame, {name: NDArray(head) for name in frame.outputs}, {"x": out}, first)
    return out.asnumpy()


def test_every_frame_keeps_its_own_stash():
    made, total = executor()
    xs, heads = inputs(3), inputs(3)
    frames = [made.frame() for _ in xs]
    for frame, x in zip(frames, xs):
        frame.inputs["x"][...] = x
        made.forward(frame, is_train=True)
    for i in (1, 2, 0):  # in any order
        found = backward(made, frames[i], heads[i], first=i == 1)
        np.testing.assert_allclose(found, gradients(xs[i], heads[i])[1], rtol=1e-4, atol=1e-5)
    wanted = sum(gradients(x, head)[0] for x, head in zip(xs, heads))
    np.testing.assert_allclose(total.asnumpy(), wanted, rtol=1e-4, atol=1e-5)
    assert made.builds == {"training": 1}


def test_what_is_added_to_is_not_begun_anew():
    made, total = executor(adding=["w"])
    (x,), (head,) = inputs(1), inputs(1)
    frame = made.frame()
    frame.inputs["x"][...] = x
    made.forward(frame, is_train=True)
    for count in (1, 2):
        backward(made, frame, head, first=True)
        wanted = TOTAL + count * gradients(x, head)[0]
        np.testing.assert_allclose(total.asnumpy(), wanted, rtol=1e-4, atol=1e-5)


def test_a_frame_over_the_output_of_another():
    made, _ = executor()
    first = made.frame()
    (output,) = first.outputs.values()
    second = made.frame({"x": output})
    assert second.inputs["x"] is output
    (x,) = inputs(1)
    first.inputs["x"][...] = x
    for training in (False, True):
        for frame in (first, second):
            made.forward(frame, training)
        (found,) = second.outputs.values()
        wanted = np.tanh(np.tanh(x @ W.T) @ W.T)
        np.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-4, atol=1e-5)


def test_the_stash_is_made_by_the_first_training_run():
    made, _ = executor()
    frame = made.frame()
    made.forward(frame, is_train=False)
    assert not frame.stash
    assert frame.nbytes == 2 * 24
    made.forward(frame, is_train=True)
    stash = dict(frame.stash)
    assert stash
    made.forward(frame, is_train=True)
    assert all(frame.stash[n] is a for n, a in stash.items())


def test_the_arena_grows_to_the_plan():
    made, _ = executor()
    arena = arena_of(sb.cpu())
    largest = arena.needed
    plans = [made.programs.forward.plan.arena, made.programs.backward.plan.arena]
    assert min(plans) > 0
    try:
        arena.release()
        arena.needed = 0
        frame = made.frame()
        made.forward(frame, is_train=True)
        assert arena.needed == plans[0]
        assert arena.reserved >= plans[0]
        backward(made, frame, np.ones((2, 3)), first=True)
        assert arena.needed == max(plans)
        assert arena.reserved >= max(plans)
    finally:
        arena.expect(largest)


def test_backward_needs_a_training_run_of_this_frame():
    made, _ = executor()
    one, other = made.frame(), made.frame()
    made.forward(one, is_train=True)
    made.forward(other, is_train=False)
    with pytest.raises(StateError, match="test: backward needs a forward in training mode"):
        backward(made, other, np.ones((2, 3)), first=True)


def test_a_loss_alone_has_nothing_to_pass_on():
    loss = sym.MakeLoss(sym.Variable("x") * 2)
    made = FrameExecutor(loss, sb.cpu(), {}, {"x": ((2, 3), FLOAT)}, {}, ["x"], name="test")
    with pytest.raises(UnsupportedError, match="no output of the network needs a head gradient"):
        made.forward(made.frame(), is_train=True)
