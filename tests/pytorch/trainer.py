"""Training by symbucket, step by step; PyTorch is not needed here."""

from __future__ import annotations

import numpy as np

import symbucket as sb

EPSILON = 1e-6
"""Of Adam, as MXNet adds it: to the root of the mean square before its bias is corrected."""


class Trainer:
    """A bound module that starts anew for each optimizer; its graphs are compiled once."""

    def __init__(self, sym_gen, default_key):
        self.module = sb.mod.BucketingModule(sym_gen, default_bucket_key=default_key)
        _, self._names, self._labels = sym_gen(default_key)
        self._start = None

    def train(self, batches, optimizer: str, learning_rate: float = 0.1):
        """The probabilities of every step."""
        outputs = []
        for step, (key, inputs, labels) in enumerate(batches):
            batch = self._batch(key, inputs, labels)
            if step == 0:
                self._begin(batch, optimizer, learning_rate)
            self.module.forward_backward(batch)
            outputs.append(self.module.get_outputs()[0].asnumpy())
            self.module.update()
        return outputs

    def _batch(self, key, inputs, labels):
        data = [sb.io.DataDesc(n, x.shape, x.dtype) for n, x in zip(self._names, inputs)]
        label = [sb.io.DataDesc(self._labels[0], labels.shape, np.float32)]
        return sb.io.DataBatch(
            list(inputs),
            [labels.astype(np.float32)],
            bucket_key=key,
            provide_data=data,
            provide_label=label,
        )

    def _begin(self, batch, optimizer: str, learning_rate: float) -> None:
        module = self.module
        if not module.binded:
            module.bind(batch.provide_data, batch.provide_label)
            module.init_params()
            arguments, states = module.get_params()
            self._start = tuple({n: v.copy() for n, v in p.items()} for p in (arguments, states))
        module.set_params(*self._start)
        options = {"learning_rate": learning_rate, "rescale_grad": 1.0}
        if optimizer == "adam":
            options |= {"learning_rate": learning_rate / 100, "epsilon": EPSILON}
        module.init_optimizer(optimizer=optimizer, optimizer_params=options, force_init=True)


def head(scores: sb.Symbol) -> sb.Symbol:
    """The loss: cross entropy, its gradient averaged over the rows, as PyTorch's is."""
    return sb.sym.SoftmaxOutput(scores, normalization="batch", name="softmax")
