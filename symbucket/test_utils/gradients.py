"""A symbol's gradients against finite differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.context import Context
from symbucket.engine import Executor
from symbucket.symbol import Symbol
from symbucket.test_utils.arrays import assert_almost_equal
from symbucket.test_utils.random_values import random_arrays
from symbucket.test_utils.settings import default_dtype, default_numeric_eps, tolerance
from symbucket.test_utils.symbols import Location, bound, cast_by_name, refuse_sparse
from symbucket.types import Array


def numeric_grad(
    executor: Executor,
    location: Mapping[str, Any],
    aux_states: Mapping[str, Any] | None = None,
    eps: float = 1e-4,
    use_forward_train: bool = True,
    dtype: Any = None,
) -> dict[str, Array]:
    """Return the gradients of the sum of the first output, by central differences.

    ``location`` has an array for each argument to differentiate; an element is moved by ``eps / 2``
    either way. The executor's arguments are as before afterwards. The arguments' own dtypes
    count, whatever ``dtype``.
    """

    def value() -> float:
        for name, array in (aux_states or {}).items():
            executor.aux_dict[name][...] = array
        outputs = executor.forward(is_train=use_forward_train)
        return float(np.sum(outputs[0].view(), dtype=np.float64))

    gradients: dict[str, Array] = {}
    for name, start in location.items():
        point = np.array(start, executor.arg_dict[name].dtype)
        gradient = np.zeros(point.shape, np.float64)
        for index in np.ndindex(*point.shape):
            ends = []
            for step in (eps / 2, -eps / 2):
                moved = point.copy()
                moved[index] += step
                executor.arg_dict[name][...] = moved
                ends.append((value(), float(moved[index])))
            # What the element really moved by, after rounding.
            gradient[index] = (ends[0][0] - ends[1][0]) / (ends[0][1] - ends[1][1])
        executor.arg_dict[name][...] = point
        gradients[name] = gradient
    return gradients


def check_numeric_gradient(
    sym: Symbol,
    location: Location,
    aux_states: Location | None = None,
    numeric_eps: Any = None,
    rtol: Any = 1e-2,
    atol: Any = None,
    grad_nodes: Sequence[str] | Mapping[str, str] | None = None,
    use_forward_train: bool = True,
    ctx: Context | None = None,
    grad_stype_dict: Mapping[str, str] | None = None,
    dtype: Any = None,
) -> None:
    """Compare gradients of a random projection of the first output with finite differences.

    Args:
        sym: the network; its first output must not be a loss, whose gradient is its own.
        location: a value for every argument, by name or in the order of ``list_arguments``.
        aux_states: likewise for the auxiliary states.
        numeric_eps: how far an element is moved; by default what suits the dtype.
        rtol, atol: tolerances of the comparison.
        grad_nodes: names of the arguments to check; all of floating dtype by default. A mapping
            also says the request ("write", "add", "null") for each.
        use_forward_train: whether the differences are taken in training mode.
        ctx: where to run.
        grad_stype_dict: kinds of the gradients; "default" (dense) is the only one here.
        dtype: that of arguments that are numpy arrays, float32 by default; NDArrays keep theirs.

    Raises AssertionError with the argument's name if a gradient differs.
    """
    # Imported here: the DSL's functions are made on demand.
    from symbucket import symbol as dsl

    refuse_sparse(grad_stype_dict, "grad_stype_dict")
    target = np.dtype(dtype or default_dtype())
    values = cast_by_name(location, sym.list_arguments(), "location", target)
    states = cast_by_name(aux_states or {}, sym.list_auxiliary_states(), "aux_states", target)
    requests = dict(grad_nodes) if isinstance(grad_nodes, Mapping) else None
    if requests is None:
        names = grad_nodes if grad_nodes is not None else list(values)
        requests = {n: "write" for n in names if values[n].dtype.kind == "f"}
    _, shapes, _ = sym.complete_shapes(**{n: a.shape for n, a in values.items()})
    _, dtypes, _ = sym.infer_type(**{n: a.dtype for n, a in values.items()})
    # Away from zero: a small weight would hide what it weighs.
    weights = np.abs(random_arrays(shapes[0])) + 0.1
    weighted = dsl.broadcast_mul(sym[0], dsl.Variable("_projection"), name="projected")
    projection = weights.astype(dtypes[0] if dtypes else target)
    executor = bound(
        weighted,
        {**values, "_projection": projection},
        states,
        ctx,
        {**requests, "_projection": "null"},
        "asnumpy",
    )
    start = {n: np.zeros_like(values[n]) for n in requests}
    for name, request in requests.items():
        if request == "add":
            start[name] = np.asarray(random_arrays(values[name].shape), values[name].dtype) / 100
            executor.grads[name][...] = start[name]
    executor.forward(is_train=True)
    executor.backward([np.ones(o.shape, o.dtype) for o in executor.outputs])
    symbolic = {n: executor.grads[n].asnumpy() for n, r in requests.items() if r != "null"}
    eps = tolerance(np.dtype(executor.outputs[0].dtype), numeric_eps, default_numeric_eps())
    points = {n: values[n] for n in symbolic}
    numeric = numeric_grad(executor, points, states, eps, use_forward_train)
    for name, gradient in symbolic.items():
        labels = (f"finite difference of {name}", f"gradient of {name}")
        difference = numeric[name].astype(gradient.dtype)
        limit = atol
        if limit is None and gradient.dtype == np.float64:
            limit = 1e-3  # MXNet's default, 1e-20, no finite difference meets
        assert_almost_equal(difference, gradient - start[name], rtol, limit, labels)
