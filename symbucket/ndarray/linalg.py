"""Linear algebra on stacks of matrices, as ``mx.nd.linalg``."""

from symbucket.ndarray.functions import operator_function
from symbucket.symbol.namespaces import attributes_of

__all__: list[str] = []
__getattr__, __dir__ = attributes_of("linalg", (), operator_function, "nd")
