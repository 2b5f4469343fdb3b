"""Operator records: one class an operator, by family. Importing this registers all of them."""

from symbucket.ops import (
    convolution,
    create,
    elementwise,
    indexing,
    leaky,
    loss,
    movement,
    nn,
    noise,
    normalization,
    product,
    reduce,
    repetition,
    sequence,
    softmax,
)
from symbucket.ops.record import Emitter, Operator, find, names, operator

__all__ = [
    "Emitter",
    "Operator",
    "convolution",
    "create",
    "elementwise",
    "find",
    "indexing",
    "leaky",
    "loss",
    "movement",
    "names",
    "nn",
    "noise",
    "normalization",
    "operator",
    "product",
    "reduce",
    "repetition",
    "sequence",
    "softmax",
]
