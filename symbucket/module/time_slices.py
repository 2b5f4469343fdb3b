"""A sequence cut into pieces along time, and the outputs of pieces put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.errors import DataError, ShapeError, UnsupportedError
from symbucket.io import DataBatch, DataDesc
from symbucket.types import Array, Shape

Descs = list[DataDesc]


def read(batch: DataBatch, data: Descs, labels: Descs) -> tuple[Descs, Descs, dict[str, Array]]:
    """Descriptions and arrays by name of a batch of whole sequences.

    ``data`` and ``labels`` describe the arrays where the batch does not.
    """
    arrays: dict[str, Array] = {}
    found: list[Descs] = []
    for kind, given, known, values in (
        ("data", batch.provide_data, data, batch.data),
        ("label", batch.provide_label, labels, batch.label or []),
    ):
        descs = (given or known) if values else []
        if len(descs) != len(values):
            raise DataError(
                f"RecurrentModule: the batch has {len(values)} {kind} arrays, described are "
                f"{len(descs)}: {', '.join(d.name for d in descs)} (provide_{kind})"
            )
        own = []
        for desc, values_ in zip(descs, values):
            array = arrays[desc.name] = np.asarray(values_)
            if given and array.shape != desc.shape:
                raise DataError(
                    f"RecurrentModule: the batch's {kind} array {desc.name!r} has shape "
                    f"{array.shape}, its provide_{kind} says {desc.shape}"
                )
            own.append(DataDesc(desc.name, array.shape, desc.dtype, desc.layout))
        found.append(own)
    return found[0], found[1], arrays


def length_of(descs: Descs, axis: int) -> int:
    """The number of time steps, which all arrays must agree on; at least 1."""
    lengths = {d.shape[axis] if len(d.shape) > axis else -1 for d in descs}
    if len(lengths) != 1 or -1 in lengths:
        shapes = ", ".join(f"{d.name} {d.shape}" for d in descs)
        raise ShapeError(
            f"RecurrentModule: axis {axis} of all data and labels is time and must be the same; "
            f"the batch has {shapes}"
        )
    (length,) = lengths
    if length < 1:
        raise ShapeError("RecurrentModule: the batch has no time steps")
    return length


def piece_of(descs: Descs, axis: int, steps: int) -> Descs:
    """The descriptions of a piece of so many steps."""
    found = []
    for desc in descs:
        if len(desc.shape) <= axis:
            raise ShapeError(
                f"RecurrentModule: {desc.name} has shape {desc.shape} and no axis {axis}, which "
                "must be time"
            )
        shape = (*desc.shape[:axis], steps, *desc.shape[axis + 1 :])
        found.append(DataDesc(desc.name, shape, desc.dtype, desc.layout))
    return found


def cut(array: Array, axis: int, start: int, steps: int) -> Array:
    """A view of some steps of an array."""
    return array[:, start : start + steps] if axis else array[start : start + steps]


@dataclass(frozen=True)
class TimeAxis:
    """Where time lies in an output.

    Axis ``axis`` holds ``rows`` entries for each time step: with ``rows_first`` all steps of a row
    lie together, otherwise all rows of a step. ``axis`` None: the output has no time, it is a sum.
    """

    axis: int | None
    rows: int = 1
    rows_first: bool = True


def find_time_axes(
    names: Sequence[str], one: Sequence[Shape], two: Sequence[Shape], batch_first: bool
) -> list[TimeAxis]:
    """Find time in outputs from their shapes over one step and over two steps."""
    found = []
    for name, short, long in zip(names, one, two):
        grown = [i for i, (a, b) in enumerate(zip(short, long)) if a != b]
        if len(short) != len(long) or len(grown) > 1 or any(long[i] != 2 * short[i] for i in grown):
            raise UnsupportedError(
                f"RecurrentModule: the output {name!r} has shape {short} over one step and {long} "
                "over two. To put pieces together, exactly one axis may grow with the steps, or "
                "none for a sum over steps."
            )
        axis = grown[0] if grown else None
        found.append(TimeAxis(axis, 1 if axis is None else short[axis], batch_first))
    return found


def merge(time: TimeAxis, parts: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """The output over all steps from the outputs over consecutive pieces."""
    if time.axis is None:
        return np.asarray(sum(parts[1:], parts[0]))
    before, after = parts[0].shape[: time.axis], parts[0].shape[time.axis + 1 :]
    split = (time.rows, -1) if time.rows_first else (-1, time.rows)
    pieces = [p.reshape(*before, *split, *after) for p in parts]
    joined: np.ndarray[Any, Any] = np.concatenate(
        pieces, axis=len(before) + (1 if time.rows_first else 0)
    )
    return joined.reshape(*before, -1, *after)
