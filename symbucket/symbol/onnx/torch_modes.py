"""What PyTorch's exporter leaves out of a file and notes on its nodes: how layers train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from symbucket.checks import listing
from symbucket.errors import UnsupportedError
from symbucket.ops.foreign.attributes import set_integers
from symbucket.symbol.onnx.padding import block_row
from symbucket.symbol.onnx.torch_notes import TorchCall

_RECURRENT = ("aten.lstm.", "aten.gru.", "aten.rnn_tanh.", "aten.rnn_relu.")
_BATCH_NORM_OF_BATCHES = "aten._native_batch_norm_legit_functional"
_OF_INTEREST = (
    *_RECURRENT,
    _BATCH_NORM_OF_BATCHES,
    "aten.embedding.default",
    "aten.scaled_dot_product_attention",
)


def train_as_noted(calls: list[TorchCall], graph: onnx.GraphProto) -> None:
    """Put back what trains in another way than it predicts.

    These are BatchNorm in training mode, rows of tables that get no gradient (``padding_idx``),
    dropout of attention, and which of equal extremes gets a gradient. Raises UnsupportedError for
    BatchNorm in training mode and for dropout that the file does not have.
    """
    lost = []
    for call in calls:
        if call.target.startswith(_OF_INTEREST) and not call.args:
            raise UnsupportedError(
                f"what PyTorch's exporter noted on {call.name} ({call.target}) cannot be "
                "read; this release of it is not known here"
            )
        _train_batch_norm(call)
        _block_padding(call)
        _drop_attention(call, graph)
        _pick_first(call)
        written = sum(len(node.input) > 2 for node in call.written("Dropout"))
        if written < dropouts(call.target, call.args, call.kwargs):
            lost.append(call.name)
    if lost:
        raise UnsupportedError(
            f"PyTorch's exporter left out dropout of {listing(lost)}. Set dropout=0 there, or "
            "write nn.Dropout between layers of their own; to predict only, export the module "
            "after module.eval()."
        )


def dropouts(target: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Return in how many places a call of PyTorch drops out."""
    if target.startswith(("aten.dropout", "aten.native_dropout")) and len(args) > 2:
        return int(bool(args[2]) and args[1] > 0)
    if target.startswith("aten.scaled_dot_product_attention"):
        share = kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
        return int(share > 0)
    if target.startswith(_RECURRENT) and len(args) > 6:
        layers, share, training = args[4:7]
        return layers - 1 if training and share > 0 else 0
    if "dropout" in target:
        raise UnsupportedError(f"the dropout of {target} has no counterpart here; use nn.Dropout")
    return 0


def _train_batch_norm(call: TorchCall) -> None:
    """Write a BatchNorm in training mode as such; the exporter writes all as in inference."""
    if not call.target.startswith(_BATCH_NORM_OF_BATCHES):
        return
    nodes = call.written("BatchNormalization")
    if not nodes:
        raise UnsupportedError(
            f"{call.scope or call.name} is a BatchNorm in training mode, which PyTorch's "
            "exporter folded into a convolution. Export with optimize=False; to predict only, "
            "export the module after module.eval()."
        )
    for node in nodes:
        set_integers(node, training_mode=1)


def follow_samples(graph: onnx.GraphProto) -> None:
    """Let running variances follow those of samples, n / (n - 1) of ONNX's, as PyTorch does."""
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            set_integers(node, unbiased_variance=1)


def _block_padding(call: TorchCall) -> None:
    """Keep the row ``padding_idx`` of a table from getting a gradient; ONNX has no word for it."""
    if call.target != "aten.embedding.default":
        return
    padding = call.args[2] if len(call.args) > 2 else call.kwargs.get("padding_idx", -1)
    for node in call.written("Gather"):
        block_row(node, -1 if padding is None else padding)


def _drop_attention(call: TorchCall, graph: onnx.GraphProto) -> None:
    """Let the weights of attention drop out in training; the exporter writes this as switched off.

    ``dropout_p`` of scaled_dot_product_attention holds in evaluation too, but modules pass 0 then.
    """
    if "scaled_dot_product_attention" not in call.target:
        return
    if not dropouts(call.target, call.args, call.kwargs):
        return
    for node in call.written("Dropout"):
        if len(node.input) == 2:
            mode = f"{node.output[0]}/training_mode"
            graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), mode))
            node.input.append(mode)


def _pick_first(call: TorchCall) -> None:
    """Give the gradient of max(dim) to the first extreme; of others equal extremes share it."""
    if call.target in ("aten.max.dim", "aten.min.dim"):
        for node in (*call.written("ReduceMax"), *call.written("ReduceMin")):
            set_integers(node, first_extreme=1)
