"""A symbol's outputs and gradients against given values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.context import Context
from symbucket.engine import Executor
from symbucket.errors import InvalidArgumentError
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.test_utils.arrays import assert_almost_equal
from symbucket.test_utils.random_values import random_arrays
from symbucket.test_utils.settings import default_context, default_dtype, numpy_of
from symbucket.types import Array

Location = Mapping[str, Any] | Sequence[Any]


def simple_forward(
    sym: Symbol, ctx: Context | None = None, is_train: bool = False, **inputs: Any
) -> Any:
    """Run ``sym`` on arrays given by name; return its output, or a list if it has several."""
    executor = bound(sym, inputs, None, ctx, "null")
    outputs = [o.asnumpy() for o in executor.forward(is_train=is_train)]
    return outputs[0] if len(outputs) == 1 else outputs


def check_symbolic_forward(
    sym: Symbol,
    location: Location,
    expected: Location,
    rtol: Any = None,
    atol: Any = None,
    aux_states: Location | None = None,
    ctx: Context | None = None,
    equal_nan: bool = False,
    dtype: Any = None,
) -> list[Array]:
    """Compare the outputs in inference mode with ``expected``; return the outputs.

    ``dtype`` is that of the arguments that are numpy arrays, float32 by default; "asnumpy" leaves
    each its own. NDArrays always keep theirs.
    """
    executor = bound(sym, location, aux_states, ctx, "null", dtype)
    outputs = [o.asnumpy() for o in executor.forward(is_train=False)]
    by_name = named(expected, sym.list_outputs(), "expected")
    for name, output in zip(sym.list_outputs(), outputs):
        if name in by_name:
            labels = (f"expected {name}", f"output {name}")
            assert_almost_equal(by_name[name], output, rtol, atol, labels, equal_nan)
    return outputs


def check_symbolic_backward(
    sym: Symbol,
    location: Location,
    out_grads: Any,
    expected: Location,
    rtol: Any = None,
    atol: Any = None,
    aux_states: Location | None = None,
    grad_req: str | Sequence[str] | Mapping[str, str] = "write",
    ctx: Context | None = None,
    grad_stypes: Mapping[str, str] | None = None,
    equal_nan: bool = False,
    dtype: Any = None,
) -> dict[str, Array]:
    """Compare gradients with ``expected`` (for the head gradients ``out_grads``); return them.

    With the request "add" a gradient starts at random values, to which ``expected`` is added.
    ``dtype`` is as for ``check_symbolic_forward``; all gradients are dense, so of ``grad_stypes``
    only "default" is taken.
    """
    refuse_sparse(grad_stypes, "grad_stypes")
    arguments = sym.list_arguments()
    by_name = named(expected, arguments, "expected")
    executor = bound(sym, location, aux_states, ctx, grad_req, dtype)
    start: dict[str, Any] = {}
    for name, array in executor.grads.items():
        start[name] = 0.0
        if executor.grad_req[name] == "add":
            start[name] = np.asarray(random_arrays(array.shape), array.dtype)
            array[...] = start[name]
    executor.forward(is_train=True)
    heads = out_grads
    if isinstance(out_grads, Mapping):
        heads = [out_grads[name] for name in sym.list_outputs()]
    executor.backward(heads)
    gradients = {name: array.asnumpy() for name, array in executor.grads.items()}
    for name, value in by_name.items():
        if name in gradients:
            labels = (f"expected gradient of {name}", f"gradient of {name}")
            assert_almost_equal(value + start[name], gradients[name], rtol, atol, labels, equal_nan)
    return gradients


def bound(
    sym: Symbol,
    location: Location,
    aux_states: Location | None,
    ctx: Context | None,
    grad_req: Any,
    dtype: Any = None,
) -> Executor:
    """Return an executor on copies of the arrays, with gradients for what is of floating dtype."""
    values = cast_by_name(location, sym.list_arguments(), "location", dtype)
    states = cast_by_name(aux_states or {}, sym.list_auxiliary_states(), "aux_states", dtype)
    if isinstance(grad_req, (list, tuple)):
        grad_req = dict(zip(sym.list_arguments(), grad_req))
    gradients = {
        name: np.zeros_like(array)
        for name, array in values.items()
        if array.dtype.kind == "f"
        and (grad_req if isinstance(grad_req, str) else grad_req.get(name, "null")) != "null"
    }
    where = ctx or default_context()
    arrays = [  # NDArrays keep their dtypes; of numpy's, float64 would become float32
        {name: NDArray.of(array, where) for name, array in group.items()}
        for group in (values, gradients, states)
    ]
    executor: Executor = sym.bind(where, arrays[0], arrays[1], grad_req, arrays[2])
    return executor


def named(values: Location, names: Sequence[str], what: str) -> dict[str, Array]:
    """Return numpy arrays by name, of values by name or in the order of ``names``."""
    if not isinstance(values, Mapping):
        if len(values) != len(names):
            raise InvalidArgumentError(
                f"{what} has {len(values)} arrays; expected {len(names)}: {', '.join(names)}"
            )
        values = dict(zip(names, values))
    return {name: numpy_of(value) for name, value in values.items()}


def cast_by_name(
    values: Location, names: Sequence[str], what: str, dtype: Any = None
) -> dict[str, Array]:
    """Return copies by name: numpy arrays in ``dtype`` (see above), NDArrays in their own."""
    originals = values if isinstance(values, Mapping) else dict(zip(names, values))
    arrays = named(values, names, what)
    if isinstance(dtype, str) and dtype == "asnumpy":
        return {name: np.array(array) for name, array in arrays.items()}
    target = np.dtype(dtype or default_dtype())
    return {
        name: np.array(array, array.dtype if isinstance(originals[name], NDArray) else target)
        for name, array in arrays.items()
    }


def refuse_sparse(stypes: Mapping[str, str] | None, what: str) -> None:
    """Raise InvalidArgumentError if an array is to be of another kind than dense."""
    for name, stype in (stypes or {}).items():
        if stype != "default":
            raise InvalidArgumentError(
                f"{what}: {stype!r} for {name!r}; gradients are dense ('default') only"
            )
