"""Small networks for ``FeedForward``, and data that they learn."""

import numpy as np

import symbucket as sb
from symbucket.model import FeedForward

VOCAB = 8


def classes(rows=300, seed=0):
    """Three clouds of points on a plane."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    return (centres[y] + 0.5 * rng.standard_normal((rows, 2))).astype(np.float32), y


def mlp(label="softmax_label", batch_norm=False):
    net = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=16, name="fc1")
    if batch_norm:
        net = sb.sym.BatchNorm(net, name="bn", fix_gamma=False)
    net = sb.sym.Activation(net, act_type="relu", name="relu")
    net = sb.sym.FullyConnected(net, num_hidden=3, name="fc2")
    return sb.sym.SoftmaxOutput(net, sb.sym.Variable(label), name="softmax")


def feedforward(symbol=None, **kwargs):
    options = {"num_epoch": 8, "learning_rate": 0.5, "numpy_batch_size": 32, **kwargs}
    return FeedForward(mlp() if symbol is None else symbol, initializer=sb.init.Xavier(), **options)


def lstm_network(length):
    embed = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=VOCAB, output_dim=6, name="embed")
    outputs, _ = sb.rnn.LSTMCell(10, prefix="lstm_").unroll(length, embed, merge_outputs=True)
    pred = sb.sym.FullyConnected(
        sb.sym.Reshape(outputs, shape=(-1, 10)), num_hidden=VOCAB, name="pred"
    )
    label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
    return sb.sym.SoftmaxOutput(
        pred, label, use_ignore=True, ignore_label=0, normalization="valid", name="softmax"
    )


def sentences(count=120, seed=0):
    """Each word follows from the one before: 1 2 3 ... 7 1 2 ..."""
    rng = np.random.default_rng(seed)
    # As many of each length as fill whole batches, so that every epoch has the same sentences.
    starts, lengths = rng.integers(0, VOCAB - 1, count), np.repeat([3, 5], count // 2)
    return [[(s + i) % (VOCAB - 1) + 1 for i in range(n)] for s, n in zip(starts, lengths)]


def text(seed=0):
    return sb.rnn.BucketSentenceIter(
        sentences(seed=seed), 10, buckets=[3, 5], invalid_label=0, seed=seed
    )
