"""A loop over the steps of a sequence, for operators that are whole recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from symbucket.ir import (
    Builder,
    append_scan,
    input_of_body,
    new_body,
    output_of_body,
    shape_of,
)
from symbucket.ops.record import Emitter

LEAST_STEPS = 4  # fewer are written one by one

Step = Callable[[list[ir.Value], list[ir.Value]], tuple[Sequence[ir.Value], Sequence[ir.Value]]]
"""``step(slices, states)`` appends one step; it returns the next states, and its results."""


def may_loop(g: Emitter, steps: int) -> bool:
    """Return whether so many steps are emitted as a loop."""
    return g.loops and g.loop is None and steps >= LEAST_STEPS


def loop_over(
    g: Builder,
    sequences: Sequence[ir.Value],
    states: Sequence[ir.Value],
    step: Step,
    backwards: bool,
) -> tuple[list[ir.Value], list[ir.Value]]:
    """Append a Scan over ``sequences`` (steps, ...) whose body is one step.

    Returns the states after the last step, and each result of all steps (steps, *result), in the
    order of the sequences even if the last slices are read first.
    """
    body = new_body(g.root, g.scope)
    carried = [input_of_body(g, body, f"{g.scope}/carried", v) for v in states]
    slices = [input_of_body(g, body, f"{g.scope}/slice", v, shape_of(v)[1:]) for v in sequences]
    with g.inside(body):
        following, results = step(slices, carried)
    for value in [*following, *results]:
        body.outputs.append(output_of_body(g, body, value))
    direction = int(backwards)
    reads, stacked = [direction] * len(sequences), [direction] * len(results)
    values = append_scan(g, body, states, sequences, reads, stacked)
    return values[: len(states)], values[len(states) :]
