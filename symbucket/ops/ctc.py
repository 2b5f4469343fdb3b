"""CTCLoss: the loss of a sequence of labels whose places in the data nobody knows.

The method is that of Graves et al. (2006), in logarithms. Blanks are put between the labels, which
makes S = 2 L + 1 states for L labels; ``alpha_t(s)`` is the logarithm of the probability of all
paths that are in state s at step t, ``beta_t(s)`` that of all ways from there to the end. Each is a
loop over the steps on vectors of S numbers a sequence, and both together give the exact gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    append_scan,
    attr,
    dtype_of,
    expansion,
    gradient,
    new_body,
    no_gradient,
    output_of_body,
    shape_of,
    shape_rule,
)
from symbucket.ir.expr import clip, exp, log, maximum, minimum, where
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Losses and gradient blocks"

_NEVER = -1e30  # the logarithm of 0: minus infinity would make NaN of differences
_LEAST = 4  # steps of a loop; fewer are written one by one

# The nodes of our own domain ---------------------------------------------------------------------
# CTCLoss(data, labels, label lengths, data lengths or nothing) returns the losses, alpha and the
# logarithms of the softmax of the data, which its gradient reads.

no_gradient("CTCLossGrad", domain=OWN_DOMAIN, because="is itself a gradient")
no_gradient("CTCLoss", domain=OWN_DOMAIN, inputs=[1, 2, 3], because="is a label or a length")


@shape_rule("CTCLoss", domain=OWN_DOMAIN)
def _loss_shapes(node: ir.Node) -> list[tuple[Shape, ir.DataType]]:
    data, labels = (v for v in node.inputs[:2] if v is not None)
    steps, batch, _ = shape_of(data)
    states = 2 * shape_of(labels)[1] + 1
    shapes = [(batch,), (steps, batch, states), shape_of(data)]
    return [(shape, dtype_of(data)) for shape in shapes]


@shape_rule("CTCLossGrad", domain=OWN_DOMAIN)
def _gradient_shape(node: ir.Node) -> list[tuple[Shape, ir.DataType]]:
    log_softmax = node.inputs[0]
    assert log_softmax is not None
    return [(shape_of(log_softmax), dtype_of(log_softmax))]


@gradient("CTCLoss", domain=OWN_DOMAIN)
def _ctc_gradient(
    node: ir.Node, outputs: list[Expr], dy: Expr | None, **attributes: Any
) -> Expr | None:
    if dy is None:
        return None
    loss, alpha, log_softmax = outputs
    labels, label_lengths, *rest = node.inputs[1:]
    return log_softmax.own(
        "CTCLossGrad", labels, label_lengths, loss, alpha, dy, *rest, **attributes
    )


@expansion("CTCLoss")
def _expand_loss(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    data, labels, label_lengths, *rest = (None if v is None else Expr(g, v) for v in node.inputs)
    assert data is not None
    log_softmax = data.op("LogSoftmax", axis=2)
    states = _States(g, node, log_softmax, labels, label_lengths, *rest)
    alpha, last = states.forward()
    ends = last + states.final
    top = ends.op("ReduceMax", [1], keepdims=1)
    total = top + log(exp(ends - top).sum(1, keepdims=True))
    loss = where(states.feasible, -total.reshape((states.batch,)), 0.0)
    return [loss.value, alpha.value, log_softmax.value]


@expansion("CTCLossGrad")
def _expand_gradient(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    log_softmax, labels, label_lengths, loss, alpha, dy, *rest = (
        None if v is None else Expr(g, v) for v in node.inputs
    )
    assert log_softmax is not None
    assert loss is not None
    assert alpha is not None
    assert dy is not None
    states = _States(g, node, log_softmax, labels, label_lengths, *rest)
    row = (1, states.batch, 1)
    weight = where(states.feasible, dy, 0.0).reshape(row)
    if states.is_running is not None:
        weight = where(states.is_running, weight, 0.0)
    # The probability of being in a state at a step; 0 where a state cannot be reached.
    occupied = (alpha + states.backward()).op("Softmax", axis=2)
    softmax = exp(log_softmax) * weight
    index, update = states.index, occupied * -weight
    return [softmax.op("ScatterElements", index, update, axis=2, reduction="add").value]


class _States:
    """The states of every sequence of a batch: n rows of S = 2 L + 1 numbers.

    Attributes:
        index: (steps, n, S), int64, the class of a state at every step.
        final: (n, S), 0 where a path may end, else the logarithm of 0.
        feasible: (n,), whether the sequence is long enough for its labels.
        is_running: (steps, n, 1), whether a step is before the end of its sequence; None if all
            are.
    """

    def __init__(
        self,
        g: Builder,
        node: ir.Node,
        log_softmax: Expr,
        labels: Expr | None,
        label_lengths: Expr | None,
        data_lengths: Expr | None = None,
    ) -> None:
        assert labels is not None
        assert label_lengths is not None
        self._g, self._loops = g, bool(attr(node, "loops"))
        self.steps, self.batch, classes = log_softmax.shape
        blank: int = attr(node, "blank")
        most = labels.shape[1]
        self._count = count = 2 * most + 1
        self._log_softmax = log_softmax
        place = labels.const(np.arange(count).reshape(1, count))
        last = label_lengths.reshape((self.batch, 1)) * 2
        never = log_softmax.const(_NEVER)
        zero = log_softmax.const(0.0)
        self._last_state = where(place == last, zero, never)
        self.final = where((place == last) | (place == last - 1), zero, never)
        labels = clip(labels, 0, classes - 1)
        blanks = labels.filled(blank, (self.batch, most, 1))
        pairs = blanks.op("Concat", labels.reshape((self.batch, most, 1)), axis=2)
        rows = pairs.reshape((self.batch, 2 * most))
        rows = rows.op("Concat", labels.filled(blank, (self.batch, 1)), axis=1)
        self.index = rows.reshape((1, self.batch, count)).expand((self.steps, self.batch, count))
        # A path may skip the blank between two labels that differ.
        before = labels.filled(blank, (self.batch, 2)).op("Concat", rows, axis=1)
        before = before.op("Slice", [0], [count], [1])
        self._skip = where((rows != before) & (rows != blank), zero, never)
        # Between two labels that are the same there has to be a blank.
        odd = labels.const((np.arange(count) % 2 == 1).reshape(1, count))
        inside = (place < last) & (place >= 3) & (odd == 1)
        same = where(inside & (rows == before), labels.const(1), 0).sum(1)
        needed = label_lengths + same
        steps = labels.const(self.steps)
        self.is_running: Expr | None = None
        if data_lengths is not None:
            steps = data_lengths
            time = labels.const(np.arange(self.steps).reshape(self.steps, 1, 1))
            self.is_running = time < data_lengths.reshape((1, self.batch, 1))
        self.feasible = needed <= steps

    def forward(self) -> tuple[Expr, Expr]:
        """Return alpha (steps, n, S), and alpha after the last step of each sequence (n, S)."""
        start = np.full((1, self._count), _NEVER)
        start[0, 0] = 0.0  # before the first step, in the first blank
        initial = self._log_softmax.const(start).expand((self.batch, self._count))

        def step(alpha: Expr, emitted: Expr) -> tuple[Expr, Expr]:
            edge = alpha.filled(_NEVER, (self.batch, 2))
            shifted = edge.op("Concat", alpha, axis=1)
            one = shifted.op("Slice", [1], [self._count + 1], [1])
            two = shifted.op("Slice", [0], [self._count], [1]) + self._skip
            after = _log_sum(alpha, one, two, emitted)
            return after, after

        alpha, last = self._loop(step, initial, reverse=False)
        return alpha, last

    def backward(self) -> Expr:
        """Return beta (steps, n, S), without what is emitted at the step itself."""
        edge = self._skip.filled(_NEVER, (self.batch, 2))
        skip = self._skip.op("Concat", edge, axis=1).op("Slice", [2], [self._count + 2], [1])

        def step(state: Expr, emitted: Expr) -> tuple[Expr, Expr]:
            shifted = state.op("Concat", edge, axis=1)
            one = shifted.op("Slice", [1], [self._count + 1], [1])
            two = shifted.op("Slice", [2], [self._count + 2], [1]) + skip
            beta = _log_sum(state, one, two)
            return beta + emitted, beta

        return self._loop(step, self._last_state, reverse=True)[0]

    def _loop(self, step: Any, initial: Expr, reverse: bool) -> tuple[Expr, Expr]:
        """Run ``step``(state, emitted) -> (state, result) over time; the results and last state.

        A sequence that has ended keeps its state.
        """
        emitted = self._log_softmax.op("GatherElements", self.index, axis=2)
        sequences = [emitted] if self.is_running is None else [emitted, self.is_running]

        def whole(state: Expr, slices: Sequence[Expr]) -> tuple[Expr, Expr]:
            after, result = step(state, slices[0])
            return (where(slices[1], after, state) if len(slices) > 1 else after), result

        if self._loops and self.steps >= _LEAST:
            return self._scan(whole, initial, sequences, reverse)
        order = range(self.steps)
        results: dict[int, Expr] = {}
        state = initial
        for t in reversed(order) if reverse else order:
            slices = [s.op("Gather", s.g.const(np.int64(t)), axis=0) for s in sequences]
            state, result = whole(state, slices)
            results[t] = result.reshape((1, *result.shape))
        first, *others = (results[t] for t in order)
        return first.op("Concat", *others, axis=0), state

    def _scan(
        self, step: Any, initial: Expr, sequences: Sequence[Expr], reverse: bool
    ) -> tuple[Expr, Expr]:
        g = self._g
        body = new_body(g.root, g.scope)

        def placeholder(kind: str, like: Expr, shape: Shape) -> Expr:
            value = ir.Value(
                name=g.unique(f"{g.scope}/{kind}"), shape=ir.Shape(shape), type=like.value.type
            )
            body.inputs.append(value)
            return Expr(g, value)

        state = placeholder("state", initial, initial.shape)
        slices = [placeholder("slice", s, s.shape[1:]) for s in sequences]
        with g.inside(body):
            after, result = step(state, slices)
            body.outputs.append(after.value)
        body.outputs.append(output_of_body(g, body, result.value))
        direction = int(reverse)
        last, stack = append_scan(
            g,
            body,
            [initial.value],
            [s.value for s in sequences],
            [direction] * len(sequences),
            [direction],
        )
        return Expr(g, stack), Expr(g, last)


def _log_sum(a: Expr, b: Expr, c: Expr, *plus: Expr) -> Expr:
    """``log(exp a + exp b + exp c)`` and what is added to it."""
    top = a.op("Max", b, c)
    total = exp(a - top).op("Sum", exp(b - top), exp(c - top))
    return log(total).op("Sum", top, *plus)


# The operator ------------------------------------------------------------------------------------


@operator("CTCLoss", "ctc_loss", "_contrib_CTCLoss", "_contrib_ctc_loss")
class CTCLoss(Operator):
    """Minus the logarithm of the probability of each sequence's labels (Graves et al., 2006).

    The data are scores before the softmax. ``label`` holds class numbers, of which ``blank_label``
    is never one: "first", 0, with labels from 1 on, or "last", with labels from 0 on. Labels end at
    the first padding, 0 (or below) for "first" and -1 (or below) for "last", or with
    ``use_label_lengths`` where ``label_lengths`` says. With ``use_data_lengths`` the steps from
    ``data_lengths`` on do not count. A sequence that is too short for its labels (one step a label,
    and one more between two that are the same) has the loss 0 and no gradient, as in MXNet.
    """

    formula = (
        "y[n] = -log(sum over paths p that read as label[n] of the product over t of "
        "softmax(data)[t, n, p[t]])"
    )
    example = "ctc_loss([[[0, 0]], [[0, 0]]], [[1]]) -> [0.2877]"
    shapes = "(steps, n, classes), (n, k), (n,), (n,) -> (n,)"
    implicit = ("label",)
    no_gradient = ("label", "data_lengths", "label_lengths")

    use_data_lengths: bool = False
    use_label_lengths: bool = False
    blank_label: Literal["first", "last"] = "first"

    def arguments(self) -> tuple[str, ...]:
        data = ("data_lengths",) if self.use_data_lengths else ()
        label = ("label_lengths",) if self.use_label_lengths else ()
        return ("data", "label", *data, *label)

    def outputs(self) -> tuple[str, ...]:
        return ("output0",)  # MXNet's name

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtype = ins[0] or outs[0]
        return [dtype, *ins[1:]], [dtype]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, label, *lengths = ins
        for name, shape, rank in (("data", data, 3), ("label", label, 2)):
            if shape is not None and len(shape) != rank:
                axes = "(steps, n, classes)" if rank == 3 else "(n, labels)"
                raise ShapeError(f"{name} must have the axes {axes}, it has shape {shape}")
        if data is not None and data[2] == 1:
            raise ShapeError(f"data {data} has one class, the blank: there is nothing to read")
        row = unify(outs[0], None if data is None else (data[1],))
        row = unify(row, None if label is None else (label[0],))
        for length in lengths:
            row = unify(row, length)
        if row is None:
            return ins, outs
        if data is not None:
            data = unify(data, (0, row[0], 0))
        label = unify(label, (row[0], 0))
        return [data, label, *(row for _ in lengths)], [row]

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        (steps, _, classes), (_, most) = ins[:2]
        high = classes if self.blank_label == "first" else classes - 1
        bounds = {"label": IndexBounds("labels", high, low=None)}
        if self.use_data_lengths:
            bounds["data_lengths"] = IndexBounds("numbers of steps", steps + 1)
        if self.use_label_lengths:
            bounds["label_lengths"] = IndexBounds("numbers of labels", most + 1)
        return bounds

    def emit(
        self,
        g: Emitter,
        data: ir.Value,
        label: ir.Value,
        data_lengths: ir.Value | None = None,
        label_lengths: ir.Value | None = None,
    ) -> ir.Value:
        if self.use_label_lengths and not self.use_data_lengths:
            data_lengths, label_lengths = None, data_lengths
        first = self.blank_label == "first"
        labels = Expr(g, g.cast(label, ir.DataType.INT64))
        most = labels.shape[1]
        if label_lengths is None:
            place = labels.const(np.arange(most).reshape(1, most))
            padding = where(labels < (1 if first else 0), place, most)
            sizes = padding.op("ReduceMin", [1], keepdims=0)
        else:
            sizes = _length(g, label_lengths, most)
        own, dtype = dtype_of(data), dtype_of(data)
        if own not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            dtype = ir.DataType.FLOAT  # the logarithm of 0 overflows float16
        x = g.cast(data, dtype)
        steps, _, classes = shape_of(x)
        limit = None if data_lengths is None else _length(g, data_lengths, steps).value
        loss, _, _ = g.ops(
            "CTCLoss",
            x,
            labels.value,
            sizes.value,
            limit,
            outputs=3,
            domain=OWN_DOMAIN,
            blank=0 if first else classes - 1,
            loops=int(g.loops and g.loop is None),
        )
        return g.cast(loss, own)


def _length(g: Emitter, lengths: ir.Value, most: int) -> Expr:
    """Lengths as int64, from 0 to ``most``."""
    return minimum(maximum(Expr(g, g.cast(lengths, ir.DataType.INT64)), 0), most)
