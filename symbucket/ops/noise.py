"""Operators that draw random numbers: Dropout, random_uniform, random_normal.

Every node gets a seed of its own from the library's seed, the graph's name and the node's name,
so that a program repeats exactly and no two nodes draw the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket import random
from symbucket.ir import dtype_of, shape_of
from symbucket.ops.record import DType, Emitter, Operator, operator
from symbucket.ops.shape import Partial, Shape, axis_of, unify, with_dim

Shapes = tuple[list[Partial], list[Partial]]
Types = tuple[list[DType], list[DType]]

_SEEDS = 2**24  # seeds of RandomUniform are float32, which holds whole numbers up to this exactly


def _seed(g: Emitter) -> int:
    # unique() tells apart two nodes that the user gave one name.
    name = g.unique(f"{g.scope}/seed")
    return int(random.stream("noise", g.graph.name or "", name).integers(1, _SEEDS))


def _uniform(g: Emitter, shape: Shape, low: float, high: float, dtype: ir.DataType) -> ir.Value:
    return g.op(
        "RandomUniform",
        shape=list(shape),
        low=float(low),
        high=float(high),
        dtype=int(dtype),
        seed=float(_seed(g)),
    )


@operator("Dropout")
class Dropout(Operator):
    """While training a share ``p`` of the elements is 0, the others are divided by ``1 - p``.

    mode "always" does so at inference too. Along the axes ``axes`` one choice holds for all
    positions (variational dropout).
    """

    p: float = 0.5
    mode: Literal["training", "always"] = "training"
    axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.check(0.0 <= self.p < 1.0, f"p={self.p} must be from 0 up to below 1")

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value | Sequence[ir.Value]:
        x = inputs[0]
        if self.p == 0.0 or not (g.training or self.mode == "always"):
            return g.op("Identity", x)
        if not self.axes and x.const_value is None:
            ratio, on = g.const(self.p), g.const(np.array(True))
            return g.ops("Dropout", x, ratio, on, outputs=2, seed=_seed(g))[0]
        # A mask by itself: of a smaller shape, or because the runtime folds a Dropout of constants
        # into one fixed choice.
        shape = shape_of(x)
        for axis in self.axes:
            shape = with_dim(shape, axis_of(axis, len(shape)), 1)
        drawn = _uniform(g, shape, 0.0, 1.0, ir.DataType.FLOAT)
        kept = g.cast(g.op("GreaterOrEqual", drawn, g.const(self.p)), dtype_of(x))
        return g.op("Mul", x, g.op("Mul", kept, g.const(1.0 / (1.0 - self.p), like=x)))


class _Draw(Operator):
    """Random numbers of a shape; 0 in ``shape`` is a dimension to be inferred from its use."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def arguments(self) -> tuple[str, ...]:
        return ()

    def infer_shape(self, ins: list[Partial], outs: list[Partial]) -> Shapes:
        return [], [unify(outs[0], self.shape or None)]

    def onnx_dtype(self) -> ir.DataType:
        """The dtype; MXNet's files say "None" for the default."""
        return ir.DataType.from_numpy(np.dtype(self._name()))

    def _name(self) -> str:
        return "float32" if self.dtype == "None" else self.dtype

    def infer_type(self, ins: list[DType], outs: list[DType]) -> Types:
        return [], [np.dtype(self._name())]


@operator("_random_uniform", "random_uniform", "uniform")
class RandomUniform(_Draw):
    """Numbers drawn evenly from ``low`` up to below ``high``, new ones at every run."""

    low: float = 0.0
    high: float = 1.0
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value | Sequence[ir.Value]:
        return _uniform(g, g.out_shapes[0], self.low, self.high, self.onnx_dtype())


@operator("_random_normal", "random_normal", "normal")
class RandomNormal(_Draw):
    """Numbers of the normal distribution around ``loc`` with standard deviation ``scale``."""

    loc: float = 0.0
    scale: float = 1.0
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self.check(self.scale >= 0, f"scale={self.scale} must not be negative")

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value | Sequence[ir.Value]:
        return g.op(
            "RandomNormal",
            shape=list(g.out_shapes[0]),
            mean=self.loc,
            scale=self.scale,
            dtype=int(self.onnx_dtype()),
            seed=float(_seed(g)),
        )
