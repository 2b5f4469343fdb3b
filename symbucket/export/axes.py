"""Find the axes of a network's inputs and outputs that are samples, or the size of the bucket.

The layout of an input says which axis is the batch. For outputs nothing does: after a Reshape,
samples and time steps share an axis, in one order or the other. So run the network, change one
sample, and look which rows of the outputs change. This also finds outputs whose rows depend on more
than one sample (a sum over the batch), which cannot be divided among requests. Parameters are
random in these runs, so the result does not depend on training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from symbucket.compiler import Port, Program
from symbucket.context import cpu
from symbucket.export.spec import (
    BATCH,
    KEY,
    InputSpec,
    NetworkSpec,
    OutputSpec,
    TensorSpec,
    key_factor,
)
from symbucket.runtime import NDArray, Session
from symbucket.symbol.bounds import InputBounds
from symbucket.types import Array

Order = tuple[int, bool]
"""An output's batch axis, and whether the rows of a sample lie together (batch-major) in it."""

_TRIES = 8  # at most: random parameters may leave rows unchanged (a ReLU of nothing positive)


class Probe:
    """A program to run on random numbers.

    ``axes`` maps names of inputs to their batch axes; ``bounds`` are the indices that they accept.
    """

    def __init__(
        self,
        program: Program,
        batch: int,
        axes: Mapping[str, int | None],
        bounds: Sequence[InputBounds],
        parameters: Collection[str],
        auxiliary: Collection[str],
    ) -> None:
        self._program = program
        self._batch = batch
        self._axes = axes
        self._bounds = {b.name: b.bounds for b in bounds}
        self._parameters = parameters
        self._auxiliary = auxiliary

    def run(self) -> dict[str, Order]:
        """Return the batch axis of every output that has one."""
        plan = self._program.plan
        session = Session(self._program.model, cpu(), "probe", 0 if plan is None else plan.arena)
        inputs = {t.name: NDArray.zeros(t.shape, t.dtype, cpu()) for t in self._program.inputs}
        outputs = {t.name: NDArray.zeros(t.shape, t.dtype, cpu()) for t in self._program.outputs}
        session.bind_inputs(inputs)
        session.bind_outputs(outputs)

        def outputs_of(values: Mapping[str, Array]) -> dict[str, Array]:
            for name, array in values.items():
                inputs[name][...] = array
            session.run()
            return {n: a.asnumpy() for n, a in outputs.items()}

        masks: dict[str, list[Array]] = {}
        for seed in range(_TRIES):
            rng = np.random.default_rng(seed)
            values = {t.name: self._drawn(rng, t, seed) for t in self._program.inputs}
            try:
                base, again = outputs_of(values), outputs_of(values)
                others = [
                    outputs_of(self._with_other(rng, values, sample))
                    for sample in (0, self._batch - 1)
                ]
            except RuntimeError:  # it refuses random numbers, such as positions in GatherND
                return {}
            for name, array in base.items():
                if _differ(again[name], array).any():  # it draws random numbers
                    continue
                changed = [_differ(other[name], array) for other in others]
                seen = masks.setdefault(name, changed)
                masks[name] = [old | new for old, new in zip(seen, changed)]
            orders = {name: self._order(seen) for name, seen in masks.items()}
            if all(_is_decided(masks[name], order) for name, order in orders.items()):
                break
        return {name: order[0] for name, order in orders.items() if order is not None}

    def _drawn(self, rng: np.random.Generator, tensor: Port, seed: int) -> Array:
        kind = np.dtype(tensor.dtype).kind
        if tensor.name in self._bounds:
            high = self._bounds[tensor.name].high
            return rng.integers(0, max(high, 1), tensor.shape).astype(tensor.dtype)
        if tensor.name in self._auxiliary:  # a variance must be positive
            return rng.uniform(0.5, 1.5, tensor.shape).astype(tensor.dtype)
        if tensor.name in self._parameters:
            return normal_numbers(rng, 0.5, tensor.shape, tensor.dtype)
        if self._is_number(tensor):
            return rng.integers(1, self._length + 1, tensor.shape).astype(tensor.dtype)
        if kind in "iub":  # all zeros or ones as well: the largest of many is 1 otherwise
            least, end = ((0, 2), (0, 1), (1, 2))[seed % 3]
            return rng.integers(least, end, tensor.shape).astype(tensor.dtype)
        return normal_numbers(rng, 1.0, tensor.shape, tensor.dtype)

    def _is_number(self, tensor: Port) -> bool:
        """Return whether an input has one number a sample: a length, perhaps.

        Normal noise would be none, and a network that masks by it would compute NaN.
        """
        axis = self._axes.get(tensor.name)
        return axis is not None and math.prod(tensor.shape) == self._batch

    @cached_property
    def _length(self) -> int:
        """The smallest size that a sequence of the data has, at least 2."""
        sizes = [
            size
            for tensor in self._program.inputs
            if self._axes.get(tensor.name) is not None and tensor.name not in self._parameters
            for axis, size in enumerate(tensor.shape)
            if axis != self._axes[tensor.name]
        ]
        return max(2, min(sizes, default=2))

    def _with_other(
        self, rng: np.random.Generator, values: Mapping[str, Array], sample: int
    ) -> dict[str, Array]:
        """Return the same inputs with one sample changed."""
        changed = dict(values)
        for tensor in self._program.inputs:
            axis = self._axes.get(tensor.name)
            if axis is None or tensor.name in self._parameters:
                continue
            new = values[tensor.name].copy()
            rows = np.moveaxis(new, axis, 0)
            if tensor.name in self._bounds:
                rows[sample] = (rows[sample] + 1) % max(self._bounds[tensor.name].high, 1)
            elif self._is_number(tensor):
                rows[sample] = rows[sample] % self._length + 1
            elif new.dtype.kind in "iub":
                rows[sample] = 1 - rows[sample]
            else:
                rows[sample] = rng.normal(0.0, 1.0, rows[sample].shape)
            changed[tensor.name] = new
        return changed

    def _order(self, masks: Sequence[Array]) -> tuple[Order, bool] | None:
        """Return the order that changes fit, and whether every row of the samples changed."""
        for axis, size in enumerate(masks[0].shape):
            if size == 0 or size % self._batch:
                continue
            others = tuple(i for i in range(masks[0].ndim) if i != axis)
            hit = [np.asarray(mask.any(axis=others)) for mask in masks]
            for together in (True, False):
                grid = (self._batch, -1) if together else (-1, self._batch)
                rows: list[Array] = [h.reshape(grid) for h in hit]
                if not together:
                    rows = [r.T for r in rows]
                samples = (0, self._batch - 1)
                if all(_only(r, s) for r, s in zip(rows, samples)):
                    every = all(bool(r[s].all()) for r, s in zip(rows, samples))
                    return (axis, together), every
        return None


