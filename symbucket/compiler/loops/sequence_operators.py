"""Operators between sequences (steps, ...) of a loop and the values of single steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, Operator
from symbucket.ops.shape import axis_of, unify, unify_all
from symbucket.types import InferredShapes, PartialShape


@dataclass(frozen=True)
class StackSteps(Operator):
    """``steps`` values of one shape as one sequence."""

    steps: int
    op_name: ClassVar[str] = "StackSteps"

    def arguments(self) -> tuple[str, ...]:
        return tuple(f"step{i}" for i in range(self.steps))

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        out = outs[0]
        shape = unify_all([*ins, None if out is None else out[1:]])
        whole = None if shape is None else (self.steps, *shape)
        return [shape] * self.steps, [unify(out, whole)]

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value | Sequence[ir.Value]:
        rows = [g.reshape(v, (1, *shape_of(v))) for v in inputs]
        return g.op("Concat", *rows, axis=0)


@dataclass(frozen=True)
class CutSteps(Operator):
    """The equal parts of an array along ``axis``, as one sequence: ``count`` from ``start`` on.

    ``parts`` is the number of parts in all, ``squeeze`` whether they are without the axis.
    """

    axis: int
    parts: int
    squeeze: bool
    start: int
    count: int
    op_name: ClassVar[str] = "CutSteps"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is None and out is not None:
            piece = out[1:]
            axis = axis_of(self.axis, len(piece) + self.squeeze)
            size = self.parts if self.squeeze else self.parts * piece[axis]
            data = (*piece[:axis], size, *piece[axis + (not self.squeeze) :])
        if data is None:
            return ins, outs
        axis = axis_of(self.axis, len(data))
        if self.squeeze:
            data = unify(data, (*[0] * axis, self.parts, *[0] * (len(data) - axis - 1)))
            assert data is not None
        each = () if self.squeeze else (data[axis] // self.parts,)
        out = unify(out, (self.count, *data[:axis], *each, *data[axis + 1 :]))
        return [data], [out]

    def emit(self, g: Emitter, x: ir.Value) -> ir.Value:
        shape = shape_of(x)
        axis = axis_of(self.axis, len(shape))
        each = shape[axis] // self.parts
        x = g.reshape(x, (*shape[:axis], self.parts, each, *shape[axis + 1 :]))
        x = g.transpose(x, [axis, *range(axis), *range(axis + 1, len(shape) + 1)])
        if self.count < self.parts:
            stop = self.start + self.count
            x = g.op("Slice", x, g.ints(self.start), g.ints(stop), g.ints(0))
        return g.reshape(x, g.out_shapes[0])


@dataclass(frozen=True)
class JoinSteps(Operator):
    """A sequence's values joined along ``axis`` of their shape, which is new if ``new_axis``."""

    axis: int
    new_axis: bool
    op_name: ClassVar[str] = "JoinSteps"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        steps, *piece = data
        axis = axis_of(self.axis, len(piece) + self.new_axis)
        if self.new_axis:
            out = unify(outs[0], (*piece[:axis], steps, *piece[axis:]))
            assert out is not None
            data = unify(data, (out[axis], *out[:axis], *out[axis + 1 :]))
        else:
            joined = (*piece[:axis], steps * piece[axis], *piece[axis + 1 :])
            out = unify(outs[0], joined)
            assert out is not None
            each = out[axis] // steps if steps else 0
            data = unify(data, (steps, *out[:axis], each, *out[axis + 1 :]))
        return [data], [out]

    def emit(self, g: Emitter, x: ir.Value) -> ir.Value:
        rank = len(shape_of(x))
        axis = axis_of(self.axis, rank - 1 + self.new_axis)
        x = g.transpose(x, [*range(1, axis + 1), 0, *range(axis + 1, rank)])
        return g.reshape(x, g.out_shapes[0])


@dataclass(frozen=True)
class SelectStep(Operator):
    """The value of one step of a sequence."""

    steps: int
    index: int
    op_name: ClassVar[str] = "SelectStep"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        data = unify(data, None if out is None else (self.steps, *out))
        return [data], [out if data is None else unify(out, data[1:])]

    def emit(self, g: Emitter, x: ir.Value) -> ir.Value:
        if self.index or self.steps > 1:
            x = g.op("Slice", x, g.ints(self.index), g.ints(self.index + 1), g.ints(0))
        return g.reshape(x, g.out_shapes[0])


@dataclass(frozen=True)
class SelectSteps(Operator):
    """``count`` steps of a sequence, from ``start`` on."""

    steps: int
    start: int
    count: int
    op_name: ClassVar[str] = "SelectSteps"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        data = unify(data, None if out is None else (self.steps, *out[1:]))
        return [data], [out if data is None else unify(out, (self.count, *data[1:]))]

    def emit(self, g: Emitter, x: ir.Value) -> ir.Value:
        return g.op("Slice", x, g.ints(self.start), g.ints(self.start + self.count), g.ints(0))


@dataclass(frozen=True)
class UnstackSteps(Operator):
    """The values of all steps of a sequence, one by one."""

    steps: int
    op_name: ClassVar[str] = "UnstackSteps"

    def outputs(self) -> tuple[str, ...]:
        return tuple(f"step{i}" for i in range(self.steps))

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        shape = unify_all([*outs, None if data is None else data[1:]])
        whole = None if shape is None else (self.steps, *shape)
        return [unify(data, whole)], [shape] * self.steps

    def emit(self, g: Emitter, x: ir.Value) -> Sequence[ir.Value]:
        parts = g.ops("Split", x, g.ints(*[1] * self.steps), axis=0, outputs=self.steps)
        return [g.reshape(part, shape) for part, shape in zip(parts, g.out_shapes)]
