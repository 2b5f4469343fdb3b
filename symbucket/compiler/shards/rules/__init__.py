"""Rules by family of operators: what a node's results are if its operands are rows, sums, ..."""

from symbucket.compiler.shards.rules import (  # noqa: F401 - they register themselves
    along_axes,
    elementwise,
    indexing,
    movement,
    products,
    reductions,
)
from symbucket.compiler.shards.rules.base import Operands, rule_of

__all__ = ["Operands", "rule_of"]
