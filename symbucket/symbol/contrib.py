"""Operators that MXNet has in ``sym.contrib``."""

from symbucket.symbol.control_flow import cond, foreach, while_loop
from symbucket.symbol.namespaces import attributes_of
from symbucket.symbol.zipfian import rand_zipfian

__all__ = ["cond", "foreach", "rand_zipfian", "while_loop"]
__getattr__, __dir__ = attributes_of("contrib", tuple(__all__))
