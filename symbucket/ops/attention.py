"""Products of interleaved queries, keys and values, as MXNet's transformers use them."""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Attention"


class _Attention(Operator):
    """Sequences (time, batch, features), heads apart in the features."""

    parts = 1
    """How many of queries, keys, values are interleaved in one input."""
    heads: int

    def __post_init__(self) -> None:
        self.check(self.heads > 0, f"heads={self.heads} must be positive")

    def sizes(self, shape: tuple[int, ...], parts: int) -> tuple[int, int, int]:
        """Return time, batch, and the features of one head."""
        if len(shape) != 3 or shape[2] % (parts * self.heads):
            raise ShapeError(
                f"{shape} must be (time, batch, features) with features for {parts} projections of "
                f"{self.heads} heads"
            )
        return shape[0], shape[1], shape[2] // (parts * self.heads)

    def projection(self, g: Emitter, x: ir.Value, parts: int, part: int) -> Expr:
        """Return one of the interleaved projections, (batch * heads, time, features of a head)."""
        time, batch, width = self.sizes(shape_of(x), parts)
        heads = batch * self.heads
        each = g.reshape(x, (time, heads, parts, width))
        if parts > 1:
            each = g.op("Slice", each, g.ints(part), g.ints(part + 1), g.ints(2))
        return Expr(g, g.reshape(each, (time, heads, width))).transpose([1, 0, 2])

    def scores(self, queries: Expr, keys: Expr) -> ir.Value:
        """Return queries times keys over the root of their length."""
        return ((queries * (1.0 / math.sqrt(queries.shape[2]))) @ keys.swap_last()).value

    def joined(self, attention: ir.Value, values: Expr, shape: tuple[int, ...]) -> ir.Value:
        """Return the weighted values, (time, batch, features)."""
        product = Expr(values.g, attention) @ values
        return product.transpose([1, 0, 2]).reshape(shape).value


@operator("_contrib_interleaved_matmul_selfatt_qk")
class SelfAttentionScores(_Attention):
    """Products of queries and keys, over the root of their length.

    The features hold (query, key, value) for each head, one after the other.
    """

    formula = "y[h, i, j] = sum over e of q[h, i, e] k[h, j, e] / sqrt(size)"
    example = (
        "contrib.interleaved_matmul_selfatt_qk([[[1, 2, 0]], [[3, 4, 0]]], heads=1) -> [[[2, 4], "
        "[6, 12]]]"
    )
    shapes = "(t, n, k) -> (m, t, t)"

    heads: int

    def arguments(self) -> tuple[str, ...]:
        return ("queries_keys_values",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        time, batch, _ = self.sizes(data, 3)
        return ins, [unify(outs[0], (batch * self.heads, time, time))]

    def emit(self, g: Emitter, queries_keys_values: ir.Value) -> ir.Value:
        queries, keys = (self.projection(g, queries_keys_values, 3, part) for part in (0, 1))
        return self.scores(queries, keys)


@operator("_contrib_interleaved_matmul_selfatt_valatt")
class SelfAttentionValues(_Attention):
    """The values of self-attention, weighted by ``attention``."""

    formula = "y[i, h] = sum over j of a[h, i, j] v[h, j]"
    example = (
        "contrib.interleaved_matmul_selfatt_valatt([[[1, 2, 5]], [[3, 4, 7]]], [[[0.5, 0.5], [1, "
        "0]]], heads=1) -> [[[6]], [[5]]]"
    )
    shapes = "(t, n, k), (m, t, t) -> (t, n, v)"

    heads: int

    def arguments(self) -> tuple[str, ...]:
        return ("queries_keys_values", "attention")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, attention = ins
        if data is None:
            return ins, outs
        time, batch, width = self.sizes(data, 3)
        attention = unify(attention, (batch * self.heads, time, time))
        return [data, attention], [unify(outs[0], (time, batch, width * self.heads))]

    def emit(self, g: Emitter, queries_keys_values: ir.Value, attention: ir.Value) -> ir.Value:
        values = self.projection(g, queries_keys_values, 3, 2)
        return self.joined(attention, values, tuple(g.out_shapes[0]))


@operator("_contrib_interleaved_matmul_encdec_qk")
class CrossAttentionScores(_Attention):
    """Products of a decoder's queries and an encoder's keys, over the root of their length.

    The features of ``keys_values`` hold (key, value) for each head, one after the other.
    """

    formula = "y[h, i, j] = sum over e of q[h, i, e] k[h, j, e] / sqrt(size)"
    example = (
        "contrib.interleaved_matmul_encdec_qk([[[1, 2]]], [[[3, 4, 0, 0]]], heads=2) -> [[[3]], "
        "[[0]]]"
    )
    shapes = "(t, n, k), (s, n, l) -> (m, t, s)"

    heads: int

    def arguments(self) -> tuple[str, ...]:
        return ("queries", "keys_values")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        queries, memory = ins
        if queries is None or memory is None:
            return ins, outs
        time, batch, width = self.sizes(queries, 1)
        memory = unify(memory, (0, batch, 2 * width * self.heads))
        assert memory is not None
        return [queries, memory], [unify(outs[0], (batch * self.heads, time, memory[0]))]

    def emit(self, g: Emitter, queries: ir.Value, keys_values: ir.Value) -> ir.Value:
        return self.scores(self.projection(g, queries, 1, 0), self.projection(g, keys_values, 2, 0))


@operator("_contrib_interleaved_matmul_encdec_valatt")
class CrossAttentionValues(_Attention):
    """An encoder's values, weighted by ``attention``."""

    formula = "y[i, h] = sum over j of a[h, i, j] v[h, j]"
    example = (
        "contrib.interleaved_matmul_encdec_valatt([[[1, 5]], [[2, 7]]], [[[0.5, 0.5]]], heads=1) "
        "-> [[[6]]]"
    )
    shapes = "(s, n, l), (m, t, s) -> (t, n, v)"

    heads: int

    def arguments(self) -> tuple[str, ...]:
        return ("keys_values", "attention")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        memory, attention = ins
        if memory is None or attention is None:
            return ins, outs
        source, batch, width = self.sizes(memory, 2)
        attention = unify(attention, (batch * self.heads, 0, source))
        assert attention is not None
        return [memory, attention], [unify(outs[0], (attention[1], batch, width * self.heads))]

    def emit(self, g: Emitter, keys_values: ir.Value, attention: ir.Value) -> ir.Value:
        values = self.projection(g, keys_values, 2, 1)
        return self.joined(attention, values, tuple(g.out_shapes[0]))


@operator("_contrib_div_sqrt_dim")
class DivSqrtDim(Operator):
    """The data over the square root of the size of its last axis."""

    formula = "y = x / sqrt(k), k the size of the last axis"
    example = "contrib.div_sqrt_dim([[2, 4, 6, 8]]) -> [[1, 2, 3, 4]]"

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        return (x * (1.0 / math.sqrt(x.shape[-1]))).value
