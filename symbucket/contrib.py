"""Contributed operators, as ``mx.contrib``."""

from symbucket.ndarray import contrib as nd
from symbucket.ndarray import contrib as ndarray
from symbucket.symbol import contrib as sym
from symbucket.symbol import contrib as symbol

__all__ = ["nd", "ndarray", "sym", "symbol"]
