"""The network, word for word the same for symbucket and for MXNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _lm_data import IGNORED, Setup


def sym_gen(mx: Any, setup: Setup) -> Callable[[int], Any]:
    """``sym_gen(key)`` for ``mx``, which is either of the two packages."""

    def network(key: int) -> Any:
        data = mx.sym.Variable("data")
        label = mx.sym.Variable("softmax_label")
        embed = mx.sym.Embedding(data, input_dim=setup.vocab, output_dim=setup.hidden, name="embed")
        stack = mx.rnn.SequentialRNNCell()
        for layer in range(setup.layers):
            stack.add(mx.rnn.LSTMCell(setup.hidden, prefix=f"lstm_l{layer}_"))
        outputs, _ = stack.unroll(key, inputs=embed, layout="NTC", merge_outputs=True)
        flat = mx.sym.Reshape(outputs, shape=(-1, setup.hidden))
        pred = mx.sym.FullyConnected(flat, num_hidden=setup.vocab, name="pred")
        return mx.sym.SoftmaxOutput(
            pred,
            mx.sym.Reshape(label, shape=(-1,)),
            name="softmax",
            use_ignore=True,
            ignore_label=IGNORED,
            normalization="valid",
        )

    def named(key: int) -> Any:
        return network(key), ("data",), ("softmax_label",)

    return named
