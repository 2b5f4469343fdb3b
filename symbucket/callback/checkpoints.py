"""Callbacks that write MXNet's files after an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from symbucket.checks import check_integer
from symbucket.files import make_folder
from symbucket.stopwatch import timed

EpochEndCallback = Callable[[int, Any, Mapping[str, Any], Mapping[str, Any]], None]


class _SavesCheckpoints(Protocol):
    def save_checkpoint(
        self, prefix: str, epoch: int, save_optimizer_states: bool = False
    ) -> object: ...


def do_checkpoint(prefix: str, period: int = 1, format: str = "safetensors") -> EpochEndCallback:
    """An epoch callback that saves symbol and parameters every ``period`` epochs.

    The callback takes ``(iter_no, sym, arg, aux)``, ``iter_no`` counting from 0; the checkpoint
    after the first epoch carries number 1. ``format="mxnet"`` writes files for MXNet 1.x. The
    folder is made now, so that one that cannot be made does not cost an epoch.
    """
    period = check_integer(period, "do_checkpoint: period", 1)
    make_folder(prefix)

    def callback(iter_no: int, sym: Any, arg: Mapping[str, Any], aux: Mapping[str, Any]) -> None:
        # Imported here: this module stays usable with numpy alone.
        from symbucket.checkpoint import save_checkpoint

        if (iter_no + 1) % period == 0:
            with timed("checkpoint"):
                save_checkpoint(prefix, iter_no + 1, sym, arg, aux, format=format)

    return callback


def module_checkpoint(
    mod: _SavesCheckpoints, prefix: str, period: int = 1, save_optimizer_states: bool = False
) -> Callable[..., None]:
    """An epoch callback that calls ``mod.save_checkpoint`` every ``period`` epochs.

    Unlike :func:`do_checkpoint` it can save the optimizer's states as well. The folder is made now.
    """
    period = check_integer(period, "module_checkpoint: period", 1)
    make_folder(prefix)

    def callback(iter_no: int, sym: Any = None, arg: Any = None, aux: Any = None) -> None:
        if (iter_no + 1) % period == 0:
            with timed("checkpoint"):
                mod.save_checkpoint(prefix, iter_no + 1, save_optimizer_states)

    return callback
