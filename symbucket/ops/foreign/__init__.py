"""ONNX graphs from elsewhere, written with the builder node by node.

``emit_graph`` is the interpreter. Nodes that symbucket writes otherwise (because it has a better
gradient for them, or states) are in ``translate`` and ``recurrent``; what depends on shapes and
constants alone is computed at once (``fold``).
"""

from symbucket.ops.foreign import (
    arithmetic,
    bits,
    convolution,
    cumulative,
    einsum,
    extremes,
    noise,
    pooling,
    recurrent,
    resize,
    sampling,
    spectrum,
    translate,
)
from symbucket.ops.foreign.interpret import emit_graph, unknown_nodes
from symbucket.ops.foreign.lookups import lookup_bounds

__all__ = [
    "arithmetic",
    "bits",
    "convolution",
    "cumulative",
    "einsum",
    "emit_graph",
    "extremes",
    "lookup_bounds",
    "noise",
    "pooling",
    "recurrent",
    "resize",
    "sampling",
    "spectrum",
    "translate",
    "unknown_nodes",
]
