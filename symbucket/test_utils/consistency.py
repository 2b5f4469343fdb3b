"""One symbol against another, on other devices or in other dtypes, and against the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.context import Context
from symbucket.engine import Executor
from symbucket.errors import InvalidArgumentError
from symbucket.io import DataIter
from symbucket.symbol import Symbol
from symbucket.test_utils.arrays import assert_almost_equal
from symbucket.test_utils.settings import default_context
from symbucket.types import Array


def check_consistency(
    sym: Symbol | Sequence[Symbol],
    ctx_list: Sequence[Mapping[str, Any]],
    scale: float = 1.0,
    grad_req: Any = "write",
    arg_params: Mapping[str, Any] | None = None,
    aux_params: Mapping[str, Any] | None = None,
    rtol: Any = None,
    atol: Any = None,
    raise_on_err: bool = True,
    ground_truth: Mapping[str, Any] | None = None,
    equal_nan: bool = False,
    use_uniform: bool = False,
    rand_type: Any = np.float64,
) -> dict[str, Any]:
    """Compare outputs and gradients of symbols that are bound in several ways.

    Args:
        sym: one symbol for all, or one for each way; arguments and outputs have the same names.
        ctx_list: keyword arguments of ``simple_bind`` for each way: ``ctx``, shapes, ``type_dict``.
        scale: standard deviation of the random arguments (with ``use_uniform``: their range).
        grad_req: requests of the gradients; "null" compares the outputs only.
        arg_params, aux_params: values by name; others are random, or zero for auxiliary states.
        rtol, atol: tolerances, numbers or by dtype; by default those of the less precise dtype.
        raise_on_err: whether a difference raises AssertionError, or is only printed.
        ground_truth: outputs and gradients by name; by default those of the most precise way.
        equal_nan: whether NaN equals NaN.
        rand_type: the dtype that random values are rounded to.

    Returns what the others were compared with, NDArrays by name.
    """
    symbols = [sym] * len(ctx_list) if isinstance(sym, Symbol) else list(sym)
    if len(symbols) != len(ctx_list) or len(ctx_list) < 2:
        raise InvalidArgumentError(
            f"check_consistency has {len(symbols)} symbols and {len(ctx_list)} ways to bind them; "
            "expected one symbol, or one for each of two or more ways"
        )
    executors = [s.simple_bind(grad_req=grad_req, **way) for s, way in zip(symbols, ctx_list)]
    _fill(executors, arg_params or {}, aux_params or {}, scale, use_uniform, rand_type)
    best = int(np.argmax([np.dtype(e.outputs[0].dtype).itemsize for e in executors]))
    names = symbols[0].list_outputs()

    for executor in executors:
        executor.forward(is_train=False)
    truth = dict(ground_truth or zip(names, executors[best].outputs))
    truth = {name: array.copy() for name, array in truth.items()}
    compared = [e for i, e in enumerate(executors) if i != best or ground_truth is not None]
    for executor in compared:
        _compare(dict(zip(names, executor.outputs)), truth, rtol, atol, equal_nan, raise_on_err)
    if grad_req == "null":
        return truth

    for executor in executors:
        executor.forward(is_train=True)
        executor.backward([_head(o) for o in executor.outputs])
    if ground_truth is None:
        trained = executors[best]
        truth = dict(zip(names, trained.outputs))
        truth.update({n: a for n, a in trained.grad_dict.items() if a is not None})
    for executor in compared:
        results = dict(zip(names, executor.outputs))
        results.update({n: a for n, a in executor.grad_dict.items() if a is not None})
        _compare(results, truth, rtol, atol, equal_nan, raise_on_err)
    return truth


def _fill(
    executors: Sequence[Executor],
    arguments: Mapping[str, Any],
    states: Mapping[str, Any],
    scale: float,
    use_uniform: bool,
    rand_type: Any,
) -> None:
    generator = seeding.next_stream("test_utils")
    values = dict(arguments)
    for name, array in sorted(executors[0].arg_dict.items()):
        if name not in values:
            drawn = (
                generator.uniform(-0.92 * scale, 0.92 * scale, array.shape)
                if use_uniform
                else generator.normal(0.0, scale, array.shape)
            )
            values[name] = drawn.astype(rand_type)
    for executor in executors:
        for name, array in executor.arg_dict.items():
            array[:] = values[name]
        for name, array in executor.aux_dict.items():
            array[:] = states.get(name, 0)
        for gradient in executor.grads.values():
            gradient[:] = 0


def _head(output: Any) -> Array:
    """Return the gradient that the outputs get: themselves, as a loss of half their squares."""
    return np.array(output.asnumpy())


def _compare(
    results: Mapping[str, Any],
    truth: Mapping[str, Any],
    rtol: Any,
    atol: Any,
    equal_nan: bool,
    raise_on_err: bool,
) -> None:
    for name, array in results.items():
        if name not in truth:
            continue
        labels = (name, f"{name} of the most precise")
        try:
            assert_almost_equal(array, truth[name], rtol, atol, labels, equal_nan)
        except AssertionError as error:
            if raise_on_err:
                raise
            print(error)


def check_speed(
    sym: Symbol,
    location: Mapping[str, Any] | None = None,
    ctx: Context | None = None,
    N: int = 20,
    grad_req: Any = "write",
    typ: str = "whole",
    **kwargs: Any,
) -> float:
    """Return the seconds that one run takes, on average over ``N`` after one that is not timed.

    Args:
        sym: the symbol to bind.
        location: values by name; random ones, of the shapes in ``kwargs``, without it.
        ctx: where to run.
        N: how many runs are timed.
        grad_req: requests of the gradients.
        typ: "whole" for forward and backward, "forward" for inference alone.
        kwargs: shapes, for ``simple_bind``.
    """
    if typ not in ("whole", "forward"):
        raise InvalidArgumentError(f"typ is {typ!r}; expected 'whole' or 'forward'")
    shapes = kwargs if location is None else {n: np.shape(v) for n, v in location.items()}
    executor = sym.simple_bind(ctx=ctx or default_context(), grad_req=grad_req, **shapes)
    _fill([executor], location or {}, {}, 1.0, False, np.float32)
    begun = 0.0
    for turn in range(N + 1):
        if turn == 1:
            begun = time.perf_counter()
        executor.forward(is_train=typ == "whole")
        if typ == "whole":
            executor.backward(list(executor.outputs))
        for output in executor.outputs:
            output.wait_to_read()
    return (time.perf_counter() - begun) / N


def same_symbol_structure(sym1: Symbol, sym2: Symbol) -> bool:
    """Return whether two symbols consist of the same operators in the same order."""
    nodes = [json.loads(s.tojson())["nodes"] for s in (sym1, sym2)]
    return all(left["op"] == right["op"] for left, right in zip(*nodes))


class DummyIter(DataIter):
    """An endless iterator over the first batch of another: its cost is that of no iterator."""

    def __init__(self, real_iter: DataIter) -> None:
        super().__init__(real_iter.batch_size)
        self.real_iter = real_iter
        self.provide_data = real_iter.provide_data
        self.provide_label = real_iter.provide_label
        self.the_batch = next(iter(real_iter))

    def next(self) -> Any:
        """Return the one batch."""
        return self.the_batch

    def reset(self) -> None:
        """Do nothing: there is no end to come back from."""
