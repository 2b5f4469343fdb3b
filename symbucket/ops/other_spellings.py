"""Names of operators in other libraries, and what to write instead.

Keys are in lower case and without underscores, so ``LayerNorm``, ``layer_norm`` and ``layernorm``
are one. A name that differs from that of an operator in this way only needs no entry.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_INSTEAD = {
    "adaptiveavgpool2d": "contrib.AdaptiveAvgPooling2D(x, output_size=...)",
    "affine": "FullyConnected(x, num_hidden=n)",
    "allclose": "contrib.allclose(x, y)",
    "amax": "max(x, axis=...)",
    "amin": "min(x, axis=...)",
    "attention": "softmax(contrib.div_sqrt_dim(query) @ swapaxes(key, -1, -2)) @ value",
    "avgpool1d": 'Pooling(x, kernel=(k,), pool_type="avg")',
    "avgpool2d": 'Pooling(x, kernel=(h, w), pool_type="avg")',
    "batchnorm1d": "BatchNorm(x)",
    "batchnorm2d": "BatchNorm(x)",
    "bceloss": "LogisticRegressionOutput(x, label)",
    "bcewithlogits": "LogisticRegressionOutput(x, label)",
    "bcewithlogitsloss": "LogisticRegressionOutput(x, label)",
    "binarycrossentropy": "LogisticRegressionOutput(x, label)",
    "bmm": "batch_dot(x, y)",
    "cat": "concat(x, y, dim=axis)",
    "chunk": "split(x, num_outputs=n, axis=...)",
    "clamp": "clip(x, low, high)",
    "conv1d": "Convolution(x, kernel=(k,), num_filter=n)",
    "conv2d": "Convolution(x, kernel=(h, w), num_filter=n)",
    "conv3d": "Convolution(x, kernel=(d, h, w), num_filter=n)",
    "convtranspose2d": "Deconvolution(x, kernel=(h, w), num_filter=n)",
    "crossentropy": "SoftmaxOutput(x, label)",
    "crossentropyloss": "SoftmaxOutput(x, label)",
    "dense": "FullyConnected(x, num_hidden=n)",
    "dotproductattention": ("softmax(contrib.div_sqrt_dim(query) @ swapaxes(key, -1, -2)) @ value"),
    "dropout2d": "Dropout(x, p=...)",
    "einsum": "matmul(x, y), batch_dot(x, y) or dot(x, y)",
    "elu": 'LeakyReLU(x, act_type="elu")',
    "expand": "broadcast_to(x, shape=...)",
    "gather": "pick(x, index, axis=...) or gather_nd(x, index)",
    "globalaveragepooling2d": 'Pooling(x, global_pool=True, pool_type="avg")',
    "globalavgpool2d": 'Pooling(x, global_pool=True, pool_type="avg")',
    "hardswish": "x * hard_sigmoid(x, alpha=1 / 6)",
    "hardtanh": "clip(x, -1, 1)",
    "indexselect": "take(x, index, axis=...)",
    "l1loss": "MAERegressionOutput(x, label)",
    "linear": "FullyConnected(x, num_hidden=n)",
    "maskedfill": "where(mask, value, x)",
    "maxpool1d": 'Pooling(x, kernel=(k,), pool_type="max")',
    "maxpool2d": 'Pooling(x, kernel=(h, w), pool_type="max")',
    "mm": "dot(x, y)",
    "mse": "LinearRegressionOutput(x, label)",
    "mseloss": "LinearRegressionOutput(x, label)",
    "multiheadattention": (
        "contrib.interleaved_matmul_selfatt_qk(x, heads=n), softmax, "
        "contrib.interleaved_matmul_selfatt_valatt(x, attention, heads=n)"
    ),
    "nllloss": "SoftmaxOutput(x, label)",
    "permute": "transpose(x, axes=...)",
    "prelu": 'LeakyReLU(x, act_type="prelu")',
    "repeatinterleave": "repeat(x, repeats=n, axis=...)",
    "rrelu": 'LeakyReLU(x, act_type="rrelu")',
    "scaleddotproductattention": (
        "softmax(contrib.div_sqrt_dim(query) @ swapaxes(key, -1, -2)) @ value"
    ),
    "selu": 'LeakyReLU(x, act_type="selu")',
    "silu": "x * sigmoid(x)",
    "sparsecategoricalcrossentropy": "SoftmaxOutput(x, label)",
    "swish": "x * sigmoid(x)",
    "mish": "x * tanh(softrelu(x))",
    "smoothl1loss": "smooth_l1(x - label)",
    "softplus": "softrelu(x)",
    "t": "transpose(x)",
    "unsqueeze": "expand_dims(x, axis=...)",
    "upsample": "UpSampling(x, scale=n)",
    "view": "reshape(x, shape=...)",
}

_CELLS = {
    "lstm": "rnn.LSTMCell",
    "lstmcell": "rnn.LSTMCell",
    "gru": "rnn.GRUCell",
    "grucell": "rnn.GRUCell",
    "rnncell": "rnn.RNNCell",
    "bidirectional": "rnn.BidirectionalCell",
}

_MODULES = ("nn", "f", "functional", "layers", "torch", "np", "npx", "ops", "op", "keras", "gluon")


def instead_of(name: str, operators: Iterable[str]) -> str:
    """Return a sentence, after a space, that says what to write for a name that is no operator.

    Empty if nothing comes near it.
    """
    plain = _plain(name)
    listed = list(operators)
    if same := [other for other in listed if _plain(other) == plain]:
        return f" Did you mean {same[0]!r}?"
    if plain in _INSTEAD:
        return f" Did you mean {_INSTEAD[plain]}?"
    if plain in _CELLS:
        return f" Did you mean symbucket.{_CELLS[plain]}, or the operator 'RNN' of all steps?"
    if plain in _MODULES:
        return (
            " Operators have no modules but contrib, image, linalg and random: sym.FullyConnected, "
            "sym.Convolution, sym.relu; cells are in symbucket.rnn."
        )
    public = [n for n in listed if not n.startswith("_") or name.startswith("_")]
    near = difflib.get_close_matches(name, public, 3)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "")
