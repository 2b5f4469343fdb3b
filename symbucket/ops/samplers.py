"""Operators that draw from distributions: of numbers, of arrays of parameters, or like the data.

Each distribution has three: ``_random_NAME`` has parameters that are attributes, ``_sample_NAME``
draws ``shape`` numbers for each element of its inputs, ``_random_NAME_like`` as many as the data
has. ``sym.random`` chooses among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from symbucket.casts import lost_numbers
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.ir import Expr, shape_of
from symbucket.ir.expr import log
from symbucket.ops.distributions import DISTRIBUTIONS, Distribution
from symbucket.ops.noise import Drawn
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import (
    DType,
    InferredShapes,
    InferredTypes,
    PartialDType,
    PartialShape,
    Shape,
)

FAMILY = "Random numbers"

_ANY = {"low", "high", "loc"}  # parameters that may be negative
_ZERO = {"scale", "mu", "lam", "alpha"}  # and those that may be 0


def _as_dtype(drawn: Expr, dtype: DType) -> ir.Value:
    if dtype.kind in "iu" and dtype.itemsize == 1:
        raise InvalidArgumentError(
            f"{dtype} does not hold all numbers that may be drawn; draw them as int32 or float32"
        )
    return drawn.cast(ir.DataType.from_numpy(dtype)).value


class _OfNumbers(Operator):
    """Parameters are attributes."""

    distribution: ClassVar[Distribution]
    random = True

    def __post_init__(self) -> None:
        for name, value in zip(self.distribution.defaults, self.numbers()):
            if name not in _ANY:
                least = "0 or more" if name in _ZERO else "positive"
                good = value >= 0 if name in _ZERO else value > 0
                self.check(good, f"{name}={value:g} must be {least}")
            self.check(name != "p" or value <= 1, f"p={value:g} must be at most 1")

    def numbers(self) -> list[float]:
        """Return the parameters."""
        return [float(getattr(self, name)) for name in self.distribution.defaults]

    def draws(self, training: bool) -> int:
        return self.distribution.draws(self.numbers())

    def drawn(self, g: Emitter, shape: Shape) -> ir.Value:
        """Return numbers of a shape, in the dtype of the output."""
        parameters = [Expr(g, g.const(number)) for number in self.numbers()]
        return _as_dtype(self.distribution.draw(g, parameters, shape), g.out_dtypes[0])


class _OfShape(_OfNumbers, Drawn):
    def emit(self, g: Emitter) -> ir.Value:
        return self.drawn(g, tuple(g.out_shapes[0]))

    def draws(self, training: bool) -> int:
        return _OfNumbers.draws(self, training)


class _Like(_OfNumbers):
    no_gradient = ("data",)

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return self.drawn(g, shape_of(data))


class _OfArrays(Operator):
    """Parameters are arrays of one shape."""

    distribution: ClassVar[Distribution]
    random = True
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    @classmethod
    def inputs(cls) -> dict[str, bool]:
        return dict.fromkeys(cls.distribution.defaults, True)

    def arguments(self) -> tuple[str, ...]:
        return tuple(self.distribution.defaults)

    def draws(self, training: bool) -> int:
        return self.distribution.draws(None)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape: PartialShape = None
        for each in ins:
            shape = unify(shape, each)
        if shape is None:
            return ins, outs
        return [shape] * len(ins), [unify(outs[0], (*shape, *self.shape))]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = next((d for d in ins if d is not None), None)
        name = "float32" if self.dtype == "None" else self.dtype  # as MXNet's files write it
        return [d or dtype for d in ins], [np.dtype(name)]

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        shape = (*shape_of(inputs[0]), *[1] * len(self.shape))
        # No gradient flows to the parameters, as in MXNet.
        parameters = [
            Expr(g, g.own("BlockGrad", g.cast(x, ir.DataType.FLOAT))).reshape(shape) for x in inputs
        ]
        drawn = self.distribution.draw(g, parameters, tuple(g.out_shapes[0]))
        return _as_dtype(drawn, g.out_dtypes[0])


def _define(name: str, distribution: Distribution) -> None:
    kinds = dict.fromkeys(distribution.defaults, float)
    common: dict[str, Any] = {
        "distribution": distribution,
        "formula": distribution.formula,
        "__module__": __name__,
    }
    numbers = ", ".join(["[1, 1]"] * len(kinds))
    sizes = {"shape": tuple[int, ...], "dtype": str}
    if name not in ("uniform", "normal"):  # these are in ``noise``
        body = {
            **common,
            **distribution.defaults,
            "shape": (),
            "dtype": "float32",
            "example": f"random.{name}(shape=(2, 3)).shape -> (2, 3)",
            "__annotations__": {**kinds, **sizes},
            "__doc__": f"Numbers of {distribution.text}, new ones at every run.",
        }
        operator(f"_random_{name}", f"random_{name}")(type(name, (_OfShape,), body))
    body = {
        **common,
        **distribution.defaults,
        "no_gradient": ("data",),
        "example": f"_random_{name}_like([[1, 2, 3]]).shape -> (1, 3)",
        "__annotations__": kinds,
        "__doc__": f"Numbers of {distribution.text}, in the shape and dtype of the data.",
    }
    operator(f"_random_{name}_like")(type(name, (_Like,), body))
    body = {
        **common,
        "no_gradient": tuple(distribution.defaults),
        "shapes": f"{', '.join(['(*d)'] * len(kinds))} -> (*d, *shape)",
        "shape": (),
        "dtype": "float32",
        "example": f"sample_{name}({numbers}, shape=(3,)).shape -> (2, 3)",
        "__annotations__": sizes,
        "__doc__": f"For each element of the inputs ``shape`` numbers of {distribution.text}.",
    }
    operator(f"_sample_{name}", f"sample_{name}")(type(name, (_OfArrays,), body))


for _name, _distribution in DISTRIBUTIONS.items():
    _define(_name, _distribution)


@operator("_random_randint", "random_randint")
class RandInt(Drawn):
    """Whole numbers from ``low`` up to below ``high``, new ones at every run."""

    formula = "P(y) = 1 / (high - low) for y = low, ..., high - 1"
    example = "random.randint(0, 10, shape=(2, 3)).shape -> (2, 3)"

    low: int
    high: int
    shape: tuple[int, ...] = ()
    dtype: str = "int32"

    def __post_init__(self) -> None:
        self.check(self.low < self.high, f"low={self.low} must be below high={self.high}")
        ends, dtype = np.array([self.low, self.high - 1]), np.dtype(self.name_of_dtype())
        self.check(
            not lost_numbers(ends, dtype)[0],
            f"numbers from {self.low} up to below {self.high} do not fit {dtype}",
        )

    def draws(self, training: bool) -> int:
        return 2

    def name_of_dtype(self) -> str:
        return "int32" if self.dtype == "None" else self.dtype

    def emit(self, g: Emitter) -> ir.Value:
        # Two draws of 24 bits each, so that wide ranges have no gaps.
        coarse, fine = (
            Expr(g, g.noise("uniform", g.out_shapes[0])).cast(ir.DataType.DOUBLE) for _ in range(2)
        )
        share = coarse + fine * 2.0**-24
        number = (share * float(self.high - self.low)).op("Floor")
        if self.onnx_dtype().is_integer():  # a float64 may round the sum
            return (number.cast(ir.DataType.INT64) + self.low).cast(self.onnx_dtype()).value
        return (number + float(self.low)).cast(self.onnx_dtype()).value


@operator("_shuffle", "shuffle")
class Shuffle(Operator):
    """The slices along the first axis in random order."""

    formula = "y[i] = x[p[i]], p a random permutation"
    example = "shuffle([[1, 2], [1, 2]]) -> [[1, 2], [1, 2]]"
    random = True

    def draws(self, training: bool) -> int:
        return 1

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        count = shape_of(data)[0]
        drawn = g.noise("uniform", (count,))
        order = g.ops("TopK", drawn, g.ints(count), outputs=2)[1]
        return g.op("Gather", data, order, axis=0)


@operator("_sample_multinomial", "sample_multinomial")
class SampleMultinomial(Operator):
    """For each row of probabilities ``shape`` numbers of classes.

    With ``get_prob`` the logarithms of their probabilities are a second output, whose gradient
    flows to the data.
    """

    formula = "P(y[i] = k) = data[i, k]"
    example = "sample_multinomial([[0, 1], [1, 0]]) -> [1, 0]"
    shapes = "(*d, k) -> (*e), (*e)"
    random = True

    shape: tuple[int, ...] = ()
    get_prob: bool = False
    dtype: str = "int32"

    def outputs(self) -> tuple[str, ...]:
        return ("output0", "output1") if self.get_prob else ("output",)

    def draws(self, training: bool) -> int:
        return 1

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        if not data:
            raise ShapeError("data must have one or more axes, the last one for the classes")
        return ins, [unify(out, (*data[:-1], *self.shape) or (1,)) for out in outs]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return ins, [np.dtype(self.dtype), ins[0]][: len(outs)]

    def emit(self, g: Emitter, data: ir.Value) -> Sequence[ir.Value]:
        rows, classes = math.prod(shape_of(data)[:-1]), shape_of(data)[-1]
        count = math.prod(self.shape)
        p = Expr(g, data).reshape((rows, classes))
        sums = Expr(g, g.own("BlockGrad", p.value)).op("CumSum", Expr(g, g.const(np.int64(1))))
        total = sums.op("Slice", [classes - 1], [classes], [1]).reshape((rows, 1, 1))
        drawn = Expr(g, g.noise("uniform", (rows, count, 1))).cast(p.dtype) * total
        below = (drawn >= sums.reshape((rows, 1, classes))).cast(ir.DataType.INT64).sum(2)
        place = below.op("Min", below.const(classes - 1))
        index = place.reshape(g.out_shapes[0]).cast(ir.DataType.from_numpy(g.out_dtypes[0]))
        if not self.get_prob:
            return [index.value]
        chosen = log(p.op("GatherElements", place, axis=1)).reshape(g.out_shapes[0])
        return [index.value, chosen.value]
