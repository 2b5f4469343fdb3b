"""Outputs that carry their own gradient: SoftmaxOutput, SVMOutput, MakeLoss, BlockGrad.

They lower to nodes of our own domain, which reverse-mode differentiation asks for the gradient and
which the pass ``expand-own-nodes`` writes in standard ONNX afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    attr,
    dtype_of,
    expansion,
    gradient,
    mark,
    no_gradient,
    same_as_first,
    shape_of,
    shape_rule,
)
from symbucket.ir.expr import clip, maximum, where
from symbucket.ir.minus_infinity import can_be_minus_infinity
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import is_known, unify, with_dim
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Losses and gradient blocks"


Normalization = Literal["null", "batch", "valid"]


# The nodes of our own domain --------------------------------------------------------------------

mark("SoftmaxOutput", "LossOutput", domain=OWN_DOMAIN, own_loss=True)
no_gradient("BlockGrad", domain=OWN_DOMAIN, because="is there to block the gradient")
no_gradient("SoftmaxOutputGrad", domain=OWN_DOMAIN, because="is itself a gradient")
no_gradient("SoftmaxOutput", domain=OWN_DOMAIN, inputs=[1], because="is a label, as in MXNet")
no_gradient("LossOutput", domain=OWN_DOMAIN, inputs=[1], because="is the value of the output")
no_gradient("LossOutput", domain=OWN_DOMAIN, inputs=[2], because="is itself a gradient")


_SHAPED_LIKE_DATA = ("SoftmaxOutput", "SoftmaxOutputGrad", "LossOutput", "BlockGrad")
shape_rule(*_SHAPED_LIKE_DATA, domain=OWN_DOMAIN)(same_as_first)


@gradient("SoftmaxOutput", domain=OWN_DOMAIN)
def _softmax_output_gradient(
    y: Expr, data: Expr, label: Expr, dy: Expr | None, **attributes: Any
) -> Expr:
    dx = y.own("SoftmaxOutputGrad", label, **attributes)
    if attributes["use_ignore"] and can_be_minus_infinity(data.value, unknown=False):
        # A row that is masked whole is NaN; if it is ignored, its gradient is not 0 times NaN.
        ignored = label.cast(ir.DataType.INT64) == int(attributes["ignore_label"])
        column = with_dim(y.shape, attributes["axis"], 1)
        dx = where(ignored.reshape(column), 0.0, dx)
    return dx * dy if attributes["out_grad"] and dy is not None else dx


@gradient("LossOutput", domain=OWN_DOMAIN)
def _loss_output_gradient(data: Expr, output: Expr, dx: Expr) -> Expr:
    return dx


@expansion("LossOutput")
def _expand_loss_output(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    assert node.inputs[1] is not None
    return [g.op("Identity", node.inputs[1])]


@expansion("BlockGrad")
def _expand_block_grad(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    return [g.op("Identity", node.inputs[0])]


@expansion("SoftmaxOutput")
def _expand_softmax_output(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    return [g.op("Softmax", node.inputs[0], axis=attr(node, "axis"))]


@expansion("SoftmaxOutputGrad")
def _expand_softmax_output_grad(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    prob, label = (Expr(g, v) for v in node.inputs if v is not None)
    axis: int = attr(node, "axis")
    classes = prob.shape[axis]
    label = label.cast(ir.DataType.INT64)
    column = with_dim(prob.shape, axis, 1)
    weight = Expr(g, row_weights(g, node, label.value, prob.value))
    weight = weight.reshape(column) if weight.shape == label.shape else weight
    smooth: float = attr(node, "smooth_alpha")
    off = smooth / (classes - 1) if smooth else 0.0
    scaled = (prob - off if off else prob) * weight
    # Labels to ignore may lie outside the classes; their weight is zero.
    index = clip(label, 0, classes - 1)
    hit = (weight * -(1.0 - smooth - off)).expand(column)
    if attr(node, "any_label", 0):  # a label that is no class has no class to move towards
        is_class = (label >= 0) & (label < classes)
        hit = hit * is_class.cast(hit.dtype).reshape(column)
    index = index.reshape(column)
    return [scaled.op("ScatterElements", index, hit, axis=axis, reduction="add").value]


def row_weights(g: Builder, node: ir.Node, label: ir.Value, like: ir.Value) -> ir.Value:
    """Return the factor on every row's ``p - onehot``: scale, normalisation and ignored labels.

    ``label`` is int64. The result is a scalar if all rows weigh the same, else one number a label.
    """
    scale: float = attr(node, "grad_scale")
    labels, typed = Expr(g, label), Expr(g, like)
    use_ignore, valid = attr(node, "use_ignore"), attr(node, "normalization") == "valid"
    keep = typed
    if use_ignore or valid:
        keep = (labels != int(attr(node, "ignore_label"))).cast(typed.dtype)
    factor = typed.const(scale / attr(node, "divisor"))
    if valid:
        factor = scale / maximum(keep.sum(), 1.0)
    return (keep * factor if use_ignore else factor).value


# The operators ----------------------------------------------------------------------------------


class LabelledOutput(Operator):
    """An output with a label, whose gradient ignores the head gradient."""

    implicit = ("label",)
    no_gradient = ("label",)
    is_loss = True

    def arguments(self) -> tuple[str, ...]:
        return ("data", "label")

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        data = ins[0] or outs[0]
        return [data, ins[1]], [data]


@operator("SoftmaxOutput", "Softmax")
class SoftmaxOutput(LabelledOutput):
    """Softmax whose gradient is that of the cross entropy with ``label``.

    The gradient is ``(p - onehot(label)) * grad_scale / norm``; norm is 1 for normalization
    "null", the batch size (with ``preserve_shape`` the number of labels) for "batch", the number of
    labels that are not ``ignore_label`` for "valid". With ``use_ignore`` rows labelled
    ``ignore_label`` get no gradient. ``multi_output`` takes axis 1 of (n, classes, d1, ...) and
    labels (n, d1, ...); ``preserve_shape`` the last axis; otherwise all axes but the first are
    classes. A label of the shape of data holds probabilities: the gradient is
    ``(p - label) * grad_scale``, without normalization, as in MXNet.
    """

    formula = "y = softmax(x); dx = grad_scale (y - onehot(label))"
    example = "SoftmaxOutput([[0, 0], [1, 2]], [0, 1]) -> [[0.5, 0.5], [0.2689, 0.7311]]"
    shapes = (
        "(n, *c), (n,) -> (n, *c) or (n, c, *d), (n, *d) -> (n, c, *d) or (*d, c), (*d) -> (*d, c)"
    )

    grad_scale: float = 1.0
    ignore_label: float = -1.0
    multi_output: bool = False
    use_ignore: bool = False
    preserve_shape: bool = False
    normalization: Normalization = "null"
    out_grad: bool = False
    smooth_alpha: float = 0.0

    def _label_shape(self, data: tuple[int, ...]) -> tuple[int, ...]:
        if self.multi_output:
            return (data[0], *data[2:])
        if self.preserve_shape:
            return data[:-1]
        return data[:1]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, label = unify(ins[0], outs[0]), ins[1]
        if data is not None:
            if len(data) < 2:
                raise ShapeError(f"data must have two or more axes, it has shape {data}")
            if self.takes_probabilities(data, label):
                return [data, label], [data]
            label_shape = self._label_shape(data)
            same_count = (
                is_known(label) and is_known(data) and math.prod(label) == math.prod(label_shape)
            )
            if not same_count:
                label = unify(label, label_shape)
        return [data, label], [data]

    def takes_probabilities(self, data: Shape, label: PartialShape) -> bool:
        """Return whether the label holds a probability for each class."""
        return (
            label is not None
            and label == data
            and math.prod(self._label_shape(data)) != (math.prod(data))
        )

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        data = ins[0]
        if self.takes_probabilities(data, ins[1]):
            return {}
        classes = math.prod(data[1:])
        if self.multi_output:
            classes = data[1]
        elif self.preserve_shape:
            classes = data[-1]
        ignored = self.ignore_label if self.use_ignore else None
        hint = "" if self.use_ignore else "Padding needs use_ignore=True and ignore_label."
        return {"label": IndexBounds("classes", classes, also=ignored, lenient=True, hint=hint)}

    def emit(self, g: Emitter, data: ir.Value, label: ir.Value) -> ir.Value:
        shape = shape_of(data)
        if self.takes_probabilities(shape, shape_of(label)):
            return self._of_probabilities(g, data, label)
        axis, spatial = 1, 1
        if self.multi_output:
            spatial = math.prod(shape[2:])
        elif self.preserve_shape:
            axis = len(shape) - 1
        else:
            data = g.reshape(data, (shape[0], math.prod(shape[1:])))
        label = g.reshape(label, self._label_shape(shape))
        batch = 1
        if self.normalization == "batch":
            batch = math.prod(shape_of(label)) if self.preserve_shape else shape_of(label)[0]
        out = g.own(
            "SoftmaxOutput",
            data,
            label,
            axis=axis,
            grad_scale=self.grad_scale,
            ignore_label=self.ignore_label,
            use_ignore=int(self.use_ignore),
            normalization=self.normalization,
            divisor=float(batch * spatial),
            smooth_alpha=self.smooth_alpha,
            out_grad=int(self.out_grad),
            any_label=int(not g.labels_in_range),
        )
        return g.reshape(out, shape)

    def _of_probabilities(self, g: Emitter, data: ir.Value, label: ir.Value) -> ir.Value:
        shape = shape_of(data)
        axis = 1 if self.multi_output else len(shape) - 1
        if not self.multi_output and not self.preserve_shape:
            flat = (shape[0], math.prod(shape[1:]))
            data, label, axis = g.reshape(data, flat), g.reshape(label, flat), 1
        out = Expr(g, g.op("Softmax", data, axis=axis))
        dx = (out - Expr(g, g.cast(label, dtype_of(data)))) * self.grad_scale
        return g.reshape(g.own("LossOutput", data, out.value, dx.value), shape)


@operator("SVMOutput")
class SVMOutput(LabelledOutput):
    """The data itself; its gradient is that of the hinge loss of one class against the others.

    A class counts as long as its score (the negated score of the wrong ones) is below ``margin``:
    by its square, or linearly with ``use_linear``, times ``regularization_coefficient``.
    """

    formula = "y = x; dx of the sum of max(0, margin - s x)^2, s = 1 for the label, else -1"
    example = "SVMOutput([[1, 2]], [0]) -> [[1, 2]]"
    shapes = "(n, c), (n,) -> (n, c)"
    margin: float = 1.0
    regularization_coefficient: float = 1.0
    use_linear: bool = False

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, label = unify(ins[0], outs[0]), ins[1]
        if data is not None:
            if len(data) < 2:
                raise ShapeError(f"data must have two or more axes, it has shape {data}")
            label = unify(label, data[:1])
        return [data, label], [data]

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        return {"label": IndexBounds("classes", math.prod(ins[0][1:]), lenient=True)}

    def emit(self, g: Emitter, data: ir.Value, label: ir.Value) -> ir.Value:
        shape = shape_of(data)
        scores = Expr(g, g.reshape(data, (shape[0], math.prod(shape[1:]))))
        classes = Expr(g, g.const(np.arange(scores.shape[1])))
        right = Expr(g, g.cast(label, ir.DataType.INT64)).reshape((shape[0], 1)) == classes
        sign = where(right, scores.const(-1.0), scores.const(1.0))
        missing = scores * sign + self.margin  # how much the score lacks to the margin
        if self.use_linear:
            slope = sign * (missing > 0.0).cast(scores.dtype)
        else:
            slope = sign * maximum(missing, 0.0) * 2.0
        dx = (slope * self.regularization_coefficient).reshape(shape)
        return g.own("LossOutput", data, data, dx.value)


@operator("MakeLoss", "make_loss")
class MakeLoss(Operator):
    """Makes the data a loss: the gradient is ``grad_scale``, whatever comes after.

    normalization "batch" divides by the first dimension, "valid" by the number of elements above
    ``valid_thresh``.
    """

    formula = "y = x; dx = grad_scale"
    example = "MakeLoss([1, 2]) -> [1, 2]"
    grad_scale: float = 1.0
    valid_thresh: float = 0.0
    normalization: Normalization = "null"
    is_loss = True

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data)
        if self.normalization == "valid":
            above = g.op("Greater", data, g.const(self.valid_thresh, like=data))
            count = g.reduce_sum(g.cast(above, dtype_of(data)), range(len(shape)), keepdims=False)
            count = g.op("Max", count, g.const(1.0, like=data))
            dx = g.op("Div", g.filled(shape, self.grad_scale, dtype_of(data)), count)
        else:
            divisor = shape[0] if self.normalization == "batch" else 1
            dx = g.filled(shape, self.grad_scale / divisor, dtype_of(data))
        return g.own("LossOutput", data, data, dx)


@operator("BlockGrad", "stop_gradient")
class BlockGrad(Operator):
    """The data itself; no gradient flows back through it."""

    formula = "y = x; dx = 0"
    example = "BlockGrad([1, 2]) -> [1, 2]"
    no_gradient = ("data",)
    is_loss = True

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.own("BlockGrad", data)
