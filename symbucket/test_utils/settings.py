"""What the checks run on, how exact they are, and the process around them."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from symbucket.checks import check_integer
from symbucket.context import Context, cpu, gpu
from symbucket.errors import InvalidArgumentError
from symbucket.types import Array

_RTOL = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-5}
_ATOL = {"float16": 1e-1, "float32": 1e-3, "float64": 1e-20}
_EPS = {"float16": 2.0**-6, "float32": 2.0**-9, "float64": 2.0**-14}
_EXACT = ("bool", "int8", "uint8", "int32", "uint32", "int64", "uint64")


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


def default_rtols() -> dict[np.dtype[Any], float]:
    """Return the relative tolerance for each dtype; integers and bools must be equal."""
    return {np.dtype(n): _RTOL.get(n, 0.0) for n in (*_RTOL, *_EXACT)}


def default_atols() -> dict[np.dtype[Any], float]:
    """Return the absolute tolerance for each dtype."""
    return {np.dtype(n): _ATOL.get(n, 0.0) for n in (*_ATOL, *_EXACT)}


def default_numeric_eps() -> dict[np.dtype[Any], float]:
    """Return for each floating dtype how far finite differences move an element: powers of two."""
    return {np.dtype(n): eps for n, eps in _EPS.items()}


def get_rtol(rtol: float | None = None, dtype: Any = np.float64) -> float:
    """Return ``rtol``, or where it is None the relative tolerance of ``dtype``."""
    return default_rtols()[np.dtype(dtype)] if rtol is None else rtol


def get_atol(atol: float | None = None, dtype: Any = np.float64) -> float:
    """Return ``atol``, or where it is None the absolute tolerance of ``dtype``."""
    return default_atols()[np.dtype(dtype)] if atol is None else atol


def get_tols(x: Any, y: Any, rtol: Any = None, atol: Any = None) -> tuple[float, float]:
    """Return the tolerances for comparing two arrays: those of the less precise dtype.

    ``rtol`` and ``atol`` may be numbers, which win, or mappings of dtype to number.
    """
    dtypes = [np.dtype(getattr(a, "dtype", None) or np.asarray(a).dtype) for a in (x, y)]
    return (
        max(tolerance(d, rtol, default_rtols()) for d in dtypes),
        max(tolerance(d, atol, default_atols()) for d in dtypes),
    )


def tolerance(
    dtype: np.dtype[Any],
    stated: float | Mapping[Any, float] | None,
    defaults: Mapping[np.dtype[Any], float],
) -> float:
    """Return the number that is stated, for this dtype or all, or the default for the dtype."""
    if stated is None:
        stated = {}
    if not isinstance(stated, Mapping):
        return float(stated)
    by_dtype = {np.dtype(key): value for key, value in stated.items()}
    return float(by_dtype.get(dtype, defaults.get(dtype, 0.0)))


def numpy_of(value: Any) -> Array:
    """Return an NDArray's values, or anything else as a numpy array."""
    return np.asarray(value.asnumpy() if hasattr(value, "asnumpy") else value)


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


@contextmanager
def environment(*args: Any) -> Iterator[None]:
    """Set environment variables for the block: ``(name, value)`` or a mapping; None unsets one.

    MXNet's own variables (``MXNET_...``) may be set; nothing here reads them.
    """
    wishes = dict([args]) if len(args) == 2 else args[0] if len(args) == 1 else None
    if not isinstance(wishes, Mapping):
        raise InvalidArgumentError(
            f"environment got {args!r}; expected a name and a value, or one mapping of them"
        )
    before = {name: os.environ.get(name) for name in wishes}
    try:
        _set_variables(wishes)
        yield
    finally:
        _set_variables(before)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = str(value)


@contextmanager
def discard_stderr() -> Iterator[None]:
    """Send what the block writes to standard error, native code's lines too, nowhere."""
    sys.stderr.flush()
    kept_open = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
            sys.stderr.flush()
    finally:
        os.dup2(kept_open, 2)
        os.close(kept_open)


def retry(n: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that runs a test up to ``n`` times, until no assertion fails in it."""
    tries = check_integer(n, "n", 1)

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(test)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            for _ in range(tries - 1):
                try:
                    return test(*args, **kwargs)
                except AssertionError:
                    continue
            return test(*args, **kwargs)

        return wrapper

    return decorate
