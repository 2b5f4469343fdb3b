"""Operators that MXNet has in ``nd.contrib``."""

from symbucket.ndarray.boolean_mask import boolean_mask
from symbucket.ndarray.control_flow import cond, foreach, while_loop
from symbucket.ndarray.finiteness import isfinite, isinf, isnan
from symbucket.ndarray.functions import operator_function
from symbucket.ndarray.zipfian import rand_zipfian
from symbucket.symbol.namespaces import attributes_of

__all__ = [
    "boolean_mask",
    "cond",
    "foreach",
    "isfinite",
    "isinf",
    "isnan",
    "rand_zipfian",
    "while_loop",
]
__getattr__, __dir__ = attributes_of("contrib", tuple(__all__), operator_function, "nd")
