"""A function for every operator, which computes it at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from symbucket.context import Context, current_context
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.ndarray.call import Call, read_call
from symbucket.ndarray.in_numpy import KERNELS
from symbucket.ndarray.program import operator_program, symbol_of
from symbucket.ndarray.signature import documentation, signature
from symbucket.ops import Operator, find
from symbucket.runtime import NDArray
from symbucket.runtime.providers import provider_of, share_memory
from symbucket.symbol.bounds import InputBounds

Result = NDArray | list[NDArray]


@cache
def operator_function(name: str) -> Callable[..., Result]:
    """Return the function that computes the operator ``name``.

    Raises InvalidArgumentError if there is no such operator.
    """
    record = find(name)

    def function(*args: Any, **kwargs: Any) -> Result:
        return invoke(record, name, args, kwargs)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "symbucket.ndarray"
    function.__doc__ = documentation(record)
    function.__signature__ = signature(record)  # type: ignore[attr-defined]
    return function


def invoke(
    record: type[Operator], called: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Result:
    """Compute an operator as with ``is_train`` false; return its output, or a list of them.

    ``out=``: an array, or a list of them, that the results are written into and that is returned.
    ``ctx=``: where an operator without inputs makes its output. Raises ShapeError if shapes or
    dtypes do not fit, InvalidArgumentError for wrong arguments, UnsupportedError if the runtime
    has no kernel.
    """
    call = read_call(record, called, args, kwargs)
    return written(call.out, called, _compute(call, called))


def _compute(call: Call, called: str) -> list[NDArray]:
    op, inputs = call.op, call.inputs
    context = inputs[0].context if inputs else call.context or current_context()
    for name, array in zip((*op.arguments(), *op.auxiliary()), inputs):
        if not share_memory(array.context, context):
            raise InvalidArgumentError(
                f"nd.{called}: {name} is on {array.context}, the first input on {context}; "
                "x.as_in_context(...) makes a copy there"
            )
    kernel = KERNELS.get(op.op_name)
    if kernel is not None and provider_of(context).host_memory:
        return [inputs[0].beside(kernel(op, *(array.view() for array in inputs)))]
    if op.runs_python:
        return _run_python(op, inputs, context)
    if not op.is_loss:  # the outputs of a loss do not depend on its labels
        inputs = _within_bounds(op, called, inputs)
    return _run(op, inputs, context)


def _run_python(op: Operator, inputs: Sequence[NDArray], context: Context) -> list[NDArray]:
    symbol = symbol_of(op)
    count = len(op.arguments())
    arguments = dict(zip(op.arguments(), inputs[:count]))
    states = dict(zip(op.auxiliary(), inputs[count:]))
    executor = symbol.bind(context, arguments, grad_req="null", aux_states=states)
    return [output.copy() for output in executor.forward()]


def _run(op: Operator, inputs: Sequence[NDArray], context: Context) -> list[NDArray]:
    signature = tuple((array.shape, array.dtype) for array in inputs)
    return operator_program(op, signature, context).run(inputs)


def _within_bounds(op: Operator, called: str, inputs: list[NDArray]) -> list[NDArray]:
    """Return inputs with ids inside their range: cut to it as in MXNet, or checked."""
    bounds = op.index_bounds([array.shape for array in inputs])
    if not bounds:
        return inputs
    within = list(inputs)
    for i, name in enumerate(op.arguments()):
        if name not in bounds or bounds[name].lenient:
            continue
        ids = inputs[i].view()
        if bounds[name].low is None:
            cut = np.clip(np.nan_to_num(ids), 0, bounds[name].high - 1)
            within[i] = NDArray.of(cut.astype(ids.dtype), inputs[i].context)
        else:
            InputBounds(name, op.op_name, bounds[name]).check(ids, f"nd.{called}")
    return within


def written(out: Any, called: str, results: list[NDArray]) -> Result:
    """Return the results, or what ``out=`` names after they are written there."""
    if out is None:
        return results[0] if len(results) == 1 else results
    targets = list(out) if isinstance(out, (list, tuple)) else [out]
    if len(targets) != len(results) or not all(isinstance(t, NDArray) for t in targets):
        raise InvalidArgumentError(f"nd.{called}: out must be {len(results)} NDArrays")
    for target, result in zip(targets, results):
        if (target.shape, target.dtype) != (result.shape, result.dtype):
            raise ShapeError(
                f"nd.{called}: out is {target.dtype}{list(target.shape)}, the result "
                f"{result.dtype}{list(result.shape)}"
            )
    for target, result in zip(targets, results):
        target[...] = result
    return targets[0] if len(targets) == 1 else targets
