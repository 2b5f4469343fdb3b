"""Linear algebra on stacks of matrices, as ``mx.nd.linalg``."""

from symbucket.ndarray.eigen import syevd
from symbucket.ndarray.functions import operator_function
from symbucket.symbol.namespaces import attributes_of

__all__ = ["syevd"]
__getattr__, __dir__ = attributes_of("linalg", tuple(__all__), operator_function, "nd")
