"""Helpers for tests of operators and networks, as ``mx.test_utils``.

They compare arrays with tolerances that fit their dtypes, draw random shapes and arrays (from
``symbucket.random``, so ``symbucket.random.seed`` repeats them), and check a symbol's outputs and
gradients against given values or against finite differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket import seeding
from symbucket.context import Context, cpu, gpu
from symbucket.engine import Executor
from symbucket.errors import InvalidArgumentError
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.types import Array

__all__ = [
    "almost_equal",
    "assert_almost_equal",
    "assert_exception",
    "check_numeric_gradient",
    "check_symbolic_backward",
    "check_symbolic_forward",
    "default_context",
    "default_dtype",
    "list_gpus",
    "numeric_grad",
    "rand_ndarray",
    "rand_shape_2d",
    "rand_shape_3d",
    "rand_shape_nd",
    "random_arrays",
    "same",
    "set_default_context",
    "simple_forward",
]

Location = Mapping[str, Any] | Sequence[Any]

_RTOL = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-5}
_ATOL = {"float16": 1e-1, "float32": 1e-3, "float64": 1e-20}


class _Default:
    context: Context | None = None


def default_context() -> Context:
    """Return the context that the checks run on unless they get ``ctx=``; the CPU at first."""
    return _Default.context or cpu()


def set_default_context(ctx: Context | None) -> None:
    """Make the checks run on ``ctx`` unless they get one; None: on the CPU."""
    _Default.context = ctx


def default_dtype() -> type[np.float32]:
    """Return the dtype of arrays that are not given one."""
    return np.float32


def list_gpus() -> list[int]:
    """Return the numbers of the GPUs that the installed runtime can use."""
    from symbucket.runtime.backend import is_available, ort
    from symbucket.runtime.providers import provider_of

    provider = provider_of(gpu()).name
    if not is_available(provider):
        return []
    get_devices = getattr(ort, "get_ep_devices", None)  # since onnxruntime 1.22
    names = [] if get_devices is None else [device.ep_name for device in get_devices()]
    return list(range(names.count(provider) or 1))


# Arrays ------------------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    """Return whether two arrays have equal elements (NaN equals nothing)."""
    return bool(np.array_equal(_numpy(a), _numpy(b)))


def almost_equal(
    a: Any,
    b: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
) -> bool:
    """Return whether ``abs(a - b) <= atol + rtol * abs(b)`` everywhere.

    Without tolerances those of the less precise of the two dtypes are used.
    """
    left, right = _numpy(a), _numpy(b)
    rtol, atol = _tolerances(left, right, rtol, atol)
    if left.shape != right.shape:
        return False
    return bool(np.allclose(left, right, rtol=rtol, atol=atol, equal_nan=equal_nan))


def assert_almost_equal(
    a: Any,
    b: Any,
    rtol: float | None = None,
    atol: float | None = None,
    names: tuple[str, str] = ("a", "b"),
    equal_nan: bool = False,
) -> None:
    """Raise AssertionError, with the largest differences, unless ``almost_equal``.

    Unlike in ``numpy.testing``, arrays of different shapes are never equal.
    """
    left, right = _numpy(a), _numpy(b)
    rtol, atol = _tolerances(left, right, rtol, atol)
    title = f"{names[0]} and {names[1]} differ"
    if left.shape != right.shape:
        raise AssertionError(f"{title}: shapes {left.shape} and {right.shape}")
    np.testing.assert_allclose(
        left, right, rtol=rtol, atol=atol, equal_nan=equal_nan, err_msg=title
    )


def assert_exception(
    f: Callable[..., Any], exception_type: type[BaseException], *args: Any, **kwargs: Any
) -> None:
    """Raise AssertionError unless ``f(*args, **kwargs)`` raises ``exception_type``."""
    try:
        f(*args, **kwargs)
    except exception_type:
        return
    name = getattr(f, "__name__", repr(f))
    raise AssertionError(f"{name} did not raise {exception_type.__name__}")


def rand_shape_2d(dim0: int = 10, dim1: int = 10) -> tuple[int, ...]:
    """Return a random shape of two axes of sizes from 1 to ``dim0`` and ``dim1``."""
    return _shape(dim0, dim1)


def rand_shape_3d(dim0: int = 10, dim1: int = 10, dim2: int = 10) -> tuple[int, ...]:
    """Return a random shape of three axes of sizes from 1 to the given ones."""
    return _shape(dim0, dim1, dim2)


def rand_shape_nd(num_dim: int, dim: int = 10) -> tuple[int, ...]:
    """Return a random shape of ``num_dim`` axes of sizes from 1 to ``dim``."""
    return _shape(*[dim] * num_dim)


def random_arrays(*shapes: Sequence[int]) -> Any:
    """Return float32 arrays of standard normal numbers: one for one shape, else a list."""
    generator = seeding.next_stream("test_utils")
    arrays = [np.asarray(generator.normal(size=tuple(s)), np.float32) for s in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def rand_ndarray(
    shape: Sequence[int], stype: str = "default", dtype: npt.DTypeLike | None = None
) -> NDArray:
    """Return an NDArray of standard normal numbers on the default context."""
    if stype != "default":
        raise InvalidArgumentError(
            f"rand_ndarray: stype is {stype!r}; there are dense arrays ('default') only"
        )
    values = random_arrays(shape)
    return NDArray.of(values.astype(dtype or default_dtype()), default_context())


# Symbols -----------------------------------------------------------------------------------------


def simple_forward(
    sym: Symbol, ctx: Context | None = None, is_train: bool = False, **inputs: Any
) -> Any:
    """Run ``sym`` on arrays given by name; return its output, or a list if it has several."""
    executor = _bound(sym, inputs, None, ctx, "null")
    outputs = [o.asnumpy() for o in executor.forward(is_train=is_train)]
    return outputs[0] if len(outputs) == 1 else outputs


def numeric_grad(
    executor: Executor,
    location: Mapping[str, Any],
    aux_states: Mapping[str, Any] | None = None,
    eps: float = 1e-4,
    use_forward_train: bool = True,
) -> dict[str, Array]:
    """Return the gradients of the sum of the first output, by central differences.

    ``location`` has an array for each argument to differentiate; an element is moved by ``eps / 2``
    either way. The executor's arguments are as before afterwards.
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
    numeric_eps: float = 1e-3,
    rtol: float = 1e-2,
    atol: float | None = None,
    grad_nodes: Sequence[str] | Mapping[str, str] | None = None,
    use_forward_train: bool = True,
    ctx: Context | None = None,
) -> None:
    """Compare gradients of a random projection of the first output with finite differences.

    Args:
        sym: the network; its first output must not be a loss, whose gradient is its own.
        location: a value for every argument, by name or in the order of ``list_arguments``.
        aux_states: likewise for the auxiliary states.
        numeric_eps: how far an element is moved.
        rtol, atol: tolerances of the comparison.
        grad_nodes: names of the arguments to check; all of floating dtype by default. A mapping
            also says the request ("write", "add", "null") for each.
        use_forward_train: whether the differences are taken in training mode.
        ctx: where to run.

    Raises AssertionError with the argument's name if a gradient differs.
    """
    # Imported here: the DSL's functions are made on demand.
    from symbucket import symbol as dsl

    values = _by_name(location, sym.list_arguments(), "location")
    states = _by_name(aux_states or {}, sym.list_auxiliary_states(), "aux_states")
    requests = dict(grad_nodes) if isinstance(grad_nodes, Mapping) else None
    if requests is None:
        names = grad_nodes if grad_nodes is not None else list(values)
        requests = dict.fromkeys(names, "write")
    _, shapes, _ = sym.complete_shapes(**{n: a.shape for n, a in values.items()})
    projection = random_arrays(shapes[0])
    weighted = dsl.broadcast_mul(sym[0], dsl.Variable("_projection"))
    network = dsl.sum(weighted, name="projected")
    executor = _bound(
        network,
        {**values, "_projection": projection},
        states,
        ctx,
        {**requests, "_projection": "null"},
    )
    start = {n: np.zeros_like(values[n]) for n in requests}
    for name, request in requests.items():
        if request == "add":
            start[name] = np.asarray(random_arrays(values[name].shape), values[name].dtype)
            executor.grads[name][...] = start[name]
    executor.forward(is_train=True)
    executor.backward([np.ones(o.shape, np.float32) for o in executor.outputs])
    symbolic = {n: executor.grads[n].asnumpy() for n, r in requests.items() if r != "null"}
    numeric = numeric_grad(
        executor, {n: values[n] for n in symbolic}, states, numeric_eps, use_forward_train
    )
    for name, gradient in symbolic.items():
        labels = (f"finite difference of {name}", f"gradient of {name}")
        assert_almost_equal(numeric[name] + start[name], gradient, rtol, atol or 1e-3, labels)


