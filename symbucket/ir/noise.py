"""Noise: what a node draws, as a node of our own domain with no inputs.

``Noise`` says from which distribution numbers are drawn, and which stream of the network they come
from. A program that symbucket runs gets them as inputs, drawn on the host; in a model for other
runtimes the node is expanded into ONNX's own random operators.

Distributions: "uniform" from 0 up to below 1, "normal" around 0 with deviation 1 (both float32),
"bernoulli": true with ``probability`` (bool).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import onnx_ir as ir

from symbucket.ir.builder import Builder, attr
from symbucket.ir.gradient_rules import no_gradient
from symbucket.ir.registry import OWN_DOMAIN, TensorType, expansion, mark, shape_rule

Distribution = Literal["uniform", "normal", "bernoulli"]

mark("Noise", domain=OWN_DOMAIN, random=True)
no_gradient("Noise", domain=OWN_DOMAIN, because="draws random numbers")


@shape_rule("Noise", domain=OWN_DOMAIN)
def _noise_type(node: ir.Node) -> list[TensorType]:
    is_bool = attr(node, "distribution") == "bernoulli"
    return [(tuple(attr(node, "shape")), ir.DataType.BOOL if is_bool else ir.DataType.FLOAT)]


@expansion("Noise")
def _expand_noise(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    """Draw in the runtime, from a seed that is a constant of the model."""
    op_type = "RandomNormal" if attr(node, "distribution") == "normal" else "RandomUniform"
    draw = g.op(
        op_type,
        shape=list(attr(node, "shape")),
        dtype=int(ir.DataType.FLOAT),
        seed=float(attr(node, "seed")),
    )
    if attr(node, "distribution") == "bernoulli":
        return [g.op("Less", draw, g.const(attr(node, "probability"), like=draw))]
    return [draw]
