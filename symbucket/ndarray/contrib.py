"""Operators that MXNet has in ``nd.contrib``."""

from symbucket.ndarray.control_flow import cond, foreach, while_loop
from symbucket.ndarray.functions import operator_function
from symbucket.symbol.namespaces import attributes_of

__all__ = ["cond", "foreach", "while_loop"]
__getattr__, __dir__ = attributes_of(
    "contrib", ("cond", "foreach", "while_loop"), operator_function, "nd"
)
