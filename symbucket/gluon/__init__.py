"""What scripts of symbols use of ``mx.gluon``: ``utils``. Blocks and their layers are not here."""

from symbucket.gluon import utils

__all__ = ["utils"]


def __getattr__(name: str) -> object:
    """Raise ImportError, which says what there is in place of Gluon's blocks."""
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"symbucket has no gluon.{name}: of Gluon there is only gluon.utils. Networks are symbols "
        "here (symbucket.sym), recurrent cells are in symbucket.rnn, training in symbucket.mod. A "
        "HybridBlock that MXNet's export() wrote is read by symbucket.model.load_checkpoint."
    )
