"""The values that the networks of a bundle take."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from symbucket.casts import lost_numbers
from symbucket.errors import DataError
from symbucket.export.spec import InputSpec
from symbucket.runtime.hidden_nan import refuse_nan
from symbucket.types import Array


class ValueCheck:
    """Refuses values that an input of a network does not take.

    Args:
        spec: the input.
        key: the network's.
        hides_nan: the runtime would compute numbers from NaN here, so NaN is refused.
    """

    def __init__(self, spec: InputSpec, key: Hashable, hides_nan: bool) -> None:
        self._spec, self._key, self._hides_nan = spec, key, hides_nan
        self._whole = spec.dtype.kind in "iub" or spec.limits is not None
        self._held_by_limits = _limits_are_held(spec)

    def check(self, array: Array, where: str) -> None:
        """Raise DataError for values of a request that the input does not take."""
        spec = self._spec
        if not array.size:
            return
        if spec.limits is not None:
            _check_limits(spec, array, self._key, where)
        if array.dtype.kind == "f":
            if self._whole and (fractions := _is_fraction(array)).any():
                raise DataError(
                    f"{where}: {spec.name} holds {array[fractions][0]:g}; it takes integers"
                )
            if self._hides_nan:
                refuse_nan(array, spec.name, where)
        if array.dtype != spec.dtype and not self._held_by_limits:
            _check_held(spec, array, where)


def _limits_are_held(spec: InputSpec) -> bool:
    """Return whether the input's dtype has all integers within its limits.

    Without a lower limit all negative ones are one row, so floats may round them.
    """
    if spec.limits is None:
        return False
    low, end = spec.limits
    if low is None and spec.dtype.kind != "f":  # a large negative one may become positive
        return False
    return not lost_numbers(np.array([low or 0, end - 1]), spec.dtype)[0]


def _is_fraction(array: Array) -> Array:
    """Return where numbers are not integers; NaN and infinities are none."""
    fractions: Array = (array != np.trunc(array)) | ~np.isfinite(array)
    return fractions


def _check_held(spec: InputSpec, array: Array, where: str) -> None:
    """Raise DataError for a number that would become another one, or infinite, in the input."""
    count, first = lost_numbers(array, spec.dtype)
    if count:
        with np.errstate(over="ignore", invalid="ignore"):
            other = first.astype(spec.dtype)
        raise DataError(
            f"{where}: {spec.name} holds {first}, which would become {other}: the input is "
            f"{spec.dtype}"
        )


def _check_limits(spec: InputSpec, array: Array, key: Hashable, where: str) -> None:
    assert spec.limits is not None
    low, end = spec.limits
    if array.max() < end and (low is None or array.min() >= low):
        return
    bad = ~(array < end)  # so that NaN is bad
    if low is not None:
        bad |= array < low
    bad &= array != spec.padding
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{where}: {spec.name}{list(place) or ''} is {array[place]:g}; key {key!r} takes "
            f"{'any integer below' if low is None else f'integers from {low} to below'} {end}"
        )
