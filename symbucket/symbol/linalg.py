"""Linear algebra on stacks of matrices, as ``mx.sym.linalg``."""

from symbucket.symbol.namespaces import attributes_of

__all__: list[str] = []
__getattr__, __dir__ = attributes_of("linalg")
