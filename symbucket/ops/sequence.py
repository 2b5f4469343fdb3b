"""Operators on batches of sequences of different lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Sequences of different lengths"


class _Sequence(Operator):
    """Data (time, batch, ...), or (batch, time, ...) with ``axis=1``; lengths (batch,) if used."""

    use_sequence_length: bool = False
    axis: int = 0

    def __post_init__(self) -> None:
        self.check(self.axis in (0, 1), f"axis={self.axis} must be 0 or 1")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "sequence_length") if self.use_sequence_length else ("data",)

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[0] or outs[0]
        return [dtype, *ins[1:]], [dtype]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = unify(ins[0], outs[0])
        return self.with_lengths(data, ins), [data]

    def with_lengths(self, data: PartialShape, ins: list[PartialShape]) -> list[PartialShape]:
        """Return the input shapes, completed: the batch size is the number of lengths."""
        if data is not None and len(data) < 2:
            raise ShapeError(f"data must have two or more axes, it has shape {data}")
        if not self.use_sequence_length:
            return [data]
        length = ins[1]
        if data is not None:
            length = unify(length, (data[1 - self.axis],))
            assert length is not None
            batch = [0] * len(data)
            batch[1 - self.axis] = length[0]
            data = unify(data, tuple(batch))
        return [data, length]

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        if not self.use_sequence_length:
            return {}
        return {"sequence_length": IndexBounds("sequence lengths", ins[0][self.axis] + 1, low=None)}

    def lengths(self, g: Emitter, value: ir.Value, least: int) -> ir.Value:
        """The lengths as int64, not below ``least``."""
        value = g.cast(value, ir.DataType.INT64)
        return g.op("Max", value, g.const(least, like=value))


@operator("SequenceMask")
class SequenceMask(_Sequence):
    """The data with ``value`` at the time steps from each sequence's length on."""

    formula = "y[t, n] = data[t, n] if t < length[n], else value"
    example = "SequenceMask([[1, 2], [3, 4]], [1, 2], use_sequence_length=True) -> [[1, 2], [0, 4]]"
    shapes = "(*d), (n,) -> (*d)"
    no_gradient = ("sequence_length",)

    use_sequence_length: bool = False
    value: float = 0.0
    axis: int = 0

    def emit(self, g: Emitter, data: ir.Value, sequence_length: ir.Value | None = None) -> ir.Value:
        if sequence_length is None:
            return g.op("Identity", data)
        shape = shape_of(data)
        steps, lengths = [1] * len(shape), [1] * len(shape)
        steps[self.axis], lengths[1 - self.axis] = shape[self.axis], shape[1 - self.axis]
        time = g.const(np.arange(shape[self.axis], dtype=np.int64).reshape(steps))
        inside = g.op("Less", time, g.reshape(g.cast(sequence_length, ir.DataType.INT64), lengths))
        return g.op("Where", inside, data, g.const(self.value, like=data))


@operator("SequenceLast")
class SequenceLast(_Sequence):
    """The last time step of every sequence; a length below 1 counts as 1."""

    formula = "y[n] = data[length[n] - 1, n]"
    example = (
        "SequenceLast([[[1], [2]], [[3], [4]]], [1, 2], use_sequence_length=True) -> [[1], [4]]"
    )
    shapes = "(steps, n, *d), (n,) -> (n, *d) or (n, steps, *d), (n,) -> (n, *d)"
    no_gradient = ("sequence_length",)

    use_sequence_length: bool = False
    axis: int = 0

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is None and out is not None:
            batch, rest = out[:1], out[1:]
            data = (*batch, 0, *rest) if self.axis else (0, *batch, *rest)
        inputs = self.with_lengths(data, ins)
        data = inputs[0]
        if data is not None:
            out = unify(out, (data[1 - self.axis], *data[2:]))
        return inputs, [out]

    def emit(self, g: Emitter, data: ir.Value, sequence_length: ir.Value | None = None) -> ir.Value:
        shape, rest = shape_of(data), shape_of(data)[2:]
        steps, batch = shape[self.axis], shape[1 - self.axis]
        if sequence_length is None:
            return g.op("Gather", data, g.const(np.int64(steps - 1)), axis=self.axis)
        last = g.op("Sub", self.lengths(g, sequence_length, 1), g.const(np.int64(1)))
        # One row for each step and sequence; the last step of sequence b is one of them.
        rows = np.arange(batch, dtype=np.int64)
        if self.axis == 0:
            row = g.op("Add", g.op("Mul", last, g.const(np.int64(batch))), g.const(rows))
        else:
            row = g.op("Add", last, g.const(rows * steps))
        return g.op("Gather", g.reshape(data, (steps * batch, *rest)), row, axis=0)


@operator("SequenceReverse")
class SequenceReverse(_Sequence):
    """The first steps of every sequence, as many as its length says, in reverse order."""

    formula = "y[t, n] = data[length[n] - 1 - t, n] if t < length[n], else data[t, n]"
    example = (
        "SequenceReverse([[[1], [2]], [[3], [4]]], [1, 2], use_sequence_length=True) -> [[[1], "
        "[4]], [[3], [2]]]"
    )
    shapes = "(*d), (n,) -> (*d)"
    no_gradient = ("sequence_length",)

    use_sequence_length: bool = False
    axis: int = 0

    def __post_init__(self) -> None:
        self.check(self.axis == 0, f"axis={self.axis} must be 0")

    def emit(self, g: Emitter, data: ir.Value, sequence_length: ir.Value | None = None) -> ir.Value:
        if sequence_length is not None:
            # A length of 0 and of 1 both leave a sequence as it is; the runtime refuses 0.
            lengths = self.lengths(g, sequence_length, 1)
            return g.op("ReverseSequence", data, lengths, batch_axis=1, time_axis=0)
        size = shape_of(data)[0]
        return g.op("Slice", data, g.ints(size - 1), g.ints(-size - 1), g.ints(0), g.ints(-1))
