"""Contributed operators, as ``mx.contrib``."""

from symbucket.absent import module_instead
from symbucket.ndarray import contrib as nd
from symbucket.ndarray import contrib as ndarray
from symbucket.symbol import contrib as sym
from symbucket.symbol import contrib as symbol

__all__ = ["nd", "ndarray", "sym", "symbol"]


def __getattr__(name: str) -> object:
    """Raise AttributeError, for a name of MXNet with what there is in its place."""
    instead = module_instead(name)
    raise AttributeError(f"symbucket.contrib has no {name!r}{f': {instead}' if instead else ''}")
