"""CTCLoss: the loss of a sequence of labels whose places in the data nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import OWN_DOMAIN, Expr, dtype_of, shape_of
from symbucket.ir.expr import maximum, minimum, where
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Losses and gradient blocks"


@operator("CTCLoss", "ctc_loss", "_contrib_CTCLoss", "_contrib_ctc_loss")
class CTCLoss(Operator):
    """Minus the logarithm of the probability of each sequence's labels (Graves et al., 2006).

    The data are scores before the softmax. ``label`` holds class numbers, of which ``blank_label``
    is never one: "first", 0, with labels from 1 on, or "last", with labels from 0 on. Labels end at
    the first padding, 0 (or below) for "first" and -1 (or below) for "last", or with
    ``use_label_lengths`` where ``label_lengths`` says. With ``use_data_lengths`` the steps from
    ``data_lengths`` on do not count. A sequence that is too short for its labels (one step a label,
    and one more between two that are the same) has the loss 0 and no gradient, as in MXNet. If
    scores of minus infinity forbid all its paths, the loss is infinite and there is no gradient.
    """

    formula = (
        "y[n] = -log(sum over paths p that read as label[n] of the product over t of "
        "softmax(data)[t, n, p[t]])"
    )
    example = "ctc_loss([[[0, 0]], [[0, 0]]], [[1]]) -> [0.2877]"
    shapes = "(steps, n, classes), (n, k), (n,), (n,) -> (n,)"
    implicit = ("label",)
    no_gradient = ("label", "data_lengths", "label_lengths")

    use_data_lengths: bool = False
    use_label_lengths: bool = False
    blank_label: Literal["first", "last"] = "first"

    def arguments(self) -> tuple[str, ...]:
        data = ("data_lengths",) if self.use_data_lengths else ()
        label = ("label_lengths",) if self.use_label_lengths else ()
        return ("data", "label", *data, *label)

    def outputs(self) -> tuple[str, ...]:
        return ("output0",)  # MXNet's name

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[0] or outs[0]
        return [dtype, *ins[1:]], [dtype]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, label, *lengths = ins
        for name, shape, rank in (("data", data, 3), ("label", label, 2)):
            if shape is not None and len(shape) != rank:
                axes = "(steps, n, classes)" if rank == 3 else "(n, labels)"
                raise ShapeError(f"{name} must have the axes {axes}, it has shape {shape}")
        if data is not None and data[2] == 1:
            raise ShapeError(f"data {data} has one class, the blank: there is nothing to read")
        row = unify(outs[0], None if data is None else (data[1],))
        row = unify(row, None if label is None else (label[0],))
        for length in lengths:
            row = unify(row, length)
        if row is None:
            return ins, outs
        if data is not None:
            data = unify(data, (0, row[0], 0))
        label = unify(label, (row[0], 0))
        return [data, label, *(row for _ in lengths)], [row]

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        (steps, _, classes), (_, most) = ins[:2]
        high = classes if self.blank_label == "first" else classes - 1
        bounds = {"label": IndexBounds("labels", high, low=None)}
        if self.use_data_lengths:
            bounds["data_lengths"] = IndexBounds("numbers of steps", steps + 1)
        if self.use_label_lengths:
            bounds["label_lengths"] = IndexBounds("numbers of labels", most + 1)
        return bounds

    def emit(
        self,
        g: Emitter,
        data: ir.Value,
        label: ir.Value,
        data_lengths: ir.Value | None = None,
        label_lengths: ir.Value | None = None,
    ) -> ir.Value:
        if self.use_label_lengths and not self.use_data_lengths:
            data_lengths, label_lengths = None, data_lengths
        first = self.blank_label == "first"
        labels = Expr(g, g.cast(label, ir.DataType.INT64))
        most = labels.shape[1]
        if label_lengths is None:
            place = labels.const(np.arange(most).reshape(1, most))
            padding = where(labels < (1 if first else 0), place, most)
            sizes = padding.op("ReduceMin", [1], keepdims=0)
        else:
            sizes = _length(g, label_lengths, most)
        own, dtype = dtype_of(data), dtype_of(data)
        if own not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            dtype = ir.DataType.FLOAT  # the logarithm of 0 overflows float16
        x = g.cast(data, dtype)
        steps, _, classes = shape_of(x)
        limit = None if data_lengths is None else _length(g, data_lengths, steps).value
        loss, _, _ = g.ops(
            "CTCLoss",
            x,
            labels.value,
            sizes.value,
            limit,
            outputs=3,
            domain=OWN_DOMAIN,
            blank=0 if first else classes - 1,
            loops=int(g.loops and g.loop is None),
        )
        return g.cast(loss, own)


def _length(g: Emitter, lengths: ir.Value, most: int) -> Expr:
    """Lengths as int64, from 0 to ``most``."""
    return minimum(maximum(Expr(g, g.cast(lengths, ir.DataType.INT64)), 0), most)
