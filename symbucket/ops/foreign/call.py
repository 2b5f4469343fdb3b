"""One node of a foreign graph, as the translations see it, and their registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ops.record import Emitter


@dataclass(frozen=True)
class Call:
    """A node: operator, attributes as onnx-ir has them, inputs (None if left out)."""

    op_type: str
    name: str
    attrs: dict[str, ir.Attr]
    inputs: Sequence[ir.Value | None]
    outputs: int
    opset: int
    domain: str = ""

    def attr(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        attribute = self.attrs.get(name)
        return default if attribute is None else attribute.value

    def values(self) -> dict[str, Any]:
        """Return the values of all attributes that the node sets, by name."""
        return {name: attribute.value for name, attribute in self.attrs.items()}

    def optional(self, i: int) -> ir.Value | None:
        """Return input ``i``, None if the node does not have it."""
        return self.inputs[i] if i < len(self.inputs) else None

    def input(self, i: int) -> ir.Value:
        """Input ``i``, which the operator needs."""
        value = self.optional(i)
        if value is None:
            raise UnsupportedError(f"input {i} is missing")
        return value

    def refuse(self, condition: bool, what: str) -> None:
        """Raise UnsupportedError if ``condition`` holds."""
        if condition:
            raise UnsupportedError(f"{what} is not supported")


Results = Sequence[ir.Value]
Translation = Callable[[Emitter, Call], Results]
TRANSLATIONS: dict[str, Translation] = {}


def translation(*op_types: str) -> Callable[[Translation], Translation]:
    """Register how nodes of these operators are written with the builder."""

    def decorate(rule: Translation) -> Translation:
        for op_type in op_types:
            TRANSLATIONS[op_type] = rule
        return rule

    return decorate
