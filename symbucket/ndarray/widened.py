"""Operators on dtypes that the runtime has no kernel for: computed in a wider one and cast back.

So ``exp`` of int32 is what MXNet gives: that of the numbers, cut to whole ones. A wider dtype holds
every value of the narrower one exactly; float64 has none, and what is refused there stays refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from symbucket.context import Context
from symbucket.errors import UnsupportedError
from symbucket.ndarray.program import OperatorProgram, Signature, operator_program, symbol_of
from symbucket.ops.record import Operator
from symbucket.runtime import NDArray
from symbucket.symbol.infer import infer_types

_WIDER = {
    "bool": ("int32", "float32"),
    "int8": ("int32", "float32", "float64"),
    "uint8": ("int32", "float32", "float64"),
    "float16": ("float32",),
    "int32": ("int64", "float64"),
    "int64": ("float64",),
}


class WidenedProgram:
    """A program over wider inputs, whose results are cast to the dtypes that they should have."""

    def __init__(self, op: Operator, inputs: Signature, program: OperatorProgram) -> None:
        self._program = program
        symbol = symbol_of(op)
        names = (*op.arguments(), *op.auxiliary())
        types = infer_types(symbol.nodes(), {n: dtype for n, (_, dtype) in zip(names, inputs)})
        self._dtypes = [types[head] for head in symbol.heads]

    def run(self, inputs: Sequence[NDArray]) -> list[NDArray]:
        """Return the outputs as new arrays."""
        wide = [array.astype(d, copy=False) for array, d in zip(inputs, self._program.dtypes)]
        results = self._program.run(wide)
        return [result.astype(dtype, copy=False) for result, dtype in zip(results, self._dtypes)]


@lru_cache(maxsize=512)
def program_for(
    op: Operator, inputs: Signature, context: Context
) -> OperatorProgram | WidenedProgram:
    """Return the program of a signature, in wider dtypes if the runtime refuses these.

    Raises UnsupportedError, as for these dtypes, if it refuses all.
    """
    try:
        return operator_program(op, inputs, context)
    except UnsupportedError as error:
        refused = error
    for dtype in _WIDER.get(inputs[0][1].name if inputs else "", ()):
        narrow = inputs[0][1]
        wide = tuple((s, np.dtype(dtype) if d == narrow else d) for s, d in inputs)
        try:
            return WidenedProgram(op, inputs, operator_program(op, wide, context))
        except UnsupportedError:
            continue
    raise refused
