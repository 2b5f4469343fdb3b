"""The output layer in chunks of rows, so that [rows, classes] never exists as a whole.

Costs time (each chunk adds to the whole gradient of the weight) and saves memory: the largest
value of a language model shrinks by the number of chunks. Runs only if the options ask for it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx_ir as ir

from symbucket.compiler.rewrite.base import PassContext, Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.compiler.rewrite.output_layer import (
    BIAS_GRADIENT,
    INPUT_GRADIENT,
    WEIGHT_GRADIENT,
    OutputLayer,
    RowBlock,
    gradient_scale,
    labels_of,
    loss_count,
    output_layers,
)
from symbucket.ir import Builder
from symbucket.ir.notes import Phase

MIN_CHUNK_ROWS = 8


@graph_pass("joint", options=("loss_chunks",), requires=(Property.NO_DEAD_NODES,))
def chunk_output_layer(graph: ir.Graph, context: PassContext) -> int:
    """Rewrite every output layer whose probabilities have no other use; returns their number."""
    if context.options.loss_chunks < 2:
        return 0
    changed = 0
    for layer in output_layers(graph):
        chunks = min(context.options.loss_chunks, layer.rows // MIN_CHUNK_ROWS)
        if chunks > 1 and layer.gradient is not None and not layer.probabilities.is_graph_output():
            _Chunks(graph, layer).write(chunks)
            changed += 1
    return changed


class _Chunks:
    """Writes one layer in chunks, all of them in the place of its softmax."""

    def __init__(self, graph: ir.Graph, layer: OutputLayer) -> None:
        self._graph, self._layer = graph, layer
        self._g = Builder(graph, anchor=layer.softmax)
        self._totals: list[list[ir.Value]] = [[] for _ in layer.losses]
        self._input_gradients: list[ir.Value] = []
        self._weight_gradient: ir.Value | None = None  # transposed
        self._bias_gradient: ir.Value | None = None

    def write(self, chunks: int) -> None:
        g, layer = self._g, self._layer
        with g.scoped(f"{layer.scope}/chunks"):
            labels = labels_of(g, layer)
            scale = gradient_scale(g, layer, labels)
            bounds = np.linspace(0, layer.rows, chunks + 1).astype(int).tolist()
            for start, stop in pairwise(bounds):
                block = RowBlock(g, layer, labels, start, stop)
                block.predict(block.product(block.x, layer.weight, layer.bias))
                for loss, totals in zip(layer.losses, self._totals):
                    totals.append(block.loss_total(loss))
                with g.scoped(f"grad/{layer.scope}/chunks", Phase.BACKWARD):
                    self._add_gradients(block, scale)
            for loss, totals in zip(layer.losses, self._totals):
                sums = g.op("Sum", *totals), loss_count(g, layer, loss, labels)
                for old, new in zip(loss.outputs, sums):
                    substitute(g, old, new)
        with g.scoped(f"grad/{layer.scope}/chunks", Phase.BACKWARD):
            self._replace_gradients()
        layer.remove(self._graph)

    def _add_gradients(self, block: RowBlock, scale: ir.Value) -> None:
        g, layer = self._g, self._layer
        difference = block.difference()
        weight = block.row_weight(scale)
        # What stays is allocated while the difference is live, so that it cannot split the
        # difference's place: the next chunk needs it whole.
        if layer.users[INPUT_GRADIENT]:
            self._input_gradients.append(block.input_gradient(difference, weight))
        if layer.users[BIAS_GRADIENT]:
            gradient = block.bias_gradient(difference, weight)
            total = self._bias_gradient
            self._bias_gradient = gradient if total is None else g.op("Add", total, gradient)
        if layer.users[WEIGHT_GRADIENT]:
            width, count = layer.width, block.count
            scaled = g.typed("Mul", [count, width], block.x, weight)
            # Transposed, as choose-gemm-layout does it: one transposition after the last chunk.
            flat = g.typed("Transpose", [width, count], scaled, perm=[1, 0])
            summands = [] if self._weight_gradient is None else [self._weight_gradient]
            shape = [width, layer.classes]
            self._weight_gradient = g.typed("Gemm", shape, flat, difference, *summands)

    def _replace_gradients(self) -> None:
        g, layer = self._g, self._layer
        if self._weight_gradient is not None:
            transposed = g.transpose(self._weight_gradient, [1, 0])
            layer.replace_users(g, WEIGHT_GRADIENT, transposed)
        if self._input_gradients:
            whole = g.op("Concat", *self._input_gradients, axis=0)
            layer.replace_users(g, INPUT_GRADIENT, whole)
        if self._bias_gradient is not None:
            layer.replace_users(g, BIAS_GRADIENT, self._bias_gradient)
