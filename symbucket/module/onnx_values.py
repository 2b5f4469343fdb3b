"""The initializer of parameters that came with an ONNX file."""

from __future__ import annotations

from symbucket.errors import ParameterError
from symbucket.initializer import Initializer, register
from symbucket.symbol.onnx_import import VALUES
from symbucket.types import Array


@register
class OnnxValue(Initializer):
    """The value that the file gave, by the hash of its contents; ``sym.from_onnx`` sets it."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest=digest)
        self._digest = digest

    def _init_weight(self, desc: str, arr: Array) -> None:
        value = VALUES.get(self._digest)
        if value is None:
            raise ParameterError(
                f"Parameter {str(desc)!r} starts at a value from an ONNX file, which this process "
                "has not read: a symbol file holds the graph and no values. Call sym.from_onnx "
                "with that file first, or give the values (init_params(arg_params=...), a "
                "checkpoint)."
            )
        arr[...] = value
