"""The output layer of a language model: product, softmax, cross entropy and their gradients.

The matrix of probabilities [rows, classes] is by far the largest value of such a network, and the
naive form walks over it again and again. Here it is touched by as few nodes as possible:

* rows whose label is ignored are dropped before the product, where nobody wants the outputs;
* the bias is one more column of the weight, so no node adds it;
* ``p - onehot`` is made inside p, by writing ``p[label] - 1`` where the label is;
* scale, normalisation and mask go on the small operands of the gradient's products;
* the gradient of the bias is one more column of the weight's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from symbucket.compiler.metrics import negative_log
from symbucket.compiler.rewrite.graph_queries import only_user, substitute
from symbucket.ir import Builder, attr, bounds, const_of, dtype_of, shape_of

_COLUMNS = 16  # the kernels like inner dimensions that are multiples of this
_ROWS = "kept_rows"  # how the number of rows is called that depends on a batch's labels


@dataclass
class _Layer:
    """One output layer and everything that reads its probabilities."""

    gemm: ir.Node
    softmax: ir.Node
    losses: list[ir.Node] = field(default_factory=list)
    grad: ir.Node | None = None
    by_input: list[ir.Node] = field(default_factory=list)
    by_weight: list[ir.Node] = field(default_factory=list)
    by_bias: list[ir.Node] = field(default_factory=list)
    drop: bool = False


def rewrite_softmax_rows(graph: ir.Graph) -> int:
    """Rewrite every output layer of the known form."""
    layers = [_match(node) for node in graph if node.op_type == "SoftmaxOutput"]
    found = [layer for layer in layers if layer is not None]
    for layer in found:
        _Rewrite(graph, layer).run()
    return len(found)


def _match(softmax: ir.Node) -> _Layer | None:
    x, label = softmax.inputs
    assert x is not None
    gemm = x.producer()
    if (
        gemm is None
        or gemm.op_type != "Gemm"
        or gemm.domain
        or only_user(x) is not softmax
        or len(shape_of(x)) != 2
        or attr(softmax, "smooth_alpha")
        or attr(softmax, "out_grad")
        or attr(gemm, "transA", 0)
        or not attr(gemm, "transB", 0)
        or attr(gemm, "alpha", 1.0) != 1.0
        or attr(gemm, "beta", 1.0) != 1.0
    ):
        return None
    bias = gemm.inputs[2] if len(gemm.inputs) > 2 else None
    if bias is not None and shape_of(bias) != shape_of(x)[1:]:
        return None
    layer = _Layer(gemm, softmax)
    probabilities = softmax.outputs[0]
    hidden = not probabilities.is_graph_output()
    ignored = attr(softmax, "ignore_label")
    same_rows = bool(attr(softmax, "use_ignore"))
    for user, _ in probabilities.uses():
        if user.op_type == "SoftmaxOutputGrad" and layer.grad is None:
            layer.grad = user
        elif user.op_type == "LabelLoss" and user.inputs[1] is label:
            layer.losses.append(user)
            same_rows &= bool(attr(user, "use_ignore")) and attr(user, "ignore_label") == ignored
        else:
            return None
    if layer.grad is not None and not _match_gradient(layer):
        return None
    layer.drop = hidden and same_rows
    return layer if layer.grad is not None or layer.drop else None


def _match_gradient(layer: _Layer) -> bool:
    assert layer.grad is not None
    result = layer.grad.outputs[0]
    if result.is_graph_output():
        return False
    x, w = layer.gemm.inputs[:2]
    for user, place in result.uses():
        gemm = user.op_type == "Gemm" and not user.domain and len(user.inputs) == 2 and place == 0
        plain = gemm and attr(user, "alpha", 1.0) == 1.0 and not attr(user, "transB", 0)
        if plain and not attr(user, "transA", 0) and user.inputs[1] is w:
            layer.by_input.append(user)
        elif plain and attr(user, "transA", 0) and user.inputs[1] is x:
            layer.by_weight.append(user)
        elif _sums_rows(user):
            layer.by_bias.append(user)
        else:
            return False
    return True


def _sums_rows(node: ir.Node) -> bool:
    axes = const_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return (
        node.op_type == "ReduceSum"
        and axes is not None
        and axes.tolist() == [0]
        and not attr(node, "keepdims", 1)
    )


class _Rewrite:
    """Writes one layer anew, where its softmax and the gradient of the softmax stand."""

    def __init__(self, graph: ir.Graph, layer: _Layer) -> None:
        self.graph, self.layer = graph, layer
        self.g = Builder(graph, anchor=layer.softmax)
        x, w = layer.gemm.inputs[:2]
        assert x is not None
        assert w is not None
        self.x, self.w = x, w
        self.rows, self.width = shape_of(x)
        self.classes = shape_of(w)[0]
        self.bias = layer.gemm.inputs[2] if len(layer.gemm.inputs) > 2 else None
        self.count: int | str = self.rows
        if layer.drop:
            self.count = self.g.unique(_ROWS)
            bounds(graph)[self.count] = self.rows
        # A wider copy of the weight pays where there are many rows to add a bias to.
        self.wide = self.bias is not None and self.rows * 2 > self.width * 3
        self.extra = -(self.width + 1) % _COLUMNS + 1 if self.wide else 0
        self.total = self.width + self.extra

    def run(self) -> None:
        """Replace the layer."""
        scope = (self.layer.softmax.name or "").rpartition("/")[0]
        with self.g.scoped(f"{scope}/rows"):
            self._forward()
        if self.layer.grad is not None:
            self.g = Builder(self.graph, anchor=self.layer.grad)
            with self.g.scoped(f"grad/{scope}/rows"):
                self._backward()
        grad = [self.layer.grad] if self.layer.grad is not None else []
        layer = self.layer
        for node in [*layer.by_input, *layer.by_weight, *layer.by_bias, *layer.losses, *grad]:
            self.graph.remove(node, safe=True)
        for node in (layer.softmax, layer.gemm):
            self.graph.remove(node, safe=True)

    # Rows ------------------------------------------------------------------------------------

    def _forward(self) -> None:
        g, node = self.g, self.layer.softmax
        source = node.inputs[1]
        assert source is not None
        label = g.cast(source, ir.DataType.INT64)
        zero, last = g.const(0, like=label), g.const(self.classes - 1, like=label)
        self.keep: ir.Value | None = None
        if attr(node, "use_ignore") or attr(node, "normalization") == "valid":
            ignored = g.const(int(attr(node, "ignore_label")), like=label)
            self.keep = g.op("Not", g.op("Equal", label, ignored))
        x = self.x
        if self.layer.drop:
            self.index = self._kept_rows()
            label = g.typed("Gather", [self.count], label, self.index, axis=0)
            x = g.typed("Gather", [self.count, self.width], x, self.index, axis=0)
        label = g.typed("Clip", [self.count], label, zero, last)
        self.label = g.typed("Reshape", [self.count, 1], label, g.ints(-1, 1))
        logits = self._logits(x)
        p = g.typed("Softmax", [self.count, self.classes], logits, axis=1)
        self.picked = g.typed("GatherElements", [self.count, 1], p, self.label, axis=1)
        self.p = p
        node.outputs[0].replace_all_uses_with(p, replace_graph_outputs=True)
        for loss in self.layer.losses:
            self._loss(loss)

    def _kept_rows(self) -> ir.Value:
        """Indices of the rows to keep: row 0 where all are ignored, with weight zero later."""
        g = self.g
        assert self.keep is not None
        counted = g.cast(self.keep, ir.DataType.INT32)
        none = g.op("Equal", g.op("ReduceMax", counted, g.ints(0)), g.const(0, like=counted))
        first = np.zeros(self.rows, dtype=np.bool_)
        first[0] = True
        keep = g.op("Or", self.keep, g.op("And", none, g.const(first)))
        index = g.typed("NonZero", [1, self.count], keep, dtype=ir.DataType.INT64)
        return g.typed("Reshape", [self.count], index, g.ints(-1))

    def _logits(self, x: ir.Value) -> ir.Value:
        g, shape = self.g, [self.count, self.classes]
        if not self.wide:
            self.input = x
            operands = [x, self.w] if self.bias is None else [x, self.w, self.bias]
            return g.typed("Gemm", shape, *operands, transB=1)
        assert self.bias is not None
        extra, total = self.extra, self.total
        one = np.zeros((1, total), dtype=dtype_of(x).numpy())
        one[0, self.width] = 1
        padded = g.typed("Pad", [self.count, total], x, g.ints(0, 0, 0, extra))
        self.input = g.typed("Add", [self.count, total], padded, g.const(one))
        column = g.reshape(self.bias, (self.classes, 1))
        if extra > 1:
            column = g.op("Pad", column, g.ints(0, 0, 0, extra - 1))
        wide = g.op("Concat", self.w, column, axis=1)
        return g.typed("Gemm", shape, self.input, wide, transB=1)

    def _any(self) -> ir.Value:
        """1.0 where at least one row is kept, else 0.0; shape (1,)."""
        g = self.g
        return g.op("Min", self._number_kept(), g.const(1.0, like=self.w))

    def _number_kept(self) -> ir.Value:
        assert self.keep is not None
        return self.g.reduce_sum(self.g.cast(self.keep, dtype_of(self.w)), [0])

    def _loss(self, loss: ir.Node) -> None:
        g = self.g
        nll = negative_log(g, loss, self.picked)
        nll = g.typed("Reshape", [self.count], nll, g.ints(-1))
        if self.layer.drop:
            kept = g.op("Greater", self._any(), g.const(0.0, like=self.w))
            total = g.typed("ReduceSum", [1], nll, g.ints(0), keepdims=1)
            results = [
                g.op("Where", kept, total, g.const(0.0, like=self.w)),
                self._number_kept(),
            ]
        elif attr(loss, "use_ignore"):
            label = g.cast(loss.inputs[1], ir.DataType.INT64)  # type: ignore[arg-type]
            same = g.op("Equal", label, g.const(int(attr(loss, "ignore_label")), like=label))
            nll = g.op("Where", same, g.const(0.0, like=self.w), nll)
            keep = g.cast(g.op("Not", same), dtype_of(self.w))
            results = [g.reduce_sum(nll, [0]), g.reduce_sum(keep, [0])]
        else:
            count = g.filled((1,), float(self.rows), dtype_of(self.w))
            results = [g.reduce_sum(nll, [0]), count]
        for old, new in zip(loss.outputs, results):
            substitute(g, old, new)

    # Gradients -------------------------------------------------------------------------------

    def _weight(self) -> ir.Value:
        """The factor on the rows of ``p - onehot``: shape (1,), or (rows, 1) for a mask."""
        g, node, like = self.g, self.layer.softmax, self.w
        scale: float = attr(node, "grad_scale")
        if attr(node, "normalization") == "valid":
            least = g.op("Max", self._number_kept(), g.const(1.0, like=like))
            factor = g.op("Div", g.const(np.array([scale], dtype_of(like).numpy())), least)
        else:
            divided = np.array([scale / attr(node, "divisor")], dtype_of(like).numpy())
            factor = g.const(divided)
        if self.layer.drop:
            return g.op("Mul", factor, self._any())
        if not attr(node, "use_ignore"):
            return factor
        assert self.keep is not None
        mask = g.reshape(g.cast(self.keep, dtype_of(like)), (self.rows, 1))
        return g.op("Mul", mask, factor)

    def _backward(self) -> None:
        g, layer = self.g, self.layer
        less = g.typed("Sub", [self.count, 1], self.picked, g.const(1.0, like=self.w))
        d = g.typed("ScatterElements", [self.count, self.classes], self.p, self.label, less, axis=1)
        weight = self._weight()
        total = self.total
        scaled = g.typed("Mul", [self.count, total], self.input, weight)
        if layer.by_weight or self.wide:
            by_weight = g.typed("Gemm", [self.classes, total], d, scaled, transA=1)
        # Behind the weight: its gradient then finds the place that the wide weight has left.
        if layer.by_input:
            _replace(layer.by_input, self._by_input(d, weight))
        if self.wide:
            sizes = [s for s in (self.width, 1, self.extra - 1) if s]
            parts = g.ops("Split", by_weight, g.ints(*sizes), axis=1, outputs=len(sizes))
            _replace(layer.by_weight, parts[0])
            _replace(layer.by_bias, g.reshape(parts[1], (self.classes,)))
            return
        if layer.by_weight:
            _replace(layer.by_weight, by_weight)
        if layer.by_bias:
            _replace(layer.by_bias, self._by_bias(d, weight))

    def _by_input(self, d: ir.Value, weight: ir.Value) -> ir.Value:
        g, shape = self.g, [self.count, self.width]
        rows = g.typed("Mul", shape, g.typed("Gemm", shape, d, self.w), weight)
        if not self.layer.drop:
            return rows
        zeros = g.filled((self.rows, self.width), 0.0, dtype_of(self.w))
        place = g.typed("Reshape", [self.count, 1], self.index, g.ints(-1, 1))
        return g.typed("ScatterND", [self.rows, self.width], zeros, place, rows)

    def _by_bias(self, d: ir.Value, weight: ir.Value) -> ir.Value:
        g = self.g
        if shape_of(weight) == (1,):
            total = g.typed("ReduceSum", [self.classes], d, g.ints(0), keepdims=0)
            return g.op("Mul", total, weight)
        row = g.op("Gemm", weight, d, transA=1)
        return g.reshape(row, (self.classes,))


def _replace(nodes: list[ir.Node], value: ir.Value) -> None:
    for node in nodes:
        node.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