def _is_decided(masks: Sequence[Array], order: tuple[Order, bool] | None) -> bool:
    """Return whether other random numbers would not teach more about an output."""
    return all(mask.any() for mask in masks) if order is None else order[1]


def _differ(left: Array, right: Array) -> Array:
    changed: Array = np.asarray(left != right)
    if left.dtype.kind == "f":
        changed &= ~(np.isnan(left) & np.isnan(right))
    return changed


def _only(rows: Array, sample: int) -> bool:
    """Return whether the rows of one sample changed and those of the others did not."""
    hit = [bool(row.any()) for row in rows]
    return hit[sample] and sum(hit) == 1


# Names of axes -----------------------------------------------------------------------------------


def label_axes(
    specs: Sequence[NetworkSpec],
    layouts: Sequence[Mapping[str, str | None]],
    probes: Mapping[int, Callable[[], Probe | None]],
) -> list[NetworkSpec]:
    """Return the same networks with their axes filled in.

    An axis belongs to a part of the key if its size equals that part in every network of one kind.
    If the part is the same in all of them (or there is only one network), equal sizes may be
    coincidence: then the layout must say so (a T), or no other axis may have that size. ``probes``
    maps positions of networks to functions that make their probe.
    """
    labelled = list(specs)
    for members in _families(specs):
        probe = probes[members[0]]() if members[0] in probes else None
        orders = {} if probe is None else probe.run()
        family = [specs[i] for i in members]
        inputs = list(zip(*(n.inputs for n in family)))
        outputs = list(zip(*(n.outputs for n in family)))
        for position, (i, spec) in enumerate(zip(members, family)):
            new_inputs = [
                _labelled_input(spec, family, same, position, layouts[i].get(same[0].name))
                for same in inputs
            ]
            new_outputs = [
                _labelled_output(spec, family, same, position, orders.get(same[0].name))
                for same in outputs
            ]
            labelled[i] = msgspec.structs.replace(
                spec, inputs=tuple(new_inputs), outputs=tuple(new_outputs)
            )
    return labelled


