"""``Executor.reshape``: another executor, for other shapes, over the same memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.providers import provider_of
from symbucket.types import Shape

if TYPE_CHECKING:
    from symbucket.engine.executor import Executor


def reshaped(executor: Executor, shapes: Mapping[str, Sequence[int]]) -> Executor:
    """Return what ``Executor.reshape`` returns."""
    names = executor.symbol.list_arguments()
    arg_shapes, _, aux_shapes = executor.symbol.complete_shapes(**shapes)
    args, grads, aux = {}, {}, {}
    for name, shape in zip(names, arg_shapes):
        array = executor.arg_dict[name]
        args[name] = _resized(array, shape)
        if name in executor.grads:
            grads[name] = _resized(executor.grads[name], shape)
    for name, shape in zip(executor.symbol.list_auxiliary_states(), aux_shapes):
        aux[name] = _resized(executor.aux_dict[name], shape)
    other = type(executor)(
        executor.symbol,
        executor.context,
        args,
        grads,
        executor.grad_req,
        aux,
        executor.name,
        executor.options,
        noise_clock=executor._noise_clock,
    )
    own = dict(zip(executor.unique_output_names, executor.outputs))
    for name, (shape, dtype) in other.output_types.items():
        if own[name].dtype == dtype and math.prod(shape) <= own[name].size:
            other.buffers.adopt(name, _beginning(own[name], shape))
    return other


def _resized(array: NDArray, shape: Shape) -> NDArray:
    if array.shape == shape:
        return array
    if math.prod(shape) <= array.size:
        return _beginning(array, shape)
    return NDArray.zeros(shape, array.dtype, array.context)


def _beginning(array: NDArray, shape: Shape) -> NDArray:
    """Return the first elements of an array's memory; a copy where memory is on a device."""
    values = array.view().reshape(-1)[: math.prod(shape)].reshape(shape)
    if provider_of(array.context).host_memory:
        return NDArray.over(values)
    return NDArray.of(values, array.context)
