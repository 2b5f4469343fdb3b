"""The body of a loop while operators write it: sequences may be added to it."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.ir import shape_of
from symbucket.ops.record import Emitter


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
        name = self._g.unique(f"{stack.name}/slice")
        value = ir.Value(name=name, shape=ir.Shape(shape_of(stack)[1:]), type=stack.type)
        self._stacks.append(stack)
        self._directions.append(0)
        self._body.inputs.append(value)
        return value
