"""Route requests to networks, fill batches, and cut outputs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.checks import listing
from symbucket.errors import DataError, InvalidArgumentError, ShapeError
from symbucket.export.keys import sizes_of
from symbucket.export.spec import BATCH, KEY, InputSpec, NetworkSpec, OutputSpec
from symbucket.types import Array


@dataclass(frozen=True)
class Request:
    """One sample to run.

    ``inputs`` maps input names to arrays without the batch axis; each may be shorter than the
    bucket along the bucket's axes. ``key`` says which network: a size (or tuple of sizes) goes to
    the smallest bucket that holds it, any other key to the network of that key. Without a key the
    arrays' own sizes decide.
    """

    inputs: Mapping[str, Any]
    key: Hashable = None


@dataclass(frozen=True)
class Placed:
    """A request with the network that serves it; ``sizes`` are its own sizes in the key's parts."""

    network: NetworkSpec
    arrays: Mapping[str, Array]
    sizes: Mapping[str, int]


class Router:
    """Chooses the networks that serve requests."""

    def __init__(self, networks: Sequence[NetworkSpec]) -> None:
        self._by_key = {n.key: n for n in networks}
        sized = [n for n in networks if n.sizes is not None]
        self._sized = sorted(sized, key=lambda n: (math.prod(n.sizes or ()), n.sizes or ()))
        self._only = networks[0] if len(networks) == 1 else None

    def place(self, request: Any, where: str) -> Placed:
        """Return the smallest network that fits; DataError or InvalidArgumentError if none does.

        ``request`` is a Request, a mapping of arrays, or one array.
        """
        if not isinstance(request, Request):
            inputs = request if isinstance(request, Mapping) else self._single(request, where)
            request = Request(inputs)
        arrays = {name: _array(values, name, where) for name, values in request.inputs.items()}
        reasons: list[str] = []
        for network in self._candidates(request.key, where):
            sizes, reason = _fit(network, arrays)
            if sizes is not None:
                _check_limits(network, arrays, where)
                return Placed(network, arrays, sizes)
            reasons.append(f"key {network.key!r}: {reason}")
        shown = "; ".join(reasons[-3:]) or "the bundle has no bucket of such a key"
        raise DataError(f"{where} fits no network. {shown}. The keys are {self._listed()}.")

    def _single(self, values: Any, where: str) -> Mapping[str, Any]:
        names = {t.name for n in self._sized or self._by_key.values() for t in required(n)}
        if len(names) != 1:
            raise InvalidArgumentError(
                f"{where} is one array, but the networks have the inputs "
                f"{', '.join(sorted(names))}; give a mapping of names to arrays"
            )
        return {names.pop(): values}

    def _candidates(self, key: Hashable, where: str) -> Sequence[NetworkSpec]:
        if key is None:
            if self._only is not None:
                return [self._only]
            if not self._sized:
                raise InvalidArgumentError(
                    f"{where} has no key, and no network of this bundle is found by size; give "
                    f"Request(inputs, key=...) with one of {self._listed()}"
                )
            return self._sized
        sizes = sizes_of(key)
        if sizes is None:
            try:
                return [self._by_key[key]]
            except (KeyError, TypeError):
                raise InvalidArgumentError(
                    f"{where} asks for key {key!r}; the keys are {self._listed()}"
                ) from None
        plural = isinstance(key, tuple)
        return [
            n
            for n in self._sized
            if isinstance(n.key, tuple) == plural
            and len(n.sizes or ()) == len(sizes)
            and all(have >= want for have, want in zip(n.sizes or (), sizes))
        ]

    def _listed(self) -> str:
        return listing(map(repr, self._by_key))


def required(network: NetworkSpec) -> list[InputSpec]:
    """Return the inputs that a request must have; labels and states may be left out."""
    return [t for t in network.inputs if t.kind == "data"]


