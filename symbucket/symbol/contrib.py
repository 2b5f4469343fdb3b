"""Operators that MXNet has in ``sym.contrib``."""

from symbucket.symbol.control_flow import cond, foreach, while_loop
from symbucket.symbol.namespaces import attributes_of

__all__ = ["cond", "foreach", "while_loop"]
__getattr__, __dir__ = attributes_of("contrib", ("cond", "foreach", "while_loop"))
