"""``Symbol.simple_bind`` and ``Symbol.bind``: from a symbol and arrays to an executor."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.checks import listing
from symbucket.context import Context, cpu
from symbucket.engine.make_executor import ExecutorOnContext, make_executor
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.providers import share_memory
from symbucket.symbol.symbol import Symbol
from symbucket.types import DType, Shape

REQUESTS = ("write", "add", "null")
GradReq = str | Sequence[str] | Mapping[str, str]


def grad_requests(names: Sequence[str], grad_req: GradReq) -> dict[str, str]:
    """Return "write", "add" or "null" for every argument, from one word, a list or a dict.

    As in MXNet, a dict may name more (which is logged), and what it leaves out is "null".
    """
    if isinstance(grad_req, str):
        requests = dict.fromkeys(names, grad_req)
    elif isinstance(grad_req, Mapping):
        unknown = [n for n in grad_req if n not in names]
        if unknown:
            logging.warning(
                "grad_req names %s; the arguments are %s", listing(unknown), listing(names)
            )
        requests = {n: grad_req.get(n, "null") for n in names}
    else:
        if len(grad_req) != len(names):
            raise InvalidArgumentError(
                f"grad_req has {len(grad_req)} entries for {len(names)} arguments"
            )
        requests = dict(zip(names, grad_req))
    for name, request in requests.items():
        if request not in REQUESTS:
            raise InvalidArgumentError(
                f"grad_req of {name!r} is {request!r}; it must be one of {', '.join(REQUESTS)}"
            )
    return requests


def simple_bind(
    symbol: Symbol,
    ctx: Context | None,
    grad_req: GradReq,
    type_dict: Mapping[str, Any] | None,
    shared_arg_names: Sequence[str] | None,
    shared_exec: ExecutorOnContext | None,
    shared_buffer: dict[str, NDArray] | None,
    shapes: Mapping[str, Sequence[int]],
) -> ExecutorOnContext:
    """Return an executor over new arrays of zeros, or shared ones; see ``Symbol.simple_bind``."""
    context = ctx or cpu()
    names, aux_names = symbol.list_arguments(), symbol.list_auxiliary_states()
    described = {*names, *aux_names}  # MXNet ignores other names
    arg_shapes, _, aux_shapes = symbol.complete_shapes(
        **{n: shape for n, shape in shapes.items() if n in described}
    )
    arg_types, _, aux_types = symbol.complete_types(
        **{n: dtype for n, dtype in (type_dict or {}).items() if n in described}
    )
    requests = grad_requests(names, grad_req)
    shared = _Shared(shared_arg_names or (), shared_exec, shared_buffer, context)
    args = {n: shared.argument(n, s, t) for n, s, t in zip(names, arg_shapes, arg_types)}
    aux = {n: shared.state(n, s, t) for n, s, t in zip(aux_names, aux_shapes, aux_types)}
    for name, array in args.items():
        if array.dtype.kind != "f":
            requests[name] = "null"
    grads = {n: shared.gradient(n, a) for n, a in args.items() if requests[n] != "null"}
    return make_executor(symbol, context, args, grads, requests, aux, symbol.name or "group")


class _Shared:
    """Source of the arrays of a new executor: another one, a dict of arrays, or none."""

    def __init__(
        self,
        names: Sequence[str],
        executor: ExecutorOnContext | None,
        buffer: dict[str, NDArray] | None,
        context: Context,
    ) -> None:
        self._names = set(names)
        self._args = {} if executor is None else executor.arg_dict
        self._grads = {} if executor is None else executor.grads
        self._states = {} if executor is None else executor.aux_dict
        self._buffer = buffer
        self._context = context

    def argument(self, name: str, shape: Shape, dtype: DType) -> NDArray:
        """Return the other executor's array if the name is shared, else one of the buffer's."""
        if name in self._names:
            return self._one_of(self._args, name, shape, dtype)
        buffer = self._buffer
        if buffer is None:
            return NDArray.zeros(shape, dtype, self._context)
        array = self._one_of(buffer, name, shape, dtype)
        return buffer.setdefault(name, array)

    def gradient(self, name: str, argument: NDArray) -> NDArray:
        """Return the gradient that belongs to a shared argument, else a new one."""
        grads = self._grads if name in self._names else {}
        return self._one_of(grads, name, argument.shape, argument.dtype)

    def state(self, name: str, shape: Shape, dtype: DType) -> NDArray:
        """Return the other executor's auxiliary state, else a new one."""
        return self._one_of(self._states, name, shape, dtype)

    def _one_of(
        self, arrays: Mapping[str, NDArray], name: str, shape: Shape, dtype: DType
    ) -> NDArray:
        array = arrays.get(name)
        if array is None:
            return NDArray.zeros(shape, dtype, self._context)
        if (array.shape, array.dtype) != (tuple(shape), dtype):
            raise ShapeError(
                f"simple_bind: {name!r} is to be shared; it has shape {array.shape} and dtype "
                f"{array.dtype}, here it needs {tuple(shape)} and {dtype}"
            )
        return array


