"""Recurrent cells that unroll into symbols, under the names of ``mx.rnn``.

A cell knows its parameters (``RNNParams``) and one time step; ``unroll`` repeats the step. Nothing
here knows about ONNX: cells only call operators of ``symbucket.symbol``.
"""

from __future__ import annotations

from symbucket.io import BucketSentenceIter, encode_sentences
from symbucket.rnn import io, rnn_cell
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.bidirectional import BidirectionalCell
from symbucket.rnn.checkpoint import do_rnn_checkpoint, load_rnn_checkpoint, save_rnn_checkpoint
from symbucket.rnn.convolutional import BaseConvRNNCell, ConvGRUCell, ConvLSTMCell, ConvRNNCell
from symbucket.rnn.dropout import DropoutCell
from symbucket.rnn.fused import FusedRNNCell
from symbucket.rnn.gru import GRUCell
from symbucket.rnn.lengths import sequence_mask
from symbucket.rnn.lstm import LSTMCell
from symbucket.rnn.modifier import ModifierCell
from symbucket.rnn.params import RNNParams
from symbucket.rnn.residual import ResidualCell
from symbucket.rnn.sequential import SequentialRNNCell
from symbucket.rnn.vanilla import RNNCell
from symbucket.rnn.zoneout import ZoneoutCell

__all__ = [
    "BaseConvRNNCell",
    "BaseRNNCell",
    "BidirectionalCell",
    "BucketSentenceIter",
    "ConvGRUCell",
    "ConvLSTMCell",
    "ConvRNNCell",
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
    "io",
    "load_rnn_checkpoint",
    "rnn_cell",
    "save_rnn_checkpoint",
    "sequence_mask",
]
