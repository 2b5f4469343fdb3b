"""Operators whose names begin with an underscore, as MXNet has them in ``nd._internal``."""

from symbucket.ndarray.functions import operator_function
from symbucket.symbol.namespaces import attributes_of

__all__: list[str] = []
__getattr__, __dir__ = attributes_of("_internal", (), operator_function, "nd")
