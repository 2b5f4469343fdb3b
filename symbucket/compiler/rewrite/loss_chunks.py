"""The output layer in chunks of rows, so that [rows, classes] never exists as a whole.

Costs time (each chunk adds to the whole gradient of the weight) and saves memory: the largest
value of a language model shrinks by the number of chunks. Runs only where the options ask for it;
``softmax_rows`` does the same layer in one piece and says more about how.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from symbucket.compiler.metrics import negative_log
from symbucket.compiler.rewrite.softmax_rows import _Layer, _match
from symbucket.ir import Builder, attr, bounds, dtype_of, shape_of

WISH = "symbucket_loss_chunks"  # in the graph's meta: how many chunks are wanted
_LEAST = 8  # rows in a chunk


def chunk_losses(graph: ir.Graph) -> int:
    """Rewrite every output layer whose probabilities nobody else wants; gives their number."""
    wanted = int(graph.meta.get(WISH, 1))
    if wanted < 2:
        return 0
    changed = 0
    for node in list(graph):
        layer = _match(node) if node.op_type == "SoftmaxOutput" else None
        if layer is None or layer.grad is None or node.outputs[0].is_graph_output():
            continue
        chunks = min(wanted, shape_of(node.outputs[0])[0] // _LEAST)
        if chunks > 1:
            _Chunks(graph, layer, chunks).run()
            changed += 1
    return changed


class _Chunks:
    """Writes one layer anew where its softmax stands."""

    def __init__(self, graph: ir.Graph, layer: _Layer, chunks: int) -> None:
        self.graph, self.layer, self.chunks = graph, layer, chunks
        self.g = Builder(graph, anchor=layer.softmax)
        x, w = layer.gemm.inputs[:2]
        label = layer.softmax.inputs[1]
        assert x is not None
        assert w is not None
        assert label is not None
        self.x, self.w, self.label = x, w, label
        self.bias = layer.gemm.inputs[2] if len(layer.gemm.inputs) > 2 else None
        self.rows, self.width = shape_of(x)
        self.classes = shape_of(w)[0]
        self.scope = (layer.softmax.name or "").rpartition("/")[0]
        self.by_input: list[ir.Value] = []
        self.by_weight: ir.Value | None = None
        self.by_bias: ir.Value | None = None
        self.totals: list[list[ir.Value]] = [[] for _ in layer.losses]

    def run(self) -> None:
        """Replace the layer."""
        g, node, layer = self.g, self.layer.softmax, self.layer
        with g.scoped(f"{self.scope}/chunks"):
            self.index = g.cast(self.label, ir.DataType.INT64)
            self.keep: ir.Value | None = None
            if attr(node, "use_ignore") or attr(node, "normalization") == "valid":
                self.keep = self._other_than(int(attr(node, "ignore_label")))
            factor = self._factor()
            cuts = np.linspace(0, self.rows, self.chunks + 1).astype(int).tolist()
            for low, high in pairwise(cuts):
                self._chunk(low, high, factor)
            for loss, totals in zip(layer.losses, self.totals):
                total = totals[0] if len(totals) == 1 else g.op("Sum", *totals)
                _replace([loss], [total, self._counted(loss)])
        with g.scoped(f"grad/{self.scope}/chunks"):
            if self.by_weight is not None:
                _replace(layer.by_weight, [g.transpose(self.by_weight, [1, 0])])
            if layer.by_input:
                _replace(layer.by_input, [g.op("Concat", *self.by_input, axis=0)])
        if self.by_bias is not None:
            _replace(layer.by_bias, [self.by_bias])
        assert layer.grad is not None
        gone = [*layer.by_input, *layer.by_weight, *layer.by_bias, *layer.losses]
        for old in (*gone, layer.grad, layer.softmax, layer.gemm):
            self.graph.remove(old, safe=True)

    # The whole layer -------------------------------------------------------------------------

    def _other_than(self, label: int) -> ir.Value:
        g = self.g
        return g.op("Not", g.op("Equal", self.index, g.const(label, like=self.index)))

    def _number(self, keep: ir.Value) -> ir.Value:
        return self.g.reduce_sum(self.g.cast(keep, dtype_of(self.w)), [0])

    def _factor(self) -> ir.Value:
        """What every row of ``p - onehot`` is multiplied with; shape (1,)."""
        g, node = self.g, self.layer.softmax
        dtype = dtype_of(self.w).numpy()
        scale: float = attr(node, "grad_scale")
        if attr(node, "normalization") != "valid":
            return g.const(np.array([scale / attr(node, "divisor")], dtype))
        assert self.keep is not None
        least = g.op("Max", self._number(self.keep), g.const(1.0, like=self.w))
        return g.op("Div", g.const(np.array([scale], dtype)), least)

    def _counted(self, loss: ir.Node) -> ir.Value:
        if not attr(loss, "use_ignore"):
            # Through a node of its own: a constant cannot be an output.
            return self.g.op("Identity", self.g.filled((1,), float(self.rows), dtype_of(self.w)))
        return self._number(self._other_than(int(attr(loss, "ignore_label"))))

    # One chunk -------------------------------------------------------------------------------

    def _rows(self, value: ir.Value, low: int, high: int) -> ir.Value:
        return self.g.op("Slice", value, self.g.ints(low), self.g.ints(high), self.g.ints(0))

    def _chunk(self, low: int, high: int, factor: ir.Value) -> None:
        g, size, classes, width = self.g, high - low, self.classes, self.width
        label = self._rows(self.index, low, high)
        keep = None if self.keep is None else self._rows(self.keep, low, high)
        count: int | str = size
        local = some = None
        if self.layer.drop:
            assert keep is not None
            count = g.unique("kept_rows")
            bounds(self.graph)[count] = size
            local = self._kept(keep, count)
            some = g.op("Min", self._number(keep), g.const(1.0, like=self.w))
            label = g.typed("Gather", [count], label, local, axis=0)
            place = g.typed("Add", [count], local, g.const(low, like=local))
            x = g.typed("Gather", [count, width], self.x, place, axis=0)
        else:
            x = self._rows(self.x, low, high)
        zero, last = g.const(0, like=label), g.const(classes - 1, like=label)
        label = g.typed("Clip", [count], label, zero, last)
        label = g.typed("Reshape", [count, 1], label, g.ints(-1, 1))
        operands = [v for v in (x, self.w, self.bias) if v is not None]
        logits = g.typed("Gemm", [count, classes], *operands, transB=1)
        p = g.typed("Softmax", [count, classes], logits, axis=1)
        picked = g.typed("GatherElements", [count, 1], p, label, axis=1)
        for loss, totals in zip(self.layer.losses, self.totals):
            totals.append(self._total(loss, picked, (low, high), some))
        with g.scoped(f"grad/{self.scope}/chunks"):
            less = g.typed("Sub", [count, 1], picked, g.const(1.0, like=self.w))
            d = g.typed("ScatterElements", [count, classes], p, label, less, axis=1)
            weight = factor
            if some is not None:
                weight = g.op("Mul", factor, some)
            elif attr(self.layer.softmax, "use_ignore"):
                assert keep is not None
                mask = g.reshape(g.cast(keep, dtype_of(self.w)), (size, 1))
                weight = g.op("Mul", mask, factor)
            self._gradients(d, x, weight, count, size, local)

    def _kept(self, keep: ir.Value, count: str) -> ir.Value:
        """Rows of the chunk to keep: its first where all are ignored, with weight zero later."""
        g = self.g
        counted = g.cast(keep, ir.DataType.INT32)
        none = g.op("Equal", g.op("ReduceMax", counted, g.ints(0)), g.const(0, like=counted))
        first = np.zeros(shape_of(keep), dtype=np.bool_)
        first[0] = True
        keep = g.op("Or", keep, g.op("And", none, g.const(first)))
        index = g.typed("NonZero", [1, count], keep, dtype=ir.DataType.INT64)
        return g.typed("Reshape", [count], index, g.ints(-1))

    def _total(
        self, loss: ir.Node, picked: ir.Value, cut: tuple[int, int], some: ir.Value | None
    ) -> ir.Value:
        """The sum of the chunk's losses; shape (1,)."""
        g, zero = self.g, self.g.const(0.0, like=self.w)
        nll = negative_log(g, loss, picked)
        if some is None and attr(loss, "use_ignore"):
            nll = g.reshape(nll, (cut[1] - cut[0],))
            kept = self._rows(self._other_than(int(attr(loss, "ignore_label"))), *cut)
            nll = g.op("Where", kept, nll, zero)  # an ignored row may hold an infinite loss
            return g.reduce_sum(nll, [0])
        total = g.typed("ReduceSum", [1, 1], nll, g.ints(0, 1), keepdims=1)
        total = g.reshape(total, (1,))
        return total if some is None else g.op("Where", g.op("Greater", some, zero), total, zero)

    def _gradients(
        self,
        d: ir.Value,
        x: ir.Value,
        weight: ir.Value,
        count: int | str,
        size: int,
        local: ir.Value | None,
    ) -> None:
        g, layer, width = self.g, self.layer, self.width
        # What stays is allocated while d is there, so that it cannot split d's place: the next
        # chunk wants it whole.
        if layer.by_input:
            rows = g.typed("Gemm", [count, width], d, self.w)
            rows = g.typed("Mul", [count, width], rows, weight)
            if local is not None:
                zeros = g.filled((size, width), 0.0, dtype_of(self.w))
                place = g.typed("Reshape", [count, 1], local, g.ints(-1, 1))
                rows = g.typed("ScatterND", [size, width], zeros, place, rows)
            self.by_input.append(rows)
        if layer.by_bias:
            if shape_of(weight) == (1,):
                column = g.typed("ReduceSum", [self.classes], d, g.ints(0), keepdims=0)
                column = g.op("Mul", column, weight)
            else:
                column = g.reshape(g.op("Gemm", weight, d, transA=1), (self.classes,))
            self.by_bias = column if self.by_bias is None else g.op("Add", self.by_bias, column)
        if layer.by_weight:
            scaled = g.typed("Mul", [count, width], x, weight)
            before = [] if self.by_weight is None else [self.by_weight]
            # Turned round, as gemm_layout does it: one transposition after the last chunk.
            flat = g.typed("Transpose", [width, count], scaled, perm=[1, 0])
            self.by_weight = g.typed("Gemm", [width, self.classes], flat, d, *before)


def _replace(nodes: Sequence[ir.Node], values: Sequence[ir.Value]) -> None:
    for node in nodes:
        for old, new in zip(node.outputs, values):
            old.replace_all_uses_with(new, replace_graph_outputs=True)
