"""Outputs that carry their own gradient: SoftmaxOutput, regression outputs, MakeLoss, BlockGrad.

They lower to nodes of our own domain, which reverse-mode differentiation asks for the gradient and
which the pass ``expand-own-nodes`` writes in standard ONNX afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Grads,
    attr,
    dtype_of,
    expansion,
    gradient,
    mark,
    shape_of,
    shape_rule,
)
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import known, unify, with_dim
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Losses and gradient blocks"


Normalization = Literal["null", "batch", "valid"]


# The nodes of our own domain --------------------------------------------------------------------

mark("SoftmaxOutput", "LossOutput", domain=OWN_DOMAIN, own_loss=True)
mark("BlockGrad", "SoftmaxOutputGrad", domain=OWN_DOMAIN, no_gradient=True)


@shape_rule("SoftmaxOutput", "SoftmaxOutputGrad", "LossOutput", "BlockGrad", domain=OWN_DOMAIN)
def _same_as_first(node: ir.Node) -> list[tuple[tuple[int, ...], ir.DataType]]:
    value = node.inputs[0]
    assert value is not None
    return [(shape_of(value), dtype_of(value))]


@gradient("SoftmaxOutput", domain=OWN_DOMAIN)
def _softmax_output_gradient(
    g: Builder, node: ir.Node, grads: Grads, wanted: Sequence[bool]
) -> Grads:
    attributes = {name: a.value for name, a in node.attributes.items()}
    dx = g.own("SoftmaxOutputGrad", node.outputs[0], node.inputs[1], **attributes)
    if attributes["out_grad"] and grads[0] is not None:
        dx = g.op("Mul", dx, grads[0])
    return [dx, None]


@gradient("LossOutput", domain=OWN_DOMAIN)
def _loss_output_gradient(g: Builder, node: ir.Node, grads: Grads, wanted: Sequence[bool]) -> Grads:
    return [node.inputs[2], None, None]


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
    prob, label = node.inputs
    assert prob is not None
    assert label is not None
    axis: int = attr(node, "axis")
    classes = shape_of(prob)[axis]
    label = g.cast(label, ir.DataType.INT64)
    column = with_dim(shape_of(prob), axis, 1)
    weight = row_weights(g, node, label, prob)
    weight = g.reshape(weight, column) if shape_of(weight) == shape_of(label) else weight
    smooth: float = attr(node, "smooth_alpha")
    off = smooth / (classes - 1) if smooth else 0.0
    scaled = g.op("Mul", prob if not off else g.op("Sub", prob, g.const(off, like=prob)), weight)
    # Labels to ignore may lie outside the classes; their weight is zero.
    safe = g.op("Clip", label, g.const(0, like=label), g.const(classes - 1, like=label))
    hit = g.op("Mul", weight, g.const(-(1.0 - smooth - off), like=prob))
    hit = g.op("Expand", hit, g.ints(*column)) if shape_of(hit) != column else hit
    index = g.reshape(safe, column)
    return [g.op("ScatterElements", scaled, index, hit, axis=axis, reduction="add")]


def row_weights(g: Builder, node: ir.Node, label: ir.Value, like: ir.Value) -> ir.Value:
    """The factor on every row's ``p - onehot``: scale, normalisation and ignored labels.

    ``label`` is int64. Gives a scalar where all rows weigh the same, else the label's shape.
    """
    scale: float = attr(node, "grad_scale")
    normalization: str = attr(node, "normalization")
    ignored = attr(node, "ignore_label")
    keep: ir.Value | None = None
    if attr(node, "use_ignore") or normalization == "valid":
        same = g.op("Equal", label, g.const(int(ignored), like=label))
        keep = g.cast(g.op("Not", same), dtype_of(like))
    factor = g.const(scale / attr(node, "divisor"), like=like)
    if normalization == "valid":
        assert keep is not None
        axes = range(len(shape_of(label)))
        count = g.op("Max", g.reduce_sum(keep, axes, keepdims=False), g.const(1.0, like=like))
        factor = g.op("Div", g.const(scale, like=like), count)
    if not attr(node, "use_ignore"):
        return factor
    assert keep is not None
    return g.op("Mul", keep, factor)


# The operators ----------------------------------------------------------------------------------


class _Output(Operator):
    is_loss = True

    def arguments(self) -> tuple[str, ...]:
        return ("data", "label")

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        data = ins[0] or outs[0]
        return [data, ins[1]], [data]


@operator("SoftmaxOutput", "Softmax")
class SoftmaxOutput(_Output):
    """Softmax whose gradient is that of the cross entropy with ``label``.

    The gradient is ``(p - onehot(label)) * grad_scale / norm``; norm is 1 for normalization
    "null", the batch size for "batch", the number of labels that are not ``ignore_label`` for
    "valid". With ``use_ignore`` rows labelled ``ignore_label`` get no gradient. ``multi_output``
    takes axis 1 of (n, classes, d1, ...) and labels (n, d1, ...); ``preserve_shape`` the last axis;
    otherwise all axes but the first are classes.
    """

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
            wanted = self._label_shape(data)
            same_count = known(label) and known(data) and math.prod(label) == math.prod(wanted)  # type: ignore[arg-type]
            if not same_count:
                label = unify(label, wanted)
        return [data, label], [data]

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        data = ins[0]
        classes = math.prod(data[1:])
        if self.multi_output:
            classes = data[1]
        elif self.preserve_shape:
            classes = data[-1]
        ignored = self.ignore_label if self.use_ignore else None
        return {"label": IndexBounds("classes", classes, also=ignored)}

    def emit(self, g: Emitter, data: ir.Value, label: ir.Value) -> ir.Value:
        shape = shape_of(data)
        axis, spatial = 1, 1
        if self.multi_output:
            spatial = math.prod(shape[2:])
        elif self.preserve_shape:
            axis = len(shape) - 1
        else:
            data = g.reshape(data, (shape[0], math.prod(shape[1:])))
        label = g.reshape(label, self._label_shape(shape))
        batch = shape_of(label)[0] if self.normalization == "batch" else 1
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
        )
        return g.reshape(out, shape)


class _Regression(_Output):
    grad_scale: float = 1.0

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, label = unify(ins[0], outs[0]), ins[1]
        if data is not None:
            column = len(data) == 2 and data[1] == 1
            if not (column and label is not None and len(label) == 1):
                label = unify(label, data)
        return [data, label], [data]

    def emit(self, g: Emitter, data: ir.Value, label: ir.Value) -> ir.Value:
        shape = shape_of(data)
        label = g.cast(g.reshape(label, shape), dtype_of(data))
        out = self.link(g, data)
        scale = g.const(self.grad_scale / (math.prod(shape) / shape[0]), like=data)
        dx = g.op("Mul", self.slope(g, g.op("Sub", out, label)), scale)
        return g.own("LossOutput", data, out, dx)

    def link(self, g: Emitter, data: ir.Value) -> ir.Value:
        """The output for the data."""
        return data

    def slope(self, g: Emitter, difference: ir.Value) -> ir.Value:
        """The gradient for output minus label."""
        return difference


@operator("LinearRegressionOutput")
class LinearRegressionOutput(_Regression):
    """The data itself; its gradient is that of half the squared difference to ``label``."""

    grad_scale: float = 1.0


@operator("LogisticRegressionOutput")
class LogisticRegressionOutput(_Regression):
    """Sigmoid of the data; its gradient is that of the binary cross entropy with ``label``."""

    grad_scale: float = 1.0

    def link(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.op("Sigmoid", data)


@operator("MAERegressionOutput")
class MAERegressionOutput(_Regression):
    """The data itself; its gradient is that of the absolute difference to ``label``."""

    grad_scale: float = 1.0

    def slope(self, g: Emitter, difference: ir.Value) -> ir.Value:
        return g.op("Sign", difference)


@operator("MakeLoss", "make_loss")
class MakeLoss(Operator):
    """Makes the data a loss: the gradient is ``grad_scale``, whatever comes after.

    normalization "batch" divides by the first dimension, "valid" by the number of elements above
    ``valid_thresh``.
    """

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

    is_loss = True

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.own("BlockGrad", data)
