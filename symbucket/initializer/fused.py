"""Initial values of a FusedRNNCell's one long parameter vector."""

from __future__ import annotations

from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.initializer.base import InitDesc, Initializer, create, register
from symbucket.initializer.checks import want_float
from symbucket.rnn import FusedRNNCell
from symbucket.types import Array


@register
class FusedRNN(Initializer):
    """The vector of a ``FusedRNNCell``, filled part by part as if the cell were unfused.

    The vector is cut into one weight and one bias a gate; each is filled by the rules for its
    name (``lstm_l0_i2h_f_weight``, ``lstm_l0_i2h_f_bias``), and the pieces are put back. Of an lstm
    the forget gates' biases, input-to-hidden and hidden-to-hidden alike, are ``forget_bias``.
    ``FusedRNNCell`` gives this initializer to its vector by itself.

    Args:
        init: initializer of the pieces (an instance, a name, or ``dumps()`` text); None: the
            initializer of the whole network.
        num_hidden, num_layers, mode, bidirectional, forget_bias: those of the cell.
    """

    def __init__(
        self,
        init: Any,
        num_hidden: int,
        num_layers: int,
        mode: str,
        bidirectional: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        text = None if init is None else create(init).dumps()
        # Made from its text, so that an instance of the caller's is never changed.
        self._inner = None if text is None else create(text)
        self._settings: dict[str, Any] = {
            "num_hidden": num_hidden,
            "num_layers": num_layers,
            "mode": mode,
            "bidirectional": bool(bidirectional),
            "forget_bias": forget_bias,
        }
        FusedRNNCell(**self._settings)  # checks them
        super().__init__(init=text, **self._settings)

    def _init_weight(self, desc: str, arr: Array) -> None:
        want_float(self, desc, arr)
        inner = self._inner_for(desc)
        prefix = desc[: -len("parameters")] if desc.endswith("parameters") else f"{desc}_"
        cell = FusedRNNCell(**self._settings, prefix=prefix)
        pieces = cell.unpack_weights({f"{prefix}parameters": arr})
        for name, piece in pieces.items():
            if self._settings["mode"] == "lstm" and name.endswith("_f_bias"):
                piece[...] = self._settings["forget_bias"]
            else:
                inner(InitDesc(name, global_init=getattr(desc, "global_init", None)), piece)
        arr[...] = cell.pack_weights(pieces)[f"{prefix}parameters"]

    def _inner_for(self, desc: str) -> Initializer:
        inner = self._inner
        if inner is not None:
            if inner.seed is None:
                inner.seed = self.seed
            return inner
        whole: Initializer | None = getattr(desc, "global_init", None)
        if whole is None or isinstance(whole, FusedRNN):
            raise InvalidArgumentError(
                f"FusedRNN without init= leaves the pieces of {str(desc)!r} to the initializer of "
                "the whole network, and there is none. Give FusedRNN(init=...), or initialise the "
                "network with another initializer, such as Xavier()."
            )
        return whole
