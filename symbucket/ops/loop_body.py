"""Loops that operators write: one Scan, or where there is none every step by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import append_scan, dtype_of, input_of_body, new_body, output_of_body, shape_of
from symbucket.ops.record import Emitter

Values = Sequence[ir.Value]
Step = Callable[[Values, Values, Sequence[int]], tuple[Values, Values]]
"""From states, slices and the numbers of the steps that it stands for: new states, outputs."""


class LoopBodyWriter:
    """A ``LoopEmitter``: its slices become inputs of ``body``, their stacks are added to a list.

    Attributes:
        outer: the graph around the body.
    """

    def __init__(
        self, g: Emitter, body: ir.Graph, stacks: list[ir.Value], directions: list[int]
    ) -> None:
        self.outer = g.graph
        self._g, self._body, self._stacks, self._directions = g, body, stacks, directions

    def slice_of(self, stack: ir.Value) -> ir.Value:
        """Return the body's slice of a further sequence (steps, ...), the first step first."""
        self._stacks.append(stack)
        self._directions.append(0)
        name, shape = f"{stack.name}/slice", shape_of(stack)[1:]
        return input_of_body(self._g, self._body, name, stack, shape)


def repeat(
    g: Emitter,
    steps: int,
    states: Values,
    sequences: Values,
    step: Step,
    directions: Sequence[int] | None = None,
    stacked: Sequence[int] | None = None,
) -> tuple[list[ir.Value], list[ir.Value]]:
    """Write ``step`` ``steps`` times; return the last states and the stacks of outputs.

    One Scan, unless the target has none, or the loop stands in another one or in a branch.

    Args:
        g: at the place of the loop.
        steps: how often; 1 or more.
        states: what is carried from step to step; shapes and dtypes stay.
        sequences: (steps, ...), of which each step reads a slice.
        step: appends one step.
        directions: for each sequence 1 if the last slice is read first, else 0 (the default).
        stacked: the same for each output.
    """
    reads = list(directions or [0] * len(sequences))
    if g.loops and g.loop is None:
        return _scan(g, steps, states, sequences, step, reads, stacked)
    stacks: list[list[ir.Value]] = []
    for t in range(steps):
        places = [steps - 1 - t if backwards else t for backwards in reads]
        slices = [
            g.op("Gather", x, g.const(np.int64(place)), axis=0)
            for x, place in zip(sequences, places)
        ]
        after, results = step(states, slices, [t])
        _require_states(states, after)
        states = after
        stacks = stacks or [[] for _ in results]
        for stack, value in zip(stacks, results):
            stack.append(g.reshape(value, (1, *shape_of(value))))
    ways = stacked or [0] * len(stacks)
    ordered = (stack[::-1] if backwards else stack for stack, backwards in zip(stacks, ways))
    return list(states), [g.op("Concat", *stack, axis=0) for stack in ordered]


def _scan(
    g: Emitter,
    steps: int,
    states: Values,
    sequences: Values,
    step: Step,
    directions: list[int],
    stacked: Sequence[int] | None,
) -> tuple[list[ir.Value], list[ir.Value]]:
    body = new_body(g.root, g.scope)
    carried = [input_of_body(g, body, f"{g.scope}/carried", v) for v in states]
    slices = [input_of_body(g, body, f"{g.scope}/slice", v, shape_of(v)[1:]) for v in sequences]
    stacks = list(sequences)
    g.loop = LoopBodyWriter(g, body, stacks, directions)
    try:
        if not sequences:  # the number of steps is the length of what is read
            g.loop.slice_of(g.filled((steps, 1), 0.0, ir.DataType.FLOAT))
        with g.inside(body):
            after, results = step(carried, slices, range(steps))
    finally:
        g.loop = None
    _require_states(states, after)
    for value in [*after, *results]:
        body.outputs.append(output_of_body(g, body, value))
    outs = append_scan(g, body, states, stacks, directions, stacked or [0] * len(results))
    return outs[: len(states)], outs[len(states) :]


def _require_states(before: Values, after: Values) -> None:
    for i, (old, new) in enumerate(zip(before, after)):
        if (shape_of(old), dtype_of(old)) != (shape_of(new), dtype_of(new)):
            raise ShapeError(
                f"state {i} is {type_text(old)} before a step and {type_text(new)} after it; a "
                "loop needs states that stay of one shape and dtype"
            )


def type_text(value: ir.Value) -> str:
    """Return dtype and shape for messages: ``float32 (2, 3)``."""
    return f"{dtype_of(value).numpy().name} {shape_of(value)}"
