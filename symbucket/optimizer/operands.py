"""Operands of an optimizer's formula: states and scalars by name."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from symbucket.checks import did_you_mean
from symbucket.ir import Builder, Expr
from symbucket.ir.expr import clip

Step = tuple[Expr, dict[str, Expr]]
"""The new weight, and the new value of each state by name."""


class Operands:
    """Values by name: ``k.beta1`` is an expression, and ``"decay" in k`` asks if it exists.

    Args:
        g: the builder that the expressions append to.
        kind: what one of them is, for error texts: "state" or "scalar".
        values: the values by name.
    """

    def __init__(self, g: Builder, kind: str, values: Mapping[str, ir.Value]) -> None:
        self._kind = kind
        self._values = {name: Expr(g, value) for name, value in values.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getattr__(self, name: str) -> Expr:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(
                f"the optimizer declares no {self._kind} {name!r}, only "
                f"{', '.join(self._values) or 'none'}{did_you_mean(name, self._values)}"
            ) from None


def limit(x: Expr, bound: Expr) -> Expr:
    """Return ``x`` limited to ``[-bound, bound]``; ``bound`` is a scalar of shape (1,)."""
    high = bound.op("Squeeze", [0])
    return clip(x, -high, high)
