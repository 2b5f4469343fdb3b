"""Loops and branches that the network itself decides: ``foreach``, ``while_loop``, ``cond``."""

from symbucket.symbol.control_flow.cond import cond
from symbucket.symbol.control_flow.foreach import foreach
from symbucket.symbol.control_flow.while_loop import while_loop

__all__ = ["cond", "foreach", "while_loop"]