def check_symbolic_forward(
    sym: Symbol,
    location: Location,
    expected: Location,
    rtol: float = 1e-4,
    atol: float | None = None,
    aux_states: Location | None = None,
    ctx: Context | None = None,
    equal_nan: bool = False,
) -> list[Array]:
    """Compare the outputs in inference mode with ``expected``; return the outputs."""
    executor = _bound(sym, location, aux_states, ctx, "null")
    outputs = [o.asnumpy() for o in executor.forward(is_train=False)]
    by_name = _by_name(expected, sym.list_outputs(), "expected")
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
    rtol: float = 1e-5,
    atol: float | None = None,
    aux_states: Location | None = None,
    grad_req: str | Sequence[str] | Mapping[str, str] = "write",
    ctx: Context | None = None,
    equal_nan: bool = False,
) -> dict[str, Array]:
    """Compare gradients with ``expected`` (for the head gradients ``out_grads``); return them.

    With the request "add" a gradient starts at random values, to which ``expected`` is added.
    """
    arguments = sym.list_arguments()
    by_name = _by_name(expected, arguments, "expected")
    executor = _bound(sym, location, aux_states, ctx, grad_req)
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


def _bound(
    sym: Symbol, location: Location, aux_states: Location | None, ctx: Context | None, grad_req: Any
) -> Executor:
    values = _by_name(location, sym.list_arguments(), "location")
    states = _by_name(aux_states or {}, sym.list_auxiliary_states(), "aux_states")
    if isinstance(grad_req, (list, tuple)):
        grad_req = dict(zip(sym.list_arguments(), grad_req))
    gradients = {
        name: np.zeros_like(array)
        for name, array in values.items()
        if array.dtype.kind == "f"
        and (grad_req if isinstance(grad_req, str) else grad_req.get(name, "null")) != "null"
    }
    executor: Executor = sym.bind(ctx or default_context(), values, gradients, grad_req, states)
    return executor


def _by_name(values: Location, names: Sequence[str], what: str) -> dict[str, Array]:
    """Return float32 or integer numpy arrays by name."""
    if not isinstance(values, Mapping):
        if len(values) != len(names):
            raise InvalidArgumentError(
                f"{what} has {len(values)} arrays; expected {len(names)}: {', '.join(names)}"
            )
        values = dict(zip(names, values))
    arrays = {name: _numpy(value) for name, value in values.items()}
    return {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in arrays.items()}


def _numpy(value: Any) -> Array:
    return value.asnumpy() if isinstance(value, NDArray) else np.asarray(value)


def _tolerances(
    left: Array, right: Array, rtol: float | None, atol: float | None
) -> tuple[float, float]:
    names = [str(a.dtype) for a in (left, right)]
    return (
        max(_RTOL.get(n, 0.0) for n in names) if rtol is None else rtol,
        max(_ATOL.get(n, 0.0) for n in names) if atol is None else atol,
    )


def _shape(*limits: int) -> tuple[int, ...]:
    generator = seeding.next_stream("test_utils")
    return tuple(int(generator.integers(1, limit + 1)) for limit in limits)
