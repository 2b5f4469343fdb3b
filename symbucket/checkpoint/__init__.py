"""Checkpoints: MXNet's files by prefix and epoch, written atomically and without pickle."""

from symbucket.checkpoint.prefix_epoch import (
    Params,
    load_checkpoint,
    load_params,
    parameters_digest,
    params_path,
    read_params,
    save_checkpoint,
    save_params,
    states_path,
)

__all__ = [
    "Params",
    "load_checkpoint",
    "load_params",
    "parameters_digest",
    "params_path",
    "read_params",
    "save_checkpoint",
    "save_params",
    "states_path",
]
