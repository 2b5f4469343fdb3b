"""The moving averages of parameters that an optimizer with ``ema_decay`` keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from symbucket.context import cpu
from symbucket.engine.ownership import exclusive, exclusive_of
from symbucket.errors import StateError
from symbucket.module.checkpointed import Checkpointed
from symbucket.runtime import NDArray


class Averaging(Checkpointed):
    """A module with checkpoints, and with averages of its parameters."""

    @exclusive
    def get_averages(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Return parameters and auxiliary states, as ``get_params``, with averages for weights.

        Those that are not trained, or had no update yet, are as they are. Raises StateError unless
        the optimizer has an ``ema_decay``.
        """
        self._require(params=True, optimizer=True)
        if self.updater.optimizer.ema_decay is None:
            raise StateError(
                "there are no averages: init_optimizer (or fit) needs "
                'optimizer_params={"ema_decay": 0.999} or the like'
            )
        params, states = self.get_params()
        for index, average in self.updater.averages().items():
            name = list(self.store.grads)[index] if isinstance(index, int) else index
            params[name] = NDArray.of(average, cpu())
        return params, states

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averages for the parameters in a block: to score, to predict, to save, to export.

        Training goes on with the parameters themselves afterwards.
        """
        averages, _ = self.get_averages()
        with exclusive_of(self, "averaged"):
            store = self.store
            before = {name: array.asnumpy() for name, array in store.args.items()}
            try:
                for name, array in store.args.items():
                    array[...] = np.asarray(averages[name])
                yield
            finally:
                for name, array in store.args.items():
                    array[...] = before[name]