def _families(specs: Sequence[NetworkSpec]) -> Iterator[list[int]]:
    """Yield groups of networks that differ only in sizes; any other key is a group by itself."""
    families: dict[Any, list[int]] = {}
    for i, spec in enumerate(specs):
        sizes = spec.sizes
        tensors = [(t.name, len(t.shape), str(t.dtype)) for t in [*spec.inputs, *spec.outputs]]
        alone = i if sizes is None else (isinstance(spec.key, tuple), len(sizes))
        families.setdefault((alone, spec.batch, tuple(tensors)), []).append(i)
    yield from families.values()


def _matches(
    family: Sequence[NetworkSpec], sizes: Sequence[int], parts: Sequence[int]
) -> tuple[bool, bool]:
    """Return whether sizes are the product of these parts of the keys, and whether they vary."""
    products = [math.prod((n.sizes or ())[p] for p in parts) for n in family]
    return list(sizes) == products, len(set(products)) > 1


def _key_axes(
    family: Sequence[NetworkSpec],
    same: Sequence[TensorSpec],
    free: Sequence[int],
    layout: str | None,
) -> dict[int, int]:
    """Return the axes, of those in ``free``, that belong to parts of the key, with the part."""
    arity = len(family[0].sizes or ())
    certain: dict[int, list[int]] = {}
    possible: dict[int, list[int]] = {}
    for axis in free:
        for part in range(arity):
            equal, varies = _matches(family, [t.shape[axis] for t in same], [part])
            if equal:
                (certain if varies else possible).setdefault(axis, []).append(part)
    part_of: dict[int, int] = {}
    for axis, parts in certain.items():
        unused = [p for p in parts if p not in part_of.values()]
        part_of[axis] = (unused or parts)[0]
    fitting = layout is not None and len(layout) == len(same[0].shape)
    for part in range(arity):
        axes = [a for a, parts in possible.items() if part in parts and a not in part_of]
        if part in part_of.values() or not axes:
            continue
        timed = [a for a in axes if fitting and (layout or "")[a] == "T"]
        if len(timed) == 1 and arity == 1:
            part_of[timed[0]] = part
        elif len(axes) == 1:
            part_of[axes[0]] = part
    return part_of


def _labelled_input(
    spec: NetworkSpec,
    family: Sequence[NetworkSpec],
    same: Sequence[InputSpec],
    position: int,
    layout: str | None,
) -> InputSpec:
    tensor = same[position]
    free = [i for i, a in enumerate(tensor.axes) if a is None]
    axes = list(tensor.axes)
    if tensor.kind in ("data", "label"):
        for axis, part in _key_axes(family, same, free, layout).items():
            axes[axis] = key_factor(spec.key, part)
    return msgspec.structs.replace(tensor, axes=tuple(axes))


def _labelled_output(
    spec: NetworkSpec,
    family: Sequence[NetworkSpec],
    same: Sequence[OutputSpec],
    position: int,
    order: Order | None,
) -> OutputSpec:
    tensor = same[position]
    if tensor.kind != "output":
        return tensor
    axes: list[str | None] = list(tensor.axes)
    free = list(range(len(axes)))
    if order is not None and spec.batch is not None:
        axis, together = order
        if all(t.shape[axis] % spec.batch == 0 for t in same):
            inner = [t.shape[axis] // spec.batch for t in same]
            factors = _inner_factors(spec, family, inner, inner[position])
            axes[axis] = "*".join([BATCH, *factors] if together else [*factors, BATCH])
            free.remove(axis)
            if any(f.startswith(KEY) for f in factors):
                return msgspec.structs.replace(tensor, axes=tuple(axes))
    for axis, part in _key_axes(family, same, free, None).items():
        varies = _matches(family, [t.shape[axis] for t in same], [part])[1]
        if varies or len(axes) > 2:  # two axes: more likely (batch, features)
            axes[axis] = key_factor(spec.key, part)
    return msgspec.structs.replace(tensor, axes=tuple(axes))


def _inner_factors(
    spec: NetworkSpec, family: Sequence[NetworkSpec], inner: Sequence[int], own: int
) -> list[str]:
    """Return what the rows of a sample in the batch axis are: parts of the key, or a number."""
    if set(inner) == {1}:
        return []
    arity = len(spec.sizes or ())
    for parts in [*([p] for p in range(arity)), list(range(arity))]:
        if parts and _matches(family, inner, parts)[0]:
            return [key_factor(spec.key, p) for p in parts]
    return [str(own)]


def normal_numbers(
    rng: np.random.Generator, deviation: float, shape: Sequence[int], dtype: np.dtype[Any]
) -> Array:
    """Return normal random numbers around 0, drawn in float32 if that will do for the dtype."""
    numbers: Array = rng.standard_normal(shape, np.float64 if dtype.itemsize > 4 else np.float32)
    numbers *= deviation
    return numbers.astype(dtype, copy=False)
