"""Checkpoints of networks with cells, with weights stored gate by gate.

Stored that way a checkpoint fits fused and unfused cells alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symbucket.checkpoint import load_checkpoint, save_checkpoint
from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError
from symbucket.files import make_folder
from symbucket.rnn.base import BaseRNNCell
from symbucket.symbol import Symbol

Cells = BaseRNNCell | Sequence[BaseRNNCell]
EpochCallback = Callable[[int, Symbol, Mapping[str, Any], Mapping[str, Any]], None]


def save_rnn_checkpoint(
    cells: Cells,
    prefix: str,
    epoch: int,
    symbol: Symbol,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any],
) -> None:
    """``save_checkpoint`` after ``unpack_weights`` of every cell.

    Args:
        cells: a cell or a list of cells: those that the network was unrolled from.
        prefix: path and beginning of the file names. epoch: number of the epoch.
        symbol: the network. arg_params: its parameters by name. aux_params: its auxiliary states.

    Raises ParameterError, with nothing written, where a cell's weights are missing.
    """
    unpacked = dict(arg_params)
    for cell in _checked(cells):
        unpacked = cell.unpack_weights(unpacked)
    save_checkpoint(prefix, epoch, symbol, unpacked, aux_params)


def load_rnn_checkpoint(
    cells: Cells, prefix: str, epoch: int
) -> tuple[Symbol, dict[str, Any], dict[str, Any]]:
    """``load_checkpoint`` and then ``pack_weights`` of every cell.

    ``cells`` may be another form of the cells that the checkpoint was written with, as the
    ``unfuse()`` of a FusedRNNCell. Gives symbol, arg_params, aux_params.
    """
    checked = _checked(cells)
    symbol, packed, aux_params = load_checkpoint(prefix, epoch)
    for cell in checked:
        packed = cell.pack_weights(packed)
    return symbol, packed, aux_params


def do_rnn_checkpoint(cells: Cells, prefix: str, period: int = 1) -> EpochCallback:
    """A callback for ``fit(epoch_end_callback=...)``: a checkpoint every ``period`` epochs.

    The checkpoint after the first epoch carries number 1. The folder is made now.
    """
    checked = _checked(cells)
    period = check_integer(period, "do_rnn_checkpoint: period", 1)
    make_folder(prefix)

    def callback(
        epoch: int, symbol: Symbol, arg_params: Mapping[str, Any], aux_params: Mapping[str, Any]
    ) -> None:
        if (epoch + 1) % period == 0:
            save_rnn_checkpoint(checked, prefix, epoch + 1, symbol, arg_params, aux_params)

    return callback


def _checked(cells: Cells) -> list[BaseRNNCell]:
    listed = [cells] if isinstance(cells, BaseRNNCell) else list(cells)
    for cell in listed:
        if not isinstance(cell, BaseRNNCell):
            raise InvalidArgumentError(f"cells must be cells of symbucket.rnn, not {cell!r}")
    return listed
