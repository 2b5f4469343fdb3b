"""Convolutions, their transposes and gradients of weights become ones over blocks of channels.

The runtime has kernels for these that reach the limit of the processor, where those for standard
ONNX copy what is under the windows and multiply matrices. It uses them itself for weights that are
constants; here weights change with every step, so that the graph reorders them.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.blocked.layouts import (
    blocked_weight,
    blocked_weight_turned,
    convolve,
    from_blocks,
    to_blocks,
)
from symbucket.compiler.blocked.pays import pays_forward, pays_transposed, pays_weight_gradient
from symbucket.compiler.blocked.weight_gradient import blocked_weight_gradient
from symbucket.compiler.rewrite.base import PassContext, Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import (
    BLOCKED_DOMAIN,
    OWN_DOMAIN,
    Builder,
    Expr,
    attribute_of,
    input_of,
    optional_input_of,
    shape_of,
    transposed_windows_of,
    windows_of,
)


@graph_pass("final", requires=(Property.NO_DEAD_NODES,))
def block_convolutions(graph: ir.Graph, context: PassContext) -> int:
    """Rewrite what is faster so on the target; returns the number of nodes."""
    block = context.target.channel_block
    if not block:
        return 0
    count = 0
    for node in list(graph):
        rule = _RULES.get((node.domain, node.op_type))
        if rule is None or not _is_plain(node):
            continue
        g = Builder(graph, anchor=node)
        with g.beside(node):
            result = rule(g, node, block)
            if result is not None:
                substitute(g, node.outputs[0], result.value)
                graph.remove(node, safe=True)
                count += 1
    if count:
        graph.opset_imports[BLOCKED_DOMAIN] = 1
    return count


def _is_plain(node: ir.Node) -> bool:
    """Return whether a node is in two axes, of float32 and of one group."""
    x, y = input_of(node, 0), node.outputs[0]
    values = (x, y)
    return (
        all(v.dtype == ir.DataType.FLOAT and v.shape is not None for v in values)
        and all(v.shape is not None and len(v.shape) == 4 and v.shape.is_static() for v in values)
        and attribute_of(node, "group") in (None, 1)
    )


def _convolution(g: Builder, node: ir.Node, block: int) -> Expr | None:
    x, weight, bias = _operands(g, node)
    windows = windows_of(node)
    if not pays_forward(x.shape, weight.shape, shape_of(node.outputs[0]), block):
        return None
    y = convolve(
        to_blocks(x) if x.shape[1] >= block else x,
        blocked_weight(weight, block),
        bias,
        pads=windows.pads,
        strides=windows.strides,
        dilations=windows.dilations,
    )
    return from_blocks(y)


def _transposed(g: Builder, node: ir.Node, block: int) -> Expr | None:
    """The convolution, of stride 1, of the whole input with the weight turned round."""
    if attribute_of(node, "auto_pad") != "NOTSET" or attribute_of(node, "output_shape"):
        return None
    windows = transposed_windows_of(node)
    if set(windows.strides) != {1} or any(attribute_of(node, "output_padding") or ()):
        return None
    x, weight, bias = _operands(g, node)
    begins = [e - 1 - p for e, p in zip(windows.extents, windows.begins)]
    ends = [e - 1 - p for e, p in zip(windows.extents, windows.ends)]
    if min(*begins, *ends) < 0:
        return None
    if not pays_transposed(x.shape, weight.shape, shape_of(node.outputs[0]), block):
        return None
    turned = blocked_weight_turned(weight, block)
    pads = [*begins, *ends]
    return from_blocks(convolve(to_blocks(x), turned, bias, pads=pads, dilations=windows.dilations))


def _weight_gradient(g: Builder, node: ir.Node, block: int) -> Expr | None:
    x, dy = Expr(g, input_of(node, 0)), Expr(g, input_of(node, 1))
    windows = windows_of(node)
    if not pays_weight_gradient(x.shape, dy.shape, shape_of(node.outputs[0]), block):
        return None
    return blocked_weight_gradient(x, dy, windows, block)


def _operands(g: Builder, node: ir.Node) -> tuple[Expr, Expr, Expr | None]:
    bias = optional_input_of(node, 2)
    return (
        Expr(g, input_of(node, 0)),
        Expr(g, input_of(node, 1)),
        None if bias is None else Expr(g, bias),
    )


_RULES = {
    ("", "Conv"): _convolution,
    ("", "ConvTranspose"): _transposed,
    (OWN_DOMAIN, "ConvWeightGradient"): _weight_gradient,
}
