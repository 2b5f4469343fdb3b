"""All cells, under the name ``mx.rnn.rnn_cell``."""

from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.bidirectional import BidirectionalCell
from symbucket.rnn.convolutional import BaseConvRNNCell, ConvGRUCell, ConvLSTMCell, ConvRNNCell
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

__all__ = [
    "BaseConvRNNCell",
    "BaseRNNCell",
    "BidirectionalCell",
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
]
