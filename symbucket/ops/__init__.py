"""Operator records: one class an operator, by family. Importing this registers all of them."""

from symbucket.ops import create, elementwise, loss, movement, nn
from symbucket.ops.record import Emitter, Operator, find, names, operator

__all__ = [
    "Emitter",
    "Operator",
    "create",
    "elementwise",
    "find",
    "loss",
    "movement",
    "names",
    "nn",
    "operator",
]
