"""Recurrent cells that unroll into symbols, under the names of ``mx.rnn``.

A cell knows its parameters (``RNNParams``) and one time step; ``unroll`` repeats the step. Nothing
here knows about ONNX: cells only call operators of ``symbucket.symbol``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symbucket.io import BucketSentenceIter, encode_sentences
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.bidirectional import BidirectionalCell
from symbucket.rnn.dropout import DropoutCell
from symbucket.rnn.fused import FusedRNNCell
from symbucket.rnn.gru import GRUCell
from symbucket.rnn.lstm import LSTMCell
from symbucket.rnn.modifier import ModifierCell
from symbucket.rnn.params import RNNParams
from symbucket.rnn.residual import ResidualCell
from symbucket.rnn.sequential import SequentialRNNCell
from symbucket.rnn.vanilla import RNNCell
from symbucket.rnn.zoneout import ZoneoutCell
from symbucket.symbol import Symbol

# These write and read checkpoints, which lie in a layer above the cells; symbucket/__init__.py puts
# them here from symbucket.module.rnn_checkpoint, so that scripts find them where MXNet has them.
save_rnn_checkpoint: Callable[..., None]
load_rnn_checkpoint: Callable[..., tuple[Symbol, dict[str, Any], dict[str, Any]]]
do_rnn_checkpoint: Callable[..., Callable[..., None]]

__all__ = [
    "BaseRNNCell",
    "BidirectionalCell",
    "BucketSentenceIter",
    "DropoutCell",
    "FusedRNNCell",
    "GRUCell",
    "LSTMCell",
    "ModifierCell",
    "RNNCell",
    "RNNParams",
    "ResidualCell",
    "SequentialRNNCell",
    "ZoneoutCell",
    "do_rnn_checkpoint",
    "encode_sentences",
    "load_rnn_checkpoint",
    "save_rnn_checkpoint",
]
