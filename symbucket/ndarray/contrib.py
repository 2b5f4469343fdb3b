"""Operators that MXNet has in ``nd.contrib``."""

from symbucket.ndarray.functions import operator_function
from symbucket.symbol.namespaces import attributes_of

__all__: list[str] = []
__getattr__, __dir__ = attributes_of("contrib", (), operator_function, "nd")
