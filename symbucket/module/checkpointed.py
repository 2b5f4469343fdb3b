"""``Checkpointed``: what modules write to files and read from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from symbucket.checkpoint import (
    load_params,
    parameters_digest,
    save_checkpoint,
    save_params,
    states_path,
)
from symbucket.engine.noise import NoiseClock
from symbucket.engine.ownership import exclusive
from symbucket.files import make_folder
from symbucket.module.binding import PendingCheckpoint, tell_casts
from symbucket.module.lifecycle import Lifecycle
from symbucket.types import Array


class Checkpointed(Lifecycle):
    """The lifecycle of a module, with checkpoints of it.

    Of a checkpoint that ``resume_from`` read, ``bind`` sets the parameters and ``init_optimizer``
    the optimizer's states.
    """

    @exclusive
    def save_checkpoint(
        self,
        prefix: str,
        epoch: int,
        save_optimizer_states: bool = False,
        remove_amp_cast: bool = True,
        format: str = "safetensors",
    ) -> None:
        """Write symbol and parameters, and the optimizer's states to ``prefix-EPOCH.states``.

        The symbol of several bucket keys is that of the default one. ``format="mxnet"`` writes
        parameters that MXNet 1.x loads. The states say which parameters they belong to.
        """
        self._require(params=True)
        params = self.get_params()
        if save_optimizer_states:
            path = states_path(prefix, epoch)
            make_folder(path)
            self.updater.save(path, parameters_digest(*params))
            logging.info('Saved optimizer state to "%s"', path)
        save_checkpoint(prefix, epoch, self._saved_symbol(), *params, format=format)

    def save_params(self, fname: str, format: str = "safetensors") -> None:
        """Write parameters and auxiliary states to a file, atomically; MXNet reads "mxnet"."""
        save_params(fname, *self.get_params(), format, self._saved_symbol())

    @exclusive
    def load_params(self, fname: str) -> None:
        """Set parameters and auxiliary states from a file that has them all and no others."""
        params = load_params(fname)
        tell_casts(fname, self.store, *params)
        self.store.initialize(None, *params, allow_missing=False, allow_extra=False)

    @exclusive
    def save_optimizer_states(self, fname: str) -> None:
        """Write the optimizer's states to a file, atomically."""
        self.updater.save(fname)

    @exclusive
    def load_optimizer_states(self, fname: str) -> None:
        """Set the optimizer's states from a file."""
        self.updater.load(fname)

    def resume_from(self, prefix: str, epoch: int, load_optimizer_states: bool = False) -> None:
        """Read a checkpoint now; ``bind`` and ``init_optimizer`` will set what it holds."""
        self._pending = PendingCheckpoint.read(prefix, epoch, load_optimizer_states)

    # What a checkpoint of everything needs besides -----------------------------------------------

    @property
    def noise_clocks(self) -> list[NoiseClock]:
        """What counts the runs, for random numbers: one a context."""
        self._require()
        assert self._binding is not None
        return self._binding.clocks

    @property
    def sums_gradients(self) -> bool:
        """Whether gradients of a batch are added to those before it (``grad_req="add"``)."""
        self._require()
        assert self._binding is not None
        request = self._binding.request.grad_req
        return "add" in (request.values() if isinstance(request, Mapping) else request)

    def carried_arrays(self) -> dict[str, Array]:
        """Return what the next forward begins with besides parameters: set or carried states."""
        return {}

    def set_carried_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Begin the next forward with what ``carried_arrays`` returned."""
