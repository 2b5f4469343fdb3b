"""Which training steps are faster in shards.

Numbers are from two cores with AVX-512 and onnxruntime-training 1.19.2. A loop is many small nodes.
If a node is large enough, the runtime splits it over its threads, which costs one or two
microseconds: one waits for the other, and on a virtual machine some wait for their core. A shard
runs on one thread. What shards cost is to wake the other threads, and to add up what is a sum over
the rows, mostly gradients of weights: a step of an LSTM of 128 units, 40 steps and 32 rows took 7.5
in place of 9.6 ms while cores came and went and 6.6 in place of 6.8 while they stayed, one of 256
units, with four times the gradients, 19.9 in place of 22.7, and 19.7 in place of 19.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx_ir as ir

from symbucket.ir import body_of, dtype_of, shape_of, steps_of

NODE_SECONDS = 2e-6
"""To split a node over the threads and to wait for them, with moments in which a core is away."""

WAKE_SECONDS = 100e-6
"""To start the other shards and to wait for the last."""

ADDED_BYTES_PER_SECOND = 15e9 / 3
"""Reading two arrays and writing one, at 15 GB a second."""

LEAST_ELEMENTS = 2_048
"""Elements of a result from which on the runtime splits elementwise work."""

LEAST_PRODUCTS = 65_536
"""Multiplications from which on it splits a product."""


def pays(graph: ir.Graph, sums: Iterable[ir.Value], parts: int) -> bool:
    """Return whether a training step does; ``sums`` are the outputs to add up."""
    size = sum(math.prod(shape_of(v)) * dtype_of(v).itemsize for v in sums)
    cost = WAKE_SECONDS + size * (parts - 1) / ADDED_BYTES_PER_SECOND
    return _split_nodes(graph) * NODE_SECONDS > cost


def _split_nodes(graph: ir.Graph) -> int:
    """Return how many executions of nodes in loops the runtime splits over its threads."""
    count = 0
    for node in graph:
        body = body_of(node)
        if body is not None:
            inside = sum(map(_is_split, body)) + _split_nodes(body)
            count += steps_of(node) * inside
    return count


def _is_split(node: ir.Node) -> bool:
    shape = node.outputs[0].shape
    if shape is None or not shape.is_static():
        return False
    elements = math.prod(shape.numpy())
    if node.op_type not in ("Gemm", "MatMul"):
        return elements >= LEAST_ELEMENTS
    left = node.inputs[0]
    assert left is not None
    summed = shape_of(left)[0 if node.attributes.get("transA") else -1]
    return elements * summed >= LEAST_PRODUCTS
