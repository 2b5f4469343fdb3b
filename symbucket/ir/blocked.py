"""Convolutions over blocks of channels: operators that ONNX Runtime has for its CPU provider.

A value (n, c, h, w) in blocks lies in memory as (n, c / block, h, w, block): the channels of a
block side by side, as a vector of the processor takes them. Its shape is still (n, c, h, w). The
size of a block depends on the processor. Values here have whole blocks only: an incomplete one
would be filled up, and the shape would depend on the processor.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.ir.builder import attr, dtype_of, shape_of
from symbucket.ir.gradient_rules import no_gradient
from symbucket.ir.registry import TensorType, info, shape_rule

BLOCKED_DOMAIN = "com.microsoft.nchwc"

no_gradient(
    *("Conv", "GlobalAveragePool", "MaxPool", "ReorderInput", "ReorderOutput", "Upsample"),
    domain=BLOCKED_DOMAIN,
    because="takes the place of another after differentiation",
)


@shape_rule("Conv", domain=BLOCKED_DOMAIN)
def _conv(node: ir.Node) -> list[TensorType]:
    return _as_plain(node)


@shape_rule("MaxPool", domain=BLOCKED_DOMAIN)
def _max_pool(node: ir.Node) -> list[TensorType]:
    return _as_plain(node)


@shape_rule("GlobalAveragePool", domain=BLOCKED_DOMAIN)
def _global_average_pool(node: ir.Node) -> list[TensorType]:
    shape, dtype = _four_axes(node)
    return [((*shape[:2], 1, 1), dtype)]


@shape_rule("Upsample", domain=BLOCKED_DOMAIN)
def _upsample(node: ir.Node) -> list[TensorType]:
    shape, dtype = _four_axes(node)
    return [(tuple(size * scale for size, scale in zip(shape, attr(node, "scales"))), dtype)]


@shape_rule("ReorderInput", domain=BLOCKED_DOMAIN)
def _reorder_input(node: ir.Node) -> list[TensorType]:
    return [_four_axes(node)]


@shape_rule("ReorderOutput", domain=BLOCKED_DOMAIN)
def _reorder_output(node: ir.Node) -> list[TensorType]:
    shape, dtype = _four_axes(node)
    if attr(node, "channels") != shape[1]:
        raise ValueError(f"{attr(node, 'channels')} channels of {shape[1]}")
    return [(shape, dtype)]


def _as_plain(node: ir.Node) -> list[TensorType]:
    """The shape that the operator of the same name has in standard ONNX."""
    rule = info(node.op_type).shape
    assert rule is not None
    return list(rule(node))


def _four_axes(node: ir.Node) -> TensorType:
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    if len(shape) != 4:
        raise ValueError(f"blocks have 4 axes, not {len(shape)}")
    return shape, dtype_of(x)
