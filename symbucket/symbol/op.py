"""Every operator, as MXNet has them in ``sym.op``."""

from symbucket.symbol.namespaces import attributes_of

__all__: list[str] = []
__getattr__, __dir__ = attributes_of("op")
