"""foreach, while_loop and cond of arrays, against those of symbols."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from symbucket import nd, sym
from symbucket.errors import InvalidArgumentError


def _body(data: Any, states: Any) -> Any:
    (x, (y,)), (a, b) = data, states
    return [x * a, [y + b]], [a + y, b * x]


def test_foreach_is_that_of_symbols() -> None:
    rng = np.random.default_rng(0)
    arrays = {n: rng.uniform(-1, 1, (3, 2)).astype(np.float32) for n in "xy"}
    arrays |= {n: rng.uniform(-1, 1, 2).astype(np.float32) for n in "ab"}
    x, y, a, b = (sym.Variable(n) for n in "xyab")
    (first, (second,)), states = sym.contrib.foreach(_body, [x, [y]], [a, b])
    expected = sym.Group([first, second, *states]).eval(**arrays)
    x, y, a, b = (nd.array(arrays[n]) for n in "xyab")
    (first, (second,)), states = nd.contrib.foreach(_body, [x, [y]], [a, b])
    for value, one in zip([first, second, *states], expected, strict=True):
        np.testing.assert_allclose(value.asnumpy(), one.asnumpy(), rtol=1e-6)


def test_while_loop_is_that_of_symbols() -> None:
    def func(i: Any, a: Any) -> Any:
        return [a * i], [i + 1, a * 2]

    (rows,), (i, a) = nd.contrib.while_loop(
        lambda i, a: i < 3, func, [nd.zeros(1), nd.ones(2)], max_iterations=5
    )
    np.testing.assert_array_equal(rows.asnumpy()[:, 0], [0, 2, 8, 0, 0])
    assert (i.asscalar(), a.asnumpy().tolist()) == (3, [8, 8])
    rows, i = nd.contrib.while_loop(lambda i: i < 2, lambda i: (i, i + 1), nd.zeros(1), 2)
    assert rows.asnumpy().tolist() == [[0], [1]]
    assert i.asscalar() == 2
    rows, i = nd.contrib.while_loop(lambda i: i < 0, lambda i: (i, i + 1), nd.zeros(1), 2)
    assert rows == []
    assert i.asscalar() == 0


def test_cond_runs_one_branch() -> None:
    def never() -> Any:
        raise AssertionError("the branch that is not chosen")

    assert nd.contrib.cond(nd.ones(1), lambda: 7, never) == 7
    assert nd.contrib.cond(nd.zeros(1), never, lambda: 7) == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nd.contrib.foreach(_body, 3, []), "data must be an NDArray or a"),
        (lambda: nd.contrib.foreach(_body, [nd.ones(2), nd.ones(3)], []), "one number of steps"),
        (lambda: nd.contrib.foreach(lambda d, s: d, nd.ones(2), []), "must return .outputs, new"),
        (lambda: nd.contrib.while_loop(lambda x: x, lambda x: x, nd.ones(1)), "max_iterations"),
        (lambda: nd.contrib.while_loop(lambda x: x, lambda x: x, [], 2), "one or more"),
        (lambda: nd.contrib.cond(nd.ones(2), lambda: 1, lambda: 2), "one number"),
        (lambda: nd.contrib.cond(True, lambda: 1, lambda: 2), "one number"),
    ],
)
def test_mistakes(call: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        call()
