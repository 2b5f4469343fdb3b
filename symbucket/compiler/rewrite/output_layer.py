"""The output layer of a language model: product, softmax, cross entropy and their gradients.

The matrix of probabilities [rows, classes] is by far the largest value of such a network, and the
naive form walks over it again and again. Here is the layer as it stands in a graph (`OutputLayer`)
and a block of its rows written with as few nodes on that matrix as possible (`RowBlock`):

* rows whose label is ignored are dropped before the product, if the outputs have no other use;
* ``p - onehot`` is computed inside p, by writing ``p[label] - 1`` at the label;
* scale, normalisation and mask go on the small operands of the gradient's products.

`fuse_output_layer` writes a layer as one block, `chunk_output_layer` as several.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from symbucket.compiler.metrics import negative_log
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.compiler.rewrite.pattern import Const, Match, Op, Optional, variables
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    attribute_of,
    bounds,
    dtype_of,
    input_of,
    is_op,
    scope_of,
    shape_of,
)

ROW_COUNT = "kept_rows"  # the name of a number of rows that depends on a batch's labels

x, weight, bias, label, gradient = variables("x", "weight", "bias", "label", "gradient")
LOGITS = Op("Gemm", x, weight, Optional(bias), transA=0, transB=1, alpha=1, beta=1, users=1)
PROBABILITIES = Op(
    "SoftmaxOutput", LOGITS, label, domain=OWN_DOMAIN, smooth_alpha=0, out_grad=0, any_label=0
)
LOSS = Op("LabelLoss", PROBABILITIES, label, domain=OWN_DOMAIN)
INPUT_GRADIENT = Op("Gemm", gradient, weight, transA=0, transB=0, alpha=1)
WEIGHT_GRADIENT = Op("Gemm", gradient, x, transA=1, transB=0, alpha=1)
BIAS_GRADIENT = Op("ReduceSum", gradient, Const([0]), keepdims=0)


@dataclass
class OutputLayer:
    """One output layer and everything that reads its probabilities.

    ``x`` is [rows, width], ``weight`` [classes, width], ``bias`` [classes], ``label`` [rows].
    ``users`` are the nodes that read the gradient of the logits, by pattern.
    """

    match: Match
    losses: list[ir.Node] = field(default_factory=list)
    gradient: ir.Node | None = None
    users: dict[Op, list[ir.Node]] = field(default_factory=dict)
    drops_rows: bool = False

    def __post_init__(self) -> None:
        self.softmax, self.probabilities = self.match.node(PROBABILITIES), self.match[PROBABILITIES]
        self.x, self.weight, self.label = (self.match[v] for v in (x, weight, label))
        self.bias = self.match.get(bias)
        self.rows, self.width = shape_of(self.x)
        self.classes = shape_of(self.weight)[0]
        self.dtype = dtype_of(self.weight)
        self.scope = scope_of(self.softmax)

    @property
    def ignores(self) -> bool:
        """True if rows with the ignored label have no gradient."""
        return bool(attribute_of(self.softmax, "use_ignore"))

    @property
    def counts_valid(self) -> bool:
        """True if the gradient is divided by the number of rows that are not ignored."""
        return bool(attribute_of(self.softmax, "normalization") == "valid")

    @property
    def ignored_label(self) -> float:
        """The label of rows that do not count."""
        return float(attribute_of(self.softmax, "ignore_label"))

    def replace_users(self, g: Builder, pattern: Op, result: ir.Value) -> None:
        """Put ``result`` in the place of the nodes that match ``pattern``."""
        for node in self.users[pattern]:
            substitute(g, node.outputs[0], result)

    def remove(self, graph: ir.Graph) -> None:
        """Remove the nodes of the layer, which have no users any more."""
        users = [node for nodes in self.users.values() for node in nodes]
        gradient = [] if self.gradient is None else [self.gradient]
        old = [*users, *self.losses, *gradient, self.softmax, self.match.node(LOGITS)]
        graph.remove(old, safe=True)


def output_layers(graph: ir.Graph) -> Iterator[OutputLayer]:
    """Yield the output layers of a graph; each may be rewritten before the next one is found."""
    for node in list(graph):
        if is_op(node, "SoftmaxOutput", OWN_DOMAIN):
            match = PROBABILITIES.match_node(node)
            layer = None if match is None else _with_users(OutputLayer(match))
            if layer is not None:
                yield layer


def _with_users(layer: OutputLayer) -> OutputLayer | None:
    """Return the layer with what reads its probabilities, None if there is anything else."""
    if layer.bias is not None and shape_of(layer.bias) != (layer.classes,):
        return None
    for user, _ in layer.probabilities.uses():
        if is_op(user, "SoftmaxOutputGrad", OWN_DOMAIN) and layer.gradient is None:
            layer.gradient = user
        elif LOSS.match_node(user, layer.match):
            layer.losses.append(user)
        else:
            return None
    if layer.gradient is not None and not _add_gradient_users(layer, layer.gradient.outputs[0]):
        return None
    layer.drops_rows = (
        not layer.probabilities.is_graph_output()
        and layer.ignores
        and all(_ignores(loss, layer.ignored_label) for loss in layer.losses)
    )
    return layer if layer.gradient is not None or layer.drops_rows else None


def _ignores(loss: ir.Node, ignored_label: float) -> bool:
    same = attribute_of(loss, "ignore_label") == ignored_label
    return bool(attribute_of(loss, "use_ignore")) and same


def _add_gradient_users(layer: OutputLayer, result: ir.Value) -> bool:
    """Sort the nodes that read the gradient of the logits; returns whether all are known."""
    if result.is_graph_output():
        return False
    match = layer.match.bind(gradient, result)
    layer.users = {INPUT_GRADIENT: [], WEIGHT_GRADIENT: [], BIAS_GRADIENT: []}
    for user, _ in result.uses():
        for pattern, nodes in layer.users.items():
            if pattern.match_node(user, match):
                nodes.append(user)
                break
        else:
            return False
    return True


@dataclass(frozen=True)
class Labels:
    """The labels of all rows as positions, and which rows count if some do not."""

    index: ir.Value
    first_class: ir.Value
    last_class: ir.Value
    keep: ir.Value | None


def labels_of(g: Builder, layer: OutputLayer) -> Labels:
    """Append the nodes that read the labels."""
    index = g.cast(layer.label, ir.DataType.INT64)
    first, last = g.const(0, like=index), g.const(layer.classes - 1, like=index)
    keep = None
    if layer.ignores or layer.counts_valid:
        keep = g.op("Not", _has_label(g, index, layer.ignored_label))
    return Labels(index, first, last, keep)


def _has_label(g: Builder, index: ir.Value, label: float) -> ir.Value:
    return g.op("Equal", index, g.const(int(label), like=index))


def gradient_scale(g: Builder, layer: OutputLayer, labels: Labels) -> ir.Value:
    """Return what every row of ``p - onehot`` is multiplied with; shape (1,)."""
    scale = attribute_of(layer.softmax, "grad_scale")
    numbers = layer.dtype.numpy()
    if not layer.counts_valid:
        return g.const(np.array([scale / attribute_of(layer.softmax, "divisor")], numbers))
    divisor = g.op("Max", _count(g, layer, labels.keep), g.const(1.0, like=layer.weight))
    return g.op("Div", g.const(np.array([scale], numbers)), divisor)


def loss_count(g: Builder, layer: OutputLayer, loss: ir.Node, labels: Labels) -> ir.Value:
    """Return the number of rows that a loss counts; shape (1,)."""
    if layer.drops_rows:
        return _count(g, layer, labels.keep)
    if attribute_of(loss, "use_ignore"):
        return _count(g, layer, g.op("Not", _loss_ignores(g, loss)))
    return g.filled((1,), float(layer.rows), layer.dtype)


def _loss_ignores(g: Builder, loss: ir.Node) -> ir.Value:
    index = g.cast(input_of(loss, 1), ir.DataType.INT64)
    return _has_label(g, index, attribute_of(loss, "ignore_label"))


def _count(g: Builder, layer: OutputLayer, keep: ir.Value | None) -> ir.Value:
    """Return the number of rows for which ``keep`` holds; shape (1,)."""
    if keep is None:
        raise AssertionError(f"node {layer.softmax.name!r}: no rows are ignored")
    return g.reduce_sum(g.cast(keep, layer.dtype), [0])


class RowBlock:
    """The rows from ``start`` to ``stop`` of an output layer, as new nodes.

    If the layer drops rows, those that stay are ``count``, a name for a size known only at run
    time, and ``kept_rows`` are their positions within the block. The builder ``g`` may be
    exchanged, to place what follows elsewhere in the graph.
    """

    def __init__(
        self, g: Builder, layer: OutputLayer, labels: Labels, start: int, stop: int
    ) -> None:
        self.g, self.layer = g, layer
        self._start, self._stop = start, stop
        self.size = stop - start
        self.keep = None if labels.keep is None else self._slice(labels.keep)
        self.count: int | str = self.size
        self.kept_rows: ir.Value | None = None
        index = self._slice(labels.index)
        if layer.drops_rows and self.keep is not None:
            self.count = g.unique(ROW_COUNT)
            bounds(g.graph)[self.count] = self.size
            self.kept_rows = self._kept_rows(self.keep)
            index = g.typed("Gather", [self.count], index, self.kept_rows, axis=0)
            rows = self.kept_rows
            if start:
                rows = g.typed("Add", [self.count], rows, g.const(start, like=rows))
            self.x = g.typed("Gather", [self.count, layer.width], layer.x, rows, axis=0)
        else:
            self.x = self._slice(layer.x)
        index = g.typed("Clip", [self.count], index, labels.first_class, labels.last_class)
        self.label = g.typed("Reshape", [self.count, 1], index, g.ints(-1, 1))

    def _slice(self, value: ir.Value) -> ir.Value:
        if self.size == self.layer.rows:
            return value
        g = self.g
        return g.op("Slice", value, g.ints(self._start), g.ints(self._stop), g.ints(0))

    def _kept_rows(self, keep: ir.Value) -> ir.Value:
        """Return the positions of kept rows: the first row, with weight zero, if there is none."""
        g = self.g
        as_number = g.cast(keep, ir.DataType.INT32)
        none = g.op("Equal", g.op("ReduceMax", as_number, g.ints(0)), g.const(0, like=as_number))
        first = np.zeros(self.size, dtype=np.bool_)
        first[0] = True
        keep = g.op("Or", keep, g.op("And", none, g.const(first)))
        positions = g.typed("NonZero", [1, self.count], keep, dtype=ir.DataType.INT64)
        return g.typed("Reshape", [self.count], positions, g.ints(-1))

    # Forward

    def product(self, left: ir.Value, right: ir.Value, bias: ir.Value | None) -> ir.Value:
        """Return the logits."""
        operands = [left, right] if bias is None else [left, right, bias]
        return self.g.typed("Gemm", [self.count, self.layer.classes], *operands, transB=1)

    def predict(self, logits: ir.Value) -> ir.Value:
        """Return the probabilities; losses and gradients can be asked for afterwards."""
        g = self.g
        self._p = g.typed("Softmax", [self.count, self.layer.classes], logits, axis=1)
        self._picked = g.typed("GatherElements", [self.count, 1], self._p, self.label, axis=1)
        return self._p

    def loss_total(self, loss: ir.Node) -> ir.Value:
        """Return the sum of a loss over the rows; shape (1,)."""
        g = self.g
        nll = negative_log(g, loss, self._picked)
        nll = g.typed("Reshape", [self.count], nll, g.ints(-1))
        if self.layer.drops_rows:
            some = g.op("Greater", self._any_kept(), self._zero)
            total = g.typed("ReduceSum", [1], nll, g.ints(0), keepdims=1)
            return g.op("Where", some, total, self._zero)
        if attribute_of(loss, "use_ignore"):
            # Where, not Mul: an ignored row may hold an infinite loss.
            nll = g.op("Where", self._slice(_loss_ignores(g, loss)), self._zero, nll)
        return g.reduce_sum(nll, [0])

    @property
    def _zero(self) -> ir.Value:
        return self.g.const(0.0, like=self.layer.weight)

    def _any_kept(self) -> ir.Value:
        """Return 1.0 if at least one row is kept, else 0.0; shape (1,)."""
        count = _count(self.g, self.layer, self.keep)
        return self.g.op("Min", count, self.g.const(1.0, like=self.layer.weight))

    # Backward

    def difference(self) -> ir.Value:
        """Return ``p - onehot``, [count, classes], written over p."""
        g, shape = self.g, [self.count, self.layer.classes]
        less = g.typed("Sub", [self.count, 1], self._picked, g.const(1.0, like=self.layer.weight))
        return g.typed("ScatterElements", shape, self._p, self.label, less, axis=1)

    def row_weight(self, scale: ir.Value) -> ir.Value:
        """Return the factor on the rows of the difference: (1,), or (size, 1) for a mask."""
        g = self.g
        if self.layer.drops_rows:
            return g.op("Mul", scale, self._any_kept())
        if not self.layer.ignores or self.keep is None:
            return scale
        mask = g.reshape(g.cast(self.keep, self.layer.dtype), (self.size, 1))
        return g.op("Mul", mask, scale)

    def input_gradient(self, difference: ir.Value, weight: ir.Value) -> ir.Value:
        """Return the gradient of x, [size, width]."""
        g, layer = self.g, self.layer
        shape = [self.count, layer.width]
        rows = g.typed("Mul", shape, g.typed("Gemm", shape, difference, layer.weight), weight)
        if self.kept_rows is None:
            return rows
        zeros = g.filled((self.size, layer.width), 0.0, layer.dtype)
        positions = g.typed("Reshape", [self.count, 1], self.kept_rows, g.ints(-1, 1))
        return g.typed("ScatterND", [self.size, layer.width], zeros, positions, rows)

    def bias_gradient(self, difference: ir.Value, weight: ir.Value) -> ir.Value:
        """Return the gradient of the bias, [classes]."""
        g, classes = self.g, self.layer.classes
        if shape_of(weight) == (1,):
            total = g.typed("ReduceSum", [classes], difference, g.ints(0), keepdims=0)
            return g.op("Mul", total, weight)
        return g.reshape(g.op("Gemm", weight, difference, transA=1), (classes,))
