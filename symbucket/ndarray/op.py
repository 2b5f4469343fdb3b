"""Every operator, as MXNet has them in ``nd.op``."""

from symbucket.ndarray.functions import operator_function
from symbucket.symbol.namespaces import attributes_of

__all__: list[str] = []
__getattr__, __dir__ = attributes_of("op", (), operator_function, "nd")
