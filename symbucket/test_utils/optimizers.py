"""Two optimizers against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.errors import InvalidArgumentError
from symbucket.optimizer import Optimizer
from symbucket.runtime import NDArray
from symbucket.test_utils.arrays import assert_almost_equal
from symbucket.test_utils.settings import default_context


def compare_ndarray_tuple(t1: Any, t2: Any, rtol: Any = None, atol: Any = None) -> None:
    """Raise AssertionError unless two optimizer states, nested tuples of arrays, are equal."""
    if t1 is None or t2 is None:
        return
    if isinstance(t1, (tuple, list)):
        for left, right in zip(t1, t2):
            compare_ndarray_tuple(left, right, rtol, atol)
        return
    assert_almost_equal(t1, t2, rtol, atol)


def compare_optimizer(
    opt1: Optimizer,
    opt2: Optimizer,
    shape: Any,
    dtype: Any,
    w_stype: str = "default",
    g_stype: str = "default",
    rtol: float = 1e-4,
    atol: float = 1e-5,
    compare_states: bool = True,
    ntensors: int = 1,
) -> None:
    """Raise AssertionError unless two optimizers make the same step on the same random weight.

    Args:
        opt1, opt2: the optimizers.
        shape: the weight's shape, or a list of shapes for weights that are updated together.
        dtype: its dtype.
        w_stype, g_stype: kinds of weight and gradient; "default" (dense) is the only one here.
        rtol, atol: tolerances.
        compare_states: whether their states are compared too.
        ntensors: how many weights, where ``shape`` is a list.
    """
    for name, stype in (("w_stype", w_stype), ("g_stype", g_stype)):
        if stype != "default":
            raise InvalidArgumentError(f"{name} is {stype!r}; there are dense arrays only")
    shapes = list(shape) if isinstance(shape, list) else [shape] * ntensors
    weights = [_twins(s, dtype) for s in shapes]
    gradients = [_twins(s, dtype) for s in shapes]
    indices = list(range(len(shapes)))
    states = []
    for side, optimizer in enumerate((opt1, opt2)):
        mine = [pair[side] for pair in weights]
        states.append([optimizer.create_state_multi_precision(i, w) for i, w in zip(indices, mine)])
    if compare_states:
        compare_ndarray_tuple(states[0], states[1])
    for side, optimizer in enumerate((opt1, opt2)):
        _update(optimizer, indices, weights, gradients, states[side], side)
    if compare_states:
        compare_ndarray_tuple(states[0], states[1], rtol, atol)
    for left, right in weights:
        assert_almost_equal(left, right, rtol, atol)


def _twins(shape: Any, dtype: Any) -> tuple[NDArray, NDArray]:
    """Return two arrays of the same uniform numbers."""
    values = seeding.next_stream("test_utils").uniform(size=shape)
    first = NDArray.of(np.asarray(values, dtype), default_context())
    return first, first.copy()


def _update(
    optimizer: Optimizer,
    indices: Sequence[int],
    weights: Sequence[tuple[NDArray, NDArray]],
    gradients: Sequence[tuple[NDArray, NDArray]],
    states: Sequence[Any],
    side: int,
) -> None:
    for index, weight, gradient, state in zip(indices, weights, gradients, states):
        optimizer.update_multi_precision(index, weight[side], gradient[side], state)
