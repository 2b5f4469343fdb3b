"""The networks that the pictures are tested on."""

from __future__ import annotations

import symbucket as sb


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
