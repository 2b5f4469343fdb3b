"""Operator records: one class an operator, by family. Importing this registers all of them."""

from symbucket.ops import nn
from symbucket.ops.record import Emitter, Operator, find, names, operator

__all__ = ["Emitter", "Operator", "find", "names", "nn", "operator"]
