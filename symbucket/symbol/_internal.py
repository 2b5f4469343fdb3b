"""Operators whose names begin with an underscore, as MXNet has them in ``sym._internal``."""

from symbucket.symbol.namespaces import attributes_of

__all__: list[str] = []
__getattr__, __dir__ = attributes_of("_internal")
