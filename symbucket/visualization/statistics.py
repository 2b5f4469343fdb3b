"""Statistics of the values of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError
from symbucket.types import Array
from symbucket.visualization.diagram import PARAMETER, STATE, Diagram, Statistics

BINS = 24


def statistics_of(values: Array) -> Statistics | None:
    """Return the statistics of an array; None if it has no numbers, or none that is finite."""
    if values.dtype.kind not in "fiub":
        return None
    numbers = values.astype(np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return None
    least, most = float(finite.min()), float(finite.max())
    scale = max(abs(least), abs(most)) or 1.0  # squares and ranges of huge values overflow
    scaled = finite / scale
    counts, _ = np.histogram(scaled, BINS, (least / scale, most / scale))
    return Statistics(
        mean=float(scaled.mean()) * scale,
        std=float(scaled.std()) * scale,
        least=least,
        most=most,
        zeros=int(np.count_nonzero(finite == 0)),
        not_finite=int(numbers.size - finite.size),
        counts=tuple(map(int, counts)) if most > least else (int(finite.size),),
    )


def with_values(diagrams: Mapping[str, Diagram], params: Mapping[str, Any]) -> dict[str, Diagram]:
    """Return the diagrams with the statistics of the values of their parameters and states.

    ``params``: arrays by name.

    Raises InvalidArgumentError if no diagram has one of the names, or if a shape differs.
    """
    named = {b.name for d in diagrams.values() for b in d.boxes if b.kind in (PARAMETER, STATE)}
    if not named.intersection(params):
        raise InvalidArgumentError(
            f"params has values of {_some(params)}, and none of them is a parameter of the "
            f"network; its parameters are {_some(named)}"
        )
    arrays = {
        name: np.asarray(value.asnumpy() if hasattr(value, "asnumpy") else value)
        for name, value in params.items()
        if name in named
    }
    measures = {name: cache(partial(statistics_of, array)) for name, array in arrays.items()}
    return {name: _with_values(one, arrays, measures) for name, one in diagrams.items()}


def _with_values(
    diagram: Diagram, arrays: Mapping[str, Array], measures: Mapping[str, Any]
) -> Diagram:
    boxes = []
    for box in diagram.boxes:
        if box.kind in (PARAMETER, STATE) and box.name in arrays:
            array = arrays[box.name]
            shape = box.outputs[0].shape
            if shape is not None and (
                len(shape) != array.ndim
                or any(a != b for a, b in zip(shape, array.shape) if isinstance(a, int))
            ):
                raise InvalidArgumentError(
                    f"params[{box.name!r}] has the shape {array.shape}; the network has "
                    f"{box.outputs[0].text} there"
                )
            box = replace(box, measure=measures[box.name])
        boxes.append(box)
    return replace(diagram, boxes=tuple(boxes))


def _some(names: Any) -> str:
    shown = sorted(names)[:5]
    return ", ".join(map(repr, shown)) + (", ..." if len(names) > 5 else "") if shown else "nothing"
