"""Convolutions, their transposes and gradients of weights become ones over blocks of channels.

The runtime has kernels for these that reach the limit of the processor, where those for standard
ONNX copy what is under the windows and multiply matrices. It uses them itself for weights that are
constants; here weights change with every step, so that the graph reorders them.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.blocked.layers import stays
from symbucket.compiler.blocked.layouts import (
    blocked_depthwise_weight,
    blocked_weight,
    blocked_weight_turned,
    convolve,
    from_blocks,
    to_blocks,
)
from symbucket.compiler.blocked.pays import pays_forward, pays_transposed, pays_weight_gradient
from symbucket.compiler.blocked.weight_gradient import (
    blocked_weight_gradient,
    depthwise_weight_gradient,
)
from symbucket.compiler.rewrite.base import PassContext, Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import (
    BLOCKED_DOMAIN,
    OWN_DOMAIN,
    Builder,
    Expr,
    Windows,
    attr,
    attribute_of,
    graphs_of,
    input_of,
    optional_input_of,
    shape_of,
    transposed_windows_of,
    windows_of,
)
from symbucket.types import Shape


@graph_pass("final", requires=(Property.NO_DEAD_NODES,))
def block_convolutions(graph: ir.Graph, context: PassContext) -> int:
    """Rewrite what is faster so on the target; returns the number of nodes."""
    block = context.target.channel_block
    count = _rewrite(graph, block) if block else 0
    if count:
        graph.opset_imports[BLOCKED_DOMAIN] = 1
    return count


def _rewrite(graph: ir.Graph, block: int) -> int:
    count = 0
    for node in list(graph):
        count += sum(_rewrite(inner, block) for inner in graphs_of(node))
        rule = _RULES.get((node.domain, node.op_type))
        if rule is None or not _has_blocks(node):
            continue
        g = Builder(graph, anchor=node)
        with g.beside(node):
            result = rule(g, node, block)
            if result is not None:
                result = result.reshape(shape_of(node.outputs[0]))
                substitute(g, node.outputs[0], result.value)
                graph.remove(node, safe=True)
                count += 1
    return count


def _has_blocks(node: ir.Node) -> bool:
    """Return whether a node is in one or two axes, and of float32."""
    values = (input_of(node, 0), node.outputs[0])
    return all(
        value.dtype == ir.DataType.FLOAT
        and value.shape is not None
        and len(value.shape) in (3, 4)
        and value.shape.is_static()
        for value in values
    )


def _in_two_axes(value: Expr) -> Expr:
    """(n, c, w) as pictures of one row."""
    return value.reshape((*value.shape[:2], 1, value.shape[2])) if value.rank == 3 else value


def _windows_in_two_axes(windows: Windows) -> Windows:
    if len(windows.kernel) == 2:
        return windows
    parts = (windows.kernel, windows.strides, windows.dilations)
    pads = (windows.begins, windows.ends)
    return Windows(*((1, *part) for part in parts), *((0, *pad) for pad in pads))


def _operands(g: Builder, node: ir.Node) -> tuple[Expr, Expr, Expr | None]:
    x, weight = (_in_two_axes(Expr(g, input_of(node, i))) for i in range(2))
    bias = optional_input_of(node, 2)
    return x, weight, None if bias is None else Expr(g, bias)


def _result_shape(node: ir.Node) -> Shape:
    shape = shape_of(node.outputs[0])
    return (*shape[:2], 1, shape[2]) if len(shape) == 3 else shape


def _convolution(g: Builder, node: ir.Node, block: int) -> Expr | None:
    x, weight, bias = _operands(g, node)
    group, windows = attribute_of(node, "group"), _windows_in_two_axes(windows_of(node))
    shapes, result = (x.shape, weight.shape, _result_shape(node)), node.outputs[0]
    if not pays_forward(*shapes, group, block, stays=stays(result)):
        return None
    depthwise = group > 1
    y = convolve(
        to_blocks(x) if x.shape[1] >= block else x,
        blocked_depthwise_weight(weight, block) if depthwise else blocked_weight(weight, block),
        bias,
        pads=windows.pads,
        strides=windows.strides,
        dilations=windows.dilations,
        group=group,
    )
    return from_blocks(y)


def _transposed(g: Builder, node: ir.Node, block: int) -> Expr | None:
    """The convolution, of stride 1, of the whole input with the weight turned round."""
    if attribute_of(node, "auto_pad") != "NOTSET" or attribute_of(node, "output_shape"):
        return None
    windows = _windows_in_two_axes(transposed_windows_of(node))
    if set(windows.strides) != {1} or any(attribute_of(node, "output_padding") or ()):
        return None
    x, weight, bias = _operands(g, node)
    group = attribute_of(node, "group")
    pads = [e - 1 - p for e, p in zip(windows.extents * 2, windows.pads)]
    if min(pads) < 0:
        return None
    if not pays_transposed(x.shape, weight.shape, _result_shape(node), group, block):
        return None
    turned = (
        blocked_depthwise_weight(weight, block, turned=True)
        if group > 1
        else blocked_weight_turned(weight, block)
    )
    dx = convolve(to_blocks(x), turned, bias, pads=pads, dilations=windows.dilations, group=group)
    return from_blocks(dx)


def _weight_gradient(g: Builder, node: ir.Node, block: int) -> Expr | None:
    x, dy, _ = _operands(g, node)
    group, windows = attr(node, "group", 1), _windows_in_two_axes(windows_of(node))
    if not pays_weight_gradient(x.shape, dy.shape, _result_shape(node), group, block):
        return None
    if group > 1:
        return depthwise_weight_gradient(x, dy, windows)
    return blocked_weight_gradient(x, dy, windows, block)


_RULES = {
    ("", "Conv"): _convolution,
    ("", "ConvTranspose"): _transposed,
    (OWN_DOMAIN, "ConvWeightGradient"): _weight_gradient,
}
