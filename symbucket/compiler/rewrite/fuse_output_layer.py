"""The output layer in one block, with as few nodes on its probabilities as possible.

`output_layer` has the layer itself and how few nodes it takes. Besides, the bias is one more column
of the weight, so that no node adds it, and its gradient one more column of the weight's gradient.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.compiler.rewrite.output_layer import (
    BIAS_GRADIENT,
    INPUT_GRADIENT,
    WEIGHT_GRADIENT,
    Labels,
    OutputLayer,
    RowBlock,
    gradient_scale,
    labels_of,
    loss_count,
    output_layers,
)
from symbucket.ir import Builder
from symbucket.ir.notes import Phase

COLUMN_MULTIPLE = 16  # the kernels like inner dimensions that are multiples of this


@graph_pass("joint", requires=(Property.NO_DEAD_NODES,))
def fuse_output_layer(graph: ir.Graph) -> int:
    """Rewrite every output layer; returns their number."""
    layers = list(output_layers(graph))
    for layer in layers:
        _fuse(graph, layer)
    return len(layers)


def _fuse(graph: ir.Graph, layer: OutputLayer) -> None:
    extra = _extra_columns(layer)
    g = Builder(graph, anchor=layer.softmax)
    with g.scoped(f"{layer.scope}/rows"):
        labels = labels_of(g, layer)
        block = RowBlock(g, layer, labels, 0, layer.rows)
        features, logits = _logits(block, extra)
        substitute(g, layer.probabilities, block.predict(logits))
        for loss in layer.losses:
            sums = block.loss_total(loss), loss_count(g, layer, loss, labels)
            for old, new in zip(loss.outputs, sums):
                substitute(g, old, new)
    if layer.gradient is not None:
        block.g = Builder(graph, anchor=layer.gradient)
        with block.g.scoped(f"grad/{layer.scope}/rows", Phase.BACKWARD):
            _gradients(block, labels, features, extra)
    layer.remove(graph)


def _extra_columns(layer: OutputLayer) -> int:
    """Return how many columns a copy of the weight has more, for the bias; 0 for no copy.

    A wider copy of the weight pays if there are many rows to add a bias to.
    """
    if layer.bias is None or layer.rows * 2 <= layer.width * 3:
        return 0
    return -(layer.width + 1) % COLUMN_MULTIPLE + 1


def _logits(block: RowBlock, extra: int) -> tuple[ir.Value, ir.Value]:
    """Return the features, with a column of ones if the bias is a column, and the logits."""
    g, layer = block.g, block.layer
    if layer.bias is None or not extra:
        return block.x, block.product(block.x, layer.weight, layer.bias)
    columns = layer.width + extra
    one = np.zeros((1, columns), dtype=layer.dtype.numpy())
    one[0, layer.width] = 1
    shape = [block.count, columns]
    padded = g.typed("Pad", shape, block.x, g.ints(0, 0, 0, extra))
    features = g.typed("Add", shape, padded, g.const(one))
    column = g.reshape(layer.bias, (layer.classes, 1))
    if extra > 1:
        column = g.op("Pad", column, g.ints(0, 0, 0, extra - 1))
    weight_and_bias = g.op("Concat", layer.weight, column, axis=1)
    return features, block.product(features, weight_and_bias, None)


def _gradients(block: RowBlock, labels: Labels, features: ir.Value, extra: int) -> None:
    g, layer = block.g, block.layer
    columns = layer.width + extra
    difference = block.difference()
    weight = block.row_weight(gradient_scale(g, layer, labels))
    scaled = g.typed("Mul", [block.count, columns], features, weight)
    weight_gradient = None
    if layer.users[WEIGHT_GRADIENT] or extra:
        shape = [layer.classes, columns]
        weight_gradient = g.typed("Gemm", shape, difference, scaled, transA=1)
    # After the gradient of the weight, which then takes the memory that the wide weight has left.
    if layer.users[INPUT_GRADIENT]:
        layer.replace_users(g, INPUT_GRADIENT, block.input_gradient(difference, weight))
    if weight_gradient is not None and extra:
        sizes = [size for size in (layer.width, 1, extra - 1) if size]
        parts = g.ops("Split", weight_gradient, g.ints(*sizes), axis=1, outputs=len(sizes))
        layer.replace_users(g, WEIGHT_GRADIENT, parts[0])
        layer.replace_users(g, BIAS_GRADIENT, g.reshape(parts[1], (layer.classes,)))
        return
    if weight_gradient is not None:
        layer.replace_users(g, WEIGHT_GRADIENT, weight_gradient)
    if layer.users[BIAS_GRADIENT]:
        layer.replace_users(g, BIAS_GRADIENT, block.bias_gradient(difference, weight))
