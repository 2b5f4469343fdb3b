"""One step of each recurrent operator, by the formulas of the ONNX standard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from symbucket.ir import Expr
from symbucket.ir import expr as formulas
from symbucket.ops.foreign.activations import Activation


@dataclass(frozen=True)
class Weights:
    """What one direction of a node computes with, step by step.

    Attributes:
        recurrent: the weight of the last output (gates, hidden).
        bias: what is added to its product; None: nothing.
        peepholes: weights of the cell for the gates i, o and f of an LSTM, one after another.
        activations: the functions of the node, as many as its kind has.
        clip: what goes into an activation is limited to [-clip, clip]; None: it is not.
        coupled: whether the forget gate of an LSTM is one minus its input gate.
        linear_before_reset: whether a GRU resets its product, and not its state.
    """

    recurrent: Expr
    bias: Expr | None
    peepholes: Expr | None
    activations: Sequence[Activation]
    clip: float | None
    coupled: bool = False
    linear_before_reset: bool = False

    def activate(self, i: int, x: Expr) -> Expr:
        """Return activation ``i`` of the node."""
        return self.activations[i](self.clipped(x))

    def clipped(self, x: Expr) -> Expr:
        """Return what goes into an activation."""
        return x if self.clip is None else formulas.clip(x, -self.clip, self.clip)

    def product(self, h: Expr, *summand: Expr) -> Expr:
        """Return the share of the last output in all gates, and what is added to it."""
        y = h.op("Gemm", self.recurrent, *summand, transB=1)
        return y if self.bias is None else y + self.bias


def lstm_step(w: Weights, gated: Expr, h: Expr, c: Expr | None) -> tuple[Expr, Expr | None]:
    """Gates i, o, f and new values, in this order."""
    assert c is not None
    gates = w.product(h, gated)
    i, o, f, new = gates.ops("Split", outputs=4, axis=1, num_outputs=4)
    if w.peepholes is not None:
        of_i, of_o, of_f = w.peepholes.ops("Split", outputs=3, axis=0, num_outputs=3)
        i, f = i + of_i * c, f + of_f * c
    i = w.activate(0, i)
    f = 1.0 - i if w.coupled else w.activate(0, f)
    c = f * c + i * w.activate(1, new)
    if w.peepholes is not None:
        o = o + of_o * c
    return w.activate(0, o) * w.activations[2](c), c  # the runtime does not clip the cell


def gru_step(w: Weights, gated: Expr, h: Expr, c: Expr | None) -> tuple[Expr, Expr | None]:
    """Gates z, r and new values, in this order."""
    hidden = h.shape[1]
    z_in, r_in, new_in = gated.ops("Split", outputs=3, axis=1, num_outputs=3)
    if w.linear_before_reset:
        z_h, r_h, new_h = w.product(h).ops("Split", outputs=3, axis=1, num_outputs=3)
        z, r = w.activate(0, z_in + z_h), w.activate(0, r_in + r_h)
        new = w.activate(1, new_in + r * new_h)
    else:
        first = h.op("Gemm", _rows(w.recurrent, 0, 2 * hidden), transB=1)
        if w.bias is not None:
            first = first + _rows(w.bias, 0, 2 * hidden)
        z_h, r_h = first.ops("Split", outputs=2, axis=1, num_outputs=2)
        z, r = w.activate(0, z_in + z_h), w.activate(0, r_in + r_h)
        last = _rows(w.recurrent, 2 * hidden, 3 * hidden)
        again = (r * h).op("Gemm", last, new_in, transB=1)
        if w.bias is not None:
            again = again + _rows(w.bias, 2 * hidden, 3 * hidden)
        new = w.activate(1, again)
    return (1.0 - z) * new + z * h, None


def rnn_step(w: Weights, gated: Expr, h: Expr, c: Expr | None) -> tuple[Expr, Expr | None]:
    """A plain cell."""
    return w.activate(0, w.product(h, gated)), None


def _rows(x: Expr, start: int, end: int) -> Expr:
    return x.op("Slice", [start], [end], [0])
