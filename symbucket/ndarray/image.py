"""Operators on images, as ``mx.nd.image``."""

from symbucket.ndarray.functions import operator_function
from symbucket.symbol.namespaces import attributes_of

__all__: list[str] = []
__getattr__, __dir__ = attributes_of("image", (), operator_function, "nd")
