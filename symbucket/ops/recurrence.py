"""A loop over the steps of a sequence, for operators that are whole recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from symbucket.ir import append_scan, new_body, output_of_body, shape_of
from symbucket.ops.record import Emitter

LEAST_STEPS = 4  # fewer are written one by one

Step = Callable[[list[ir.Value], list[ir.Value]], tuple[list[ir.Value], ir.Value]]
"""``step(slices, states)`` appends one step; it returns the next states, and an output."""


def may_loop(g: Emitter, steps: int) -> bool:
    """Return whether so many steps are emitted as a loop."""
    return g.loops and g.loop is None and steps >= LEAST_STEPS


def loop_over(
    g: Emitter,
    sequences: Sequence[ir.Value],
    states: Sequence[ir.Value],
    step: Step,
    backwards: bool,
) -> tuple[list[ir.Value], ir.Value]:
    """Append a Scan over ``sequences`` (steps, ...) whose body is one step.

    Returns the states after the last step, and the outputs of all steps (steps, *output), in the
    order of the sequences even if the last slices are read first.
    """
    body = new_body(g.root, g.scope)
    for kind, value, shape in (
        *(("carried", state, shape_of(state)) for state in states),
        *(("slice", sequence, shape_of(sequence)[1:]) for sequence in sequences),
    ):
        name = g.unique(f"{g.scope}/{kind}")
        body.inputs.append(ir.Value(name=name, shape=ir.Shape(shape), type=value.type))
    carried, slices = body.inputs[: len(states)], body.inputs[len(states) :]
    with g.inside(body):
        following, output = step(list(slices), list(carried))
    body.outputs.extend(following)
    body.outputs.append(output_of_body(g, body, output))
    direction = int(backwards)
    directions = [direction] * len(sequences)
    *finals, stack = append_scan(g, body, list(states), sequences, directions, [direction])
    return finals, stack