def bind(
    symbol: Symbol,
    ctx: Context | None,
    args: Mapping[str, Any] | Sequence[Any],
    args_grad: Mapping[str, Any] | Sequence[Any] | None,
    grad_req: GradReq,
    aux_states: Mapping[str, Any] | Sequence[Any] | None,
) -> ExecutorOnContext:
    """Return an executor over arrays; NDArrays in the context's memory are shared, others copied.

    All CPU contexts have one memory.
    """
    context = ctx or cpu()
    names, aux_names = symbol.list_arguments(), symbol.list_auxiliary_states()
    arg_arrays = _by_name("args", names, args, context, complete=True)
    aux_arrays = _by_name("aux_states", aux_names, aux_states or {}, context, complete=True)
    grads = _by_name("args_grad", names, args_grad or {}, context, complete=False)
    _require_shared(names, args_grad or {}, grads, context)
    requests = grad_requests(names, grad_req)
    for name in names:
        if name not in grads:
            requests[name] = "null"
    arg_shapes, _, aux_shapes = symbol.complete_shapes(
        **{n: a.shape for n, a in arg_arrays.items()}
    )
    for name, shape in [*zip(names, arg_shapes), *zip(aux_names, aux_shapes)]:
        for kind, arrays in (("array", {**arg_arrays, **aux_arrays}), ("gradient", grads)):
            if name in arrays and arrays[name].shape != shape:
                raise ShapeError(
                    f"bind: the {kind} of {name!r} has shape {arrays[name].shape}, the symbol "
                    f"needs {shape}"
                )
    grads = {n: g for n, g in grads.items() if requests[n] != "null"}
    for name, grad in grads.items():
        if grad.dtype != arg_arrays[name].dtype:
            raise InvalidArgumentError(
                f"bind: the gradient of {name!r} has dtype {grad.dtype}, the array "
                f"{arg_arrays[name].dtype}; they must be the same"
            )
    _require_own_memory({**arg_arrays, **aux_arrays}, grads, requests)
    return make_executor(
        symbol, context, arg_arrays, grads, requests, aux_arrays, symbol.name or "group"
    )


def _by_name(
    what: str,
    names: Sequence[str],
    arrays: Mapping[str, Any] | Sequence[Any],
    context: Context,
    complete: bool,
) -> dict[str, NDArray]:
    """Return the arrays of an argument of ``bind`` by name; ``complete``: there is one for each."""
    if not isinstance(arrays, Mapping):
        if len(arrays) != len(names):
            raise InvalidArgumentError(
                f"bind: {what} has {len(arrays)} entries, the symbol needs {len(names)}: "
                f"{', '.join(names)}"
            )
        arrays = {n: a for n, a in zip(names, arrays) if a is not None}
    missing = [n for n in names if arrays.get(n) is None]
    if complete and missing:
        raise InvalidArgumentError(f"bind: {what} lacks {', '.join(missing)}")
    return {n: _on_context(arrays[n], context) for n in names if arrays.get(n) is not None}


def _on_context(values: Any, context: Context) -> NDArray:
    if isinstance(values, NDArray) and share_memory(values.context, context):
        return values
    return NDArray(np.asarray(values), context)


def _require_shared(
    names: Sequence[str], arrays: Any, grads: Mapping[str, NDArray], context: Context
) -> None:
    """Raise InvalidArgumentError for a gradient array that would stay as it is."""
    by_name = arrays if isinstance(arrays, Mapping) else dict(zip(names, arrays))
    for name, grad in grads.items():
        array = by_name[name]
        if isinstance(array, NDArray) and array is not grad:
            raise InvalidArgumentError(
                f"bind: the gradient of {name!r} is on {array.context}, the executor on {context}, "
                "and could not write into it. Make the array there"
            )


def _require_own_memory(
    arrays: Mapping[str, NDArray], grads: Mapping[str, NDArray], requests: Mapping[str, str]
) -> None:
    """Raise InvalidArgumentError if a written gradient would take the place of another array.

    Gradients that are added may lie anywhere: they are computed elsewhere, and added one by one.
    """
    places = []
    for kind, group in (("the array", arrays), ("the gradient", grads)):
        for name, array in group.items():
            if array.size:
                start = array.ortvalue.data_ptr()
                written = kind == "the gradient" and requests[name] == "write"
                places.append((start, start + array.nbytes, f"{kind} of {name!r}", written))
    last = last_written = (0, "")  # of those before, what ends last
    for start, end, what, written in sorted(places):
        end_before, other = last if written else last_written
        if start < end_before:
            raise InvalidArgumentError(
                f"bind: {other} and {what} lie in the same memory, and backward would write one "
                "over the other. Give each gradient memory of its own, or let it be added "
                '(grad_req "add")'
            )
        last = max(last, (end, what))
        if written:
            last_written = max(last_written, (end, what))
