"""Operators that MXNet has in ``sym.contrib``."""

from symbucket.symbol.namespaces import attributes_of

__all__: list[str] = []
__getattr__, __dir__ = attributes_of("contrib")