def _array(values: Any, name: str, where: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{where}: {name} is not an array: {error}") from None
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise DataError(f"{where}: {name} has dtype {array.dtype}, not numbers")
    return array


def _fit(network: NetworkSpec, arrays: Mapping[str, Array]) -> tuple[dict[str, int] | None, str]:
    """Return the request's sizes by factor (``"key[0]"``), or None and why it does not fit."""
    missing = [t.name for t in required(network) if t.name not in arrays]
    if missing:
        return None, f"the request lacks {', '.join(missing)}"
    specs = {t.name: t for t in network.inputs}
    extra = [n for n in arrays if n not in specs]
    if extra:
        return None, f"there is no input {extra[0]!r}; there are {', '.join(specs)}"
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        spec = specs[name]
        axes = [a for a in range(len(spec.axes)) if spec.axes[a] != BATCH]
        if array.ndim != len(axes):
            return (
                None,
                f"{name} has shape {array.shape}, expected {_shape_of_one(spec)} of one sample",
            )
        for have, axis in zip(array.shape, axes):
            factor = spec.axes[axis]
            if factor is None or not factor.startswith(KEY):
                if have != spec.shape[axis]:
                    return None, f"{name} has shape {array.shape}, expected {_shape_of_one(spec)}"
            elif have > spec.shape[axis]:
                return None, f"{name} has shape {array.shape}, longer than {_shape_of_one(spec)}"
            elif sizes.setdefault(factor, have) != have:
                return None, f"{name} has size {have} where another input has {sizes[factor]}"
    return sizes, ""


def _check_limits(network: NetworkSpec, arrays: Mapping[str, Array], where: str) -> None:
    for spec in network.inputs:
        array = arrays.get(spec.name)
        if array is None:
            continue
        if spec.dtype.kind in "iu" and array.dtype.kind == "f" and (array % 1 != 0).any():
            raise DataError(f"{where}: {spec.name} holds fractions; it takes {spec.dtype}")
        if spec.limits is None or not array.size:
            continue
        low, end = spec.limits
        bad = ~(array < end)  # so that NaN is bad
        if low is not None:
            bad |= array < low
        bad &= array != spec.padding
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"{where}: {spec.name}{list(place)} is {array[place]:g}; key {network.key!r} takes "
                f"{'any integer below' if low is None else f'integers from {low} to below'} {end}"
            )


def _shape_of_one(spec: InputSpec) -> tuple[int, ...]:
    return tuple(d for d, a in zip(spec.shape, spec.axes) if a != BATCH)


def fill(buffer: Array, spec: InputSpec, values: Sequence[Array | None]) -> int:
    """Write samples into an input's buffer, padding elsewhere; return the elements written."""
    buffer[...] = spec.padding
    axis = spec.batch_axis
    written = 0
    for row, array in enumerate(values):
        if array is None:
            continue
        # An array also if a sample is one number.
        target = buffer if axis is None else np.moveaxis(buffer, axis, 0)[row, ...]
        target[tuple(slice(0, d) for d in array.shape)] = array
        written += array.size
    return written


def cut(
    values: Array, spec: OutputSpec, network: NetworkSpec, row: int, sizes: Mapping[str, int]
) -> Array:
    """Return a copy of one sample of an output, without batch axis and padding."""
    expanded: list[int] = []
    index: list[Any] = []
    shape: list[int] = []
    for axis, size in enumerate(spec.shape):
        factors = spec.factors(axis)
        length = 1
        for factor in factors:
            full = network.factor_size(factor)
            expanded.append(full)
            if factor == BATCH:
                index.append(row)
                continue
            part = min(sizes.get(factor, full), full)
            index.append(slice(0, part))
            length *= part
        if not factors:
            expanded.append(size)
            index.append(slice(None))
            length = size
        if factors != [BATCH]:
            shape.append(length)
    sample = values.reshape(expanded)[tuple(index)]
    return np.array(sample).reshape(shape)


def check_served(network: NetworkSpec) -> list[OutputSpec]:
    """Return the outputs that have a part for each request; raise ShapeError if none has."""
    if network.batch is None or network.batch == 1:
        return list(network.outputs)
    batched = [t for t in network.outputs if t.batch_axis is not None]
    if not batched:
        names = ", ".join(t.name for t in network.outputs)
        raise ShapeError(
            f"key {network.key!r}: the outputs ({names}) are not computed sample by sample, so a "
            f"batch of {network.batch} requests cannot be separated. Export with batch_size=1."
        )
    return batched
