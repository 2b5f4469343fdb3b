"""The node of our own domain that computes the CTC loss and its gradient.

The method is that of Graves et al. (2006). Blanks are put between the labels, which makes 2 L + 1
states for L labels, and a path is in one of them at each step. ``alpha_t(s)`` is the logarithm of
the probability of all paths from the start that are in state s at step t. Read from its end, a
sequence is one of the labels in reverse order. So one loop of T / 2 steps on 2 n sequences computes
alpha from both ends; they meet in the middle, and their product there is the probability of the
labels.

The gradient needs the posterior, the probability of being in a state at a step, given the labels.
It is known where both meet, and a second loop takes it from there to both ends. Of all paths into a
state, the first loop knows which share came from which state before, so the posterior of the step
before is a sum of three products: no logarithms, and nothing that matters can underflow.

A loop of small nodes takes as long as its nodes are many. Hence the layout: states come before
sequences, (W, n), so that a shift by a state is one Gather of rows. W = 2 L + 3, as there is a dead
state at either end, where shifts in either direction begin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    attr,
    dtype_of,
    expansion,
    gradient,
    no_gradient,
    shape_of,
    shape_rule,
)
from symbucket.ir.expr import clip, exp, log, maximum, where
from symbucket.ops.recurrence import LEAST_STEPS, loop_over
from symbucket.types import Shape

_NEVER = -1e30  # the logarithm of 0: minus infinity would make NaN of differences
_IMPOSSIBLE = -1e29  # below the logarithm of any probability, and above any with a _NEVER in it

# CTCLoss(data, labels, label lengths, data lengths or nothing) returns the losses, the gradient of
# their sum by the data, and for which steps of which sequences it holds: others have none.

no_gradient("CTCLoss", domain=OWN_DOMAIN, inputs=[1, 2, 3], because="is a label or a length")


@shape_rule("CTCLoss", domain=OWN_DOMAIN)
def _loss_shapes(node: ir.Node) -> list[tuple[Shape, ir.DataType]]:
    data, _, _, *data_lengths = node.inputs
    assert data is not None
    shape, dtype = shape_of(data), dtype_of(data)
    counted = (shape[0] if any(data_lengths) else 1, shape[1], 1)
    return [((shape[1],), dtype), (shape, dtype), (counted, ir.DataType.BOOL)]


@gradient("CTCLoss", domain=OWN_DOMAIN)
def _ctc_gradient(
    dy: Expr | None, grads: list[Expr | None], outputs: list[Expr], node: ir.Node
) -> Expr | None:
    if grads[1] is not None:
        raise UnsupportedError(f"{node.name}: the gradient of CTCLoss has no gradient")
    _, slope, is_counted = outputs
    return None if dy is None else slope * where(is_counted, dy.reshape((1, *dy.shape, 1)), 0.0)


@expansion("CTCLoss")
def _expand_loss(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    data, labels, label_lengths, *rest = (None if v is None else Expr(g, v) for v in node.inputs)
    assert data is not None
    assert labels is not None
    assert label_lengths is not None
    states = _States(data, labels, label_lengths, *rest, blank=attr(node, "blank"))
    outputs = states.loss_and_slope(bool(attr(node, "loops")))
    return [output.value for output in outputs]


class _States:
    """The states of every sequence of a batch, as rows (W, n): W = 2 L + 3.

    The first row and the last one are dead; between them are a blank, a label, a blank, ...
    """

    def __init__(
        self,
        data: Expr,
        labels: Expr,
        label_lengths: Expr,
        data_lengths: Expr | None = None,
        *,
        blank: int,
    ) -> None:
        self._steps, self._batch, classes = data.shape
        most = labels.shape[1]
        self._count = 2 * most + 3
        self._log_softmax = data.op("LogSoftmax", axis=2)
        self._place = labels.const(np.arange(self._count).reshape(-1, 1))
        # Blank and labels (L + 1, n).
        labels = clip(labels, 0, classes - 1).transpose((1, 0))
        blanks_before = labels.const(np.full((1, self._batch), blank))
        self._classes = blanks_before.op("Concat", labels, axis=0)
        # Lengths may be constants, but states must be seen to be those of single sequences.
        self._zero = (labels.op("Slice", [0], [1], [0]) * 0).cast(label_lengths.dtype)
        lengths = label_lengths.reshape((1, self._batch)) + self._zero
        self._last = lengths * 2 + 1
        rows = np.arange(self._count) // 2 * (np.arange(self._count) % 2 == 0)
        rows[-1] = 0
        self._rows = self._classes.op("Gather", rows.tolist(), axis=0)

        # Each label takes a step, and so does the blank between two labels that are the same.
        previous = self._classes.op("Slice", [0], [most], [0])
        is_inside = labels.const(np.arange(most).reshape(-1, 1)) < lengths
        blanks = ((labels == previous) & is_inside).cast(lengths.dtype)
        needed = lengths + blanks.sum(0, keepdims=True)

        # Of each state's class at each step, the logarithm of the probability.
        scores = self._log_softmax.op("GatherElements", self._at_each_step(self._rows), axis=2)
        emitted = maximum(scores, _NEVER).transpose((0, 2, 1))
        steps = labels.const(self._steps)
        self._is_running: Expr | None = None
        if data_lengths is not None:
            steps = data_lengths.reshape((1, self._batch))
            self._is_running = labels.const(np.arange(self._steps).reshape(-1, 1, 1)) < steps
            # After its end a sequence stays in the last blank.
            emitted = where(self._is_running, emitted, self._only(self._last))
        self._emitted = emitted
        self._is_long_enough = needed <= steps

    def _only(self, place: Expr) -> Expr:
        """0 for the states at ``place`` (1, n), the logarithm of 0 for all others: (W, n)."""
        zero, never = self._log_softmax.const(0.0), self._log_softmax.const(_NEVER)
        return where(self._place == place, zero, never)

    def _at_each_step(self, classes: Expr) -> Expr:
        """Return classes (k, n) for all steps: (T, n, k)."""
        count, n = classes.shape
        return classes.transpose((1, 0)).reshape((1, n, count)).expand((self._steps, n, count))

    def loss_and_slope(self, loops: bool) -> tuple[Expr, Expr, Expr]:
        """Return what the node returns."""
        half = self._steps // 2 + 1  # steps from either end to the step that both reach
        emitted, start, skip = self._from_both_ends(half)

        def forward(alpha: Expr, emitted: Expr) -> list[Expr]:
            before = [alpha, _shift(alpha, 1), _shift(alpha, 2) + skip]
            top = before[0].op("Max", *before[1:])
            shares = [exp(x - top) for x in before]
            total = shares[0].op("Sum", *shares[1:])
            return [log(total).op("Sum", top, emitted), total, *shares]

        def backward(posterior: Expr, total: Expr, *shares: Expr) -> list[Expr]:
            of_a_path = posterior / total
            parts = [_shift(share * of_a_path, -i) for i, share in enumerate(shares)]
            return [parts[0].op("Sum", *parts[1:]), posterior]

        last, *paths = _loop(forward, start, [emitted], loops)
        total, middle = self._meet(last, half)
        start = -middle.op("Concat", _reverse(middle, 0), axis=1)
        _, posterior = _loop(backward, start, paths, loops, reverse=True)

        is_impossible = total < _IMPOSSIBLE
        loss = where(self._is_long_enough, where(is_impossible, np.inf, -total), 0.0)
        is_counted = self._is_long_enough & ~is_impossible
        if self._is_running is not None:
            is_counted = self._is_running & is_counted
        is_counted = is_counted.reshape((is_counted.size // self._batch, self._batch, 1))
        return loss.reshape((self._batch,)), self._slope(posterior, half), is_counted

    def _from_both_ends(self, half: int) -> tuple[Expr, Expr, Expr]:
        """Return what is emitted (half, W, 2 n), and of a path its start and skips (W, 2 n).

        The second n sequences are the first, read from their ends. If the number of steps is even,
        they begin one step after the end, so that both halves reach the same step.
        """
        emitted = self._emitted.op("Slice", [0], [half], [0])
        end = self._only(self._count - 1 - self._last)
        from_end = _reverse(self._emitted, 0, 1, first=half - 1 + self._steps % 2)
        if self._steps % 2 == 0:
            from_end = end.reshape((1, *end.shape)).op("Concat", from_end, axis=0)
        start = self._only(self._zero + 1).op("Concat", end, axis=1)
        # A path may skip the blank between two labels that differ, and no label between blanks.
        rows = self._rows.op("Concat", _reverse(self._rows, 0), axis=1)
        skip = where(rows == _shift(rows, 2), start.const(_NEVER), start.const(0.0))
        return emitted.op("Concat", from_end, axis=2), start, skip

    def _meet(self, last: Expr, half: int) -> tuple[Expr, Expr]:
        """Return the logarithm of the probability (1, n), and the posterior of the step reached."""
        n = self._batch
        forward = last.op("Slice", [0], [n], [1])
        backward = _reverse(last.op("Slice", [n], [2 * n], [1]), 0)
        here = self._emitted.op("Gather", last.g.const(np.int64(half - 1)), axis=0)
        logs = forward + backward - here  # which is in both of them
        top = logs.op("ReduceMax", [0], keepdims=1)
        shares = exp(logs - top)
        total = shares.sum(0, keepdims=True)
        return top + log(total), shares / total

    def _slope(self, posterior: Expr, half: int) -> Expr:
        """Return the gradient by the data, of minus the posterior from both ends (half, W, 2 n)."""
        n, count = self._batch, self._count
        paths = posterior.op("Slice", [0], [n], [2])
        if self._steps > half:
            # Without the step after the end, and the one that both have.
            starts, ends = [half - 2, count - 1, n], [-half - self._steps % 2, -count - 1, 2 * n]
            after = posterior.op("Slice", starts, ends, [0, 1, 2], [-1, -1, 1])
            paths = paths.op("Concat", after, axis=0)
        blanks = paths.op("Slice", [1], [count - 1], [1], [2]).sum(1, keepdims=True)
        paths = blanks.op("Concat", paths.op("Slice", [2], [count - 1], [1], [2]), axis=1)
        softmax, index = exp(self._log_softmax), self._at_each_step(self._classes)
        updates = paths.transpose((0, 2, 1))
        return softmax.op("ScatterElements", index, updates, axis=2, reduction="add")


def _shift(rows: Expr, by: int) -> Expr:
    """Let each row be the one ``by`` rows before it, or the outermost."""
    if by == 0:
        return rows
    places = np.clip(np.arange(rows.shape[0]) - by, 0, rows.shape[0] - 1)
    return rows.op("Gather", places.tolist(), axis=0)


def _reverse(data: Expr, *axes: int, first: int | None = None) -> Expr:
    """Reverse the order along ``axes``; of the first of them return the ``first`` places."""
    sizes = [data.shape[axis] for axis in axes]
    ends = [-1 - size for size in sizes]
    if first is not None:
        ends[0] = -1 - first
    starts = [size - 1 for size in sizes]
    return data.op("Slice", starts, ends, [*axes], [-1] * len(axes))


def _loop(
    step: Callable[..., list[Expr]],
    state: Expr,
    sequences: list[Expr],
    loops: bool,
    reverse: bool = False,
) -> list[Expr]:
    """Run ``step``(state, *slices) -> [state, *results]: the last state, and results of all steps.

    With ``reverse`` the last slices are read first.
    """
    g, steps = state.g, sequences[0].shape[0]
    if not loops or steps < LEAST_STEPS:
        stacks: list[list[Expr]] = []
        for t in reversed(range(steps)) if reverse else range(steps):
            slices = [s.op("Gather", g.const(np.int64(t)), axis=0) for s in sequences]
            state, *results = step(state, *slices)
            stacks = stacks or [[] for _ in results]
            for stack, result in zip(stacks, results):
                stack.append(result.reshape((1, *result.shape)))
        ordered = [stack[::-1] if reverse else stack for stack in stacks]
        return [state, *(first.op("Concat", *others, axis=0) for first, *others in ordered)]

    def step_of_values(
        slices: list[ir.Value], states: list[ir.Value]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        after, *results = (one.value for one in step(*(Expr(g, v) for v in [*states, *slices])))
        return [after], results

    values = [sequence.value for sequence in sequences]
    finals, stacks_of_loop = loop_over(g, values, [state.value], step_of_values, reverse)
    return [Expr(g, value) for value in [*finals, *stacks_of_loop]]
