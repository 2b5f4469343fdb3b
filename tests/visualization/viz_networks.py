"""The networks that the pictures are tested on."""

from __future__ import annotations

import symbucket as sb
from symbucket import sym


def language_model(length, hidden=4, layers=2, vocabulary=11):
    """A word model unrolled over ``length`` steps, and the shapes of its data."""
    cells = sb.rnn.SequentialRNNCell()
    for i in range(layers):
        cells.add(sb.rnn.LSTMCell(hidden, prefix=f"lstm_l{i}_"))
    with sb.NameManager():
        words = sb.sym.Variable("data")
        vectors = sb.sym.Embedding(words, input_dim=vocabulary, output_dim=hidden, name="embed")
        outputs, _ = cells.unroll(length, vectors, merge_outputs=True)
        rows = sb.sym.Reshape(outputs, shape=(-1, hidden))
        scores = sb.sym.FullyConnected(rows, num_hidden=vocabulary, name="pred")
        label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        loss = sb.sym.SoftmaxOutput(scores, label, name="softmax")
    return loss, {"data": (3, length), "softmax_label": (3, length)}


def perceptron():
    """Three layers, the activations without names."""
    with sb.NameManager():
        x = sb.sym.Variable("data")
        for i in range(3):
            x = sb.sym.FullyConnected(x, num_hidden=8 - i, name=f"fc{i}")
            x = sb.sym.Activation(x, act_type="relu")
        return sb.sym.SoftmaxOutput(x, name="softmax")


def transformer(layers=3, batch=2, length=4, width=8, heads=2):
    """Layers of attention whose heads are split by nodes without names, and the shapes."""

    def attention(x, name):
        def split_heads(part):
            y = sym.FullyConnected(x, num_hidden=width, flatten=False, name=name + part)
            y = sym.Reshape(y, shape=(batch, length, heads, width // heads))
            y = sym.transpose(y, axes=(0, 2, 1, 3))
            return sym.Reshape(y, shape=(batch * heads, length, width // heads))

        scores = sym.batch_dot(split_heads("q"), split_heads("k"), transpose_b=True) * 0.5
        y = sym.batch_dot(sym.softmax(scores), split_heads("v"))
        y = sym.transpose(sym.Reshape(y, shape=(batch, heads, length, -1)), axes=(0, 2, 1, 3))
        y = sym.Reshape(y, shape=(batch, length, width))
        return sym.FullyConnected(y, num_hidden=width, flatten=False, name=name + "o")

    def norm(x, name):
        centred = sym.broadcast_sub(x, sym.mean(x, axis=-1, keepdims=True))
        variance = sym.mean(sym.square(centred), axis=-1, keepdims=True)
        scale = sym.Variable(name + "gamma", shape=(1, 1, width))
        return sym.broadcast_mul(sym.broadcast_div(centred, sym.sqrt(variance + 1e-5)), scale)

    with sb.NameManager():
        x = sym.Embedding(sym.Variable("data"), input_dim=9, output_dim=width, name="embed")
        for i in range(layers):
            x = norm(x + attention(x, f"layer{i}_att_"), f"layer{i}_norm1_")
            y = sym.FullyConnected(x, num_hidden=16, flatten=False, name=f"layer{i}_up")
            y = sym.Activation(y, act_type="relu", name=f"layer{i}_relu")
            y = sym.FullyConnected(y, num_hidden=width, flatten=False, name=f"layer{i}_down")
            x = norm(x + y, f"layer{i}_norm2_")
        rows = sym.Reshape(x, shape=(-1, width))
        scores = sym.FullyConnected(rows, num_hidden=9, name="pred")
        label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
        symbol = sym.SoftmaxOutput(scores, label, name="softmax")
    return symbol, {"data": (batch, length), "softmax_label": (batch, length)}


def residual(layers=3, width=8):
    """Layers that are added to what they read; the sums have no names. Also the shapes."""
    with sb.NameManager():
        x = sym.Embedding(sym.Variable("data"), input_dim=9, output_dim=width, name="embed")
        x = sym.broadcast_add(x, sym.Variable("position_weight", shape=(1, 4, width)))
        for i in range(layers):
            for part in ("first", "second"):
                y = sym.LayerNorm(x, name=f"layer{i}_norm_{part}")
                y = sym.FullyConnected(y, num_hidden=width, flatten=False, name=f"layer{i}_{part}")
                x = x + sym.Activation(y, act_type="relu")
        rows = sym.Reshape(sym.LayerNorm(x, name="norm"), shape=(-1, width))
        scores = sym.FullyConnected(rows, num_hidden=9, name="pred")
        label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
        symbol = sym.SoftmaxOutput(scores, label, name="softmax")
    return symbol, {"data": (2, 4), "softmax_label": (2, 4)}
