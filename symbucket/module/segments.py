"""Sequences cut into segments along time, and the outputs of segments joined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symbucket.engine.network_interface import Descs
from symbucket.errors import ShapeError, UnsupportedError
from symbucket.types import Array, Shape


def sequence_length(descs: Descs, axis: int) -> int:
    """Return the number of time steps, on which all arrays must agree; at least 1."""
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


def segment_lengths(length: int, unroll: int) -> list[int]:
    """Return the steps of each segment: ``unroll``, and what is left in the last one."""
    rest = length % unroll
    return [unroll] * (length // unroll) + ([rest] if rest else [])


def segment_descs(descs: Descs, axis: int, steps: int) -> Descs:
    """Return the descriptions of a segment of ``steps`` steps."""
    segment = []
    for desc in descs:
        if len(desc.shape) <= axis:
            raise ShapeError(
                f"RecurrentModule: {desc.name} has shape {desc.shape} and no axis {axis}, which "
                "must be time"
            )
        segment.append(desc.with_shape((*desc.shape[:axis], steps, *desc.shape[axis + 1 :])))
    return segment


def slice_steps(array: Array, axis: int, start: int, steps: int) -> Array:
    """Return a view of ``steps`` steps of an array; ``axis`` is 0 or 1."""
    return array[:, start : start + steps] if axis else array[start : start + steps]


@dataclass(frozen=True)
class TimeAxis:
    """Where time lies in an output.

    Attributes:
        axis: the axis that holds ``rows`` entries for each time step; None if the output is a sum
            over steps.
        rows: entries of one step.
        rows_first: whether all steps of a row are adjacent, not all rows of a step.
    """

    axis: int | None
    rows: int = 1
    rows_first: bool = True


def find_time_axes(
    names: Sequence[str],
    one_step: Sequence[Shape],
    two_steps: Sequence[Shape],
    batch_first: bool,
) -> list[TimeAxis]:
    """Find time in outputs from their shapes over one step and over two steps."""
    axes = []
    for name, short, long in zip(names, one_step, two_steps):
        grown = [i for i, (a, b) in enumerate(zip(short, long)) if a != b]
        if len(short) != len(long) or len(grown) > 1 or any(long[i] != 2 * short[i] for i in grown):
            raise UnsupportedError(
                f"RecurrentModule: the output {name!r} has shape {short} over one step and {long} "
                "over two. To join segments, exactly one axis may grow with the steps, or none for "
                "a sum over steps."
            )
        axis = grown[0] if grown else None
        axes.append(TimeAxis(axis, 1 if axis is None else short[axis], batch_first))
    return axes


def join_segments(time: TimeAxis, parts: Sequence[Array]) -> Array:
    """Return the output over all steps from the outputs over consecutive segments."""
    if time.axis is None:
        return np.asarray(sum(parts[1:], parts[0]))
    leading, trailing = parts[0].shape[: time.axis], parts[0].shape[time.axis + 1 :]
    split = (time.rows, -1) if time.rows_first else (-1, time.rows)
    by_step = [p.reshape(*leading, *split, *trailing) for p in parts]
    joined: Array = np.concatenate(by_step, axis=len(leading) + (1 if time.rows_first else 0))
    return joined.reshape(*leading, -1, *trailing)
