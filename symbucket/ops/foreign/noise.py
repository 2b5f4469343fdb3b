"""Random operators of foreign graphs: they draw as symbucket's own do, from the library's seed."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.ir import Expr, dtype_of, shape_of
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter
from symbucket.types import Shape


@translation("RandomUniform", "RandomUniformLike")
def _random_uniform(g: Emitter, call: Call) -> Results:
    low, high = call.attr("low", 0.0), call.attr("high", 1.0)
    drawn = Expr(g, g.noise("uniform", _shape(call)))
    return [(drawn * (high - low) + low).cast(_dtype(call)).value]


@translation("RandomNormal", "RandomNormalLike")
def _random_normal(g: Emitter, call: Call) -> Results:
    drawn = Expr(g, g.noise("normal", _shape(call)))
    scaled = drawn * call.attr("scale", 1.0) + call.attr("mean", 0.0)
    return [scaled.cast(_dtype(call)).value]


@translation("Bernoulli")
def _bernoulli(g: Emitter, call: Call) -> Results:
    """True with the probability that the input says, element by element."""
    probability = g.cast(call.input(0), ir.DataType.FLOAT)
    drawn = g.noise("uniform", shape_of(probability))
    dtype = ir.DataType(call.attr("dtype", int(dtype_of(call.input(0)))))
    return [g.cast(g.op("Less", drawn, probability), dtype)]


def _shape(call: Call) -> Shape:
    shape = call.attr("shape")
    return shape_of(call.input(0)) if shape is None else tuple(shape)


def _dtype(call: Call) -> ir.DataType:
    if call.attr("dtype") is not None:
        return ir.DataType(call.attr("dtype"))
    return dtype_of(call.input(0)) if call.inputs else ir.DataType.FLOAT
