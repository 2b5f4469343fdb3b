"""Arrays by MXNet's names (``mx.nd``): making them, computing with them, and files of them.

``nd.exp(x)`` and its like compute the operators of :mod:`symbucket.ops` at once, as a symbol
without training would; ``help(nd.exp)`` shows inputs and attributes. Everything runs at once: an
array's values are there when the call that makes them returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import symbucket.ops as _ops
from symbucket.errors import InvalidArgumentError
from symbucket.ndarray import _internal, contrib, image, linalg, ndarray, op, random
from symbucket.ndarray.create import (
    arange,
    array,
    empty,
    eye,
    from_dlpack,
    from_numpy,
    full,
    histogram,
    linspace,
    onehot_encode,
    ones,
    to_dlpack_for_read,
    to_dlpack_for_write,
    waitall,
    zeros,
)
from symbucket.ndarray.files import load, load_frombuffer, save
from symbucket.ndarray.functions import operator_function as _operator_function
from symbucket.ndarray.of_numbers import (
    add,
    divide,
    equal,
    greater,
    greater_equal,
    hypot,
    lesser,
    lesser_equal,
    logical_and,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    modulo,
    multiply,
    not_equal,
    power,
    subtract,
    true_divide,
)
from symbucket.ndarray.parts import concatenate, moveaxis, split_v2
from symbucket.ndarray.updates import (
    adam_update,
    ftrl_update,
    nag_mom_update,
    rmsprop_update,
    rmspropalex_update,
    sgd_mom_update,
    sgd_update,
    signsgd_update,
    signum_update,
)
from symbucket.runtime import NDArray

__all__ = [
    "NDArray",
    "_internal",
    "adam_update",
    "add",
    "arange",
    "array",
    "concatenate",
    "contrib",
    "divide",
    "empty",
    "equal",
    "eye",
    "from_dlpack",
    "from_numpy",
    "ftrl_update",
    "full",
    "greater",
    "greater_equal",
    "histogram",
    "hypot",
    "image",
    "lesser",
    "lesser_equal",
    "linalg",
    "linspace",
    "load",
    "load_frombuffer",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "modulo",
    "moveaxis",
    "multiply",
    "nag_mom_update",
    "ndarray",
    "not_equal",
    "onehot_encode",
    "ones",
    "op",
    "power",
    "random",
    "rmsprop_update",
    "rmspropalex_update",
    "save",
    "sgd_mom_update",
    "sgd_update",
    "signsgd_update",
    "signum_update",
    "split_v2",
    "subtract",
    "to_dlpack_for_read",
    "to_dlpack_for_write",
    "true_divide",
    "waitall",
    "zeros",
]


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in random.BY_OPERATOR:
        return random.BY_OPERATOR[name]
    try:
        return _operator_function(_LINALG.get(name, name))
    except InvalidArgumentError as error:
        raise AttributeError(str(error)) from None


# MXNet has nd.linalg.gemm2 as nd.linalg_gemm2, too.
_LINALG = {f"linalg_{name}": full_name for name, full_name in _ops.in_namespace("linalg").items()}


def __dir__() -> list[str]:
    operators = (n for n in _ops.names() if not n.startswith("_"))
    return sorted({*__all__, *operators, *_LINALG, *random.BY_OPERATOR})
