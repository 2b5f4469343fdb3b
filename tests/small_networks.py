"""Small networks and batches that many tests train."""

import numpy as np

import symbucket as sb
from symbucket import sym

VOCAB, EMBED, HIDDEN = 10, 4, 5


def language_model(length, vocab=VOCAB, embed=EMBED, hidden=HIDDEN, dropout=0.0):
    """Embedding, one LSTM layer, a classifier over the vocabulary; label 0 is padding."""
    x = sym.Embedding(sym.Variable("data"), input_dim=vocab, output_dim=embed, name="embed")
    cells = sb.rnn.SequentialRNNCell()
    cells.add(sb.rnn.LSTMCell(hidden, prefix="lstm_"))
    if dropout:
        cells.add(sb.rnn.DropoutCell(dropout, prefix="drop_"))
    out, _ = cells.unroll(length, x, layout="NTC", merge_outputs=True)
    flat = sym.Reshape(out, shape=(-1, hidden))
    scores = sym.FullyConnected(flat, num_hidden=vocab, name="pred")
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    return sym.SoftmaxOutput(
        scores, label, name="softmax", use_ignore=True, ignore_label=0, normalization="valid"
    )


def generate(length):
    """``sym_gen`` of a language model."""
    return language_model(length), ("data",), ("softmax_label",)


def sentence_batch(rng, length, rows=3, key=None, vocab=VOCAB, pad=None):
    """A batch of random token ids and labels from 1 to vocab - 1."""
    data, label = (rng.integers(1, vocab, (rows, length)) for _ in range(2))
    return sb.io.DataBatch(
        [data],
        [label],
        pad=pad,
        bucket_key=length if key is None else key,
        provide_data=[("data", (rows, length))],
        provide_label=[("softmax_label", (rows, length))],
    )


def shapes(length, rows=3):
    """``data_shapes`` and ``label_shapes`` of such a batch."""
    return [("data", (rows, length))], [("softmax_label", (rows, length))]


def bucketing(sym_gen=generate, default=6, rows=3, optimizer="sgd", rate=0.5, **bind):
    """A bucketing module that is ready to train."""
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=default)
    module.bind(*shapes(default, rows), **bind)
    module.init_params(sb.init.Uniform(0.2))
    module.init_optimizer(optimizer=optimizer, optimizer_params={"learning_rate": rate})
    return module


def regression(outputs=2, **layer):
    """One linear layer with a squared error: data (n, in) -> (n, outputs)."""
    layer = {"name": "fc", "num_hidden": outputs, **layer}
    y = sym.FullyConnected(sym.Variable("data"), **layer)
    return sym.LinearRegressionOutput(y, sym.Variable("softmax_label"), name="out")


def regression_data(rows=10, inputs=3, outputs=2, seed=5):
    """Random inputs and targets."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(rows, inputs)), rng.normal(size=(rows, outputs))
    return x.astype(np.float32), y.astype(np.float32)


def regression_batch(rows=slice(4)):
    """A batch of these rows of ``regression_data()``."""
    x, y = regression_data()
    return sb.io.DataBatch([x[rows]], [y[rows]])


def bound_regression(rows=4, optimizer="sgd", rate=0.1, module=None, **bind):
    """A module of ``regression()`` that is ready to train."""
    module = module or sb.mod.Module(regression())
    module.bind([("data", (rows, 3))], [("softmax_label", (rows, 2))], **bind)
    module.init_params(sb.init.Uniform(0.5))
    if module.for_training:
        module.init_optimizer(optimizer=optimizer, optimizer_params={"learning_rate": rate})
    return module


def numbers(module):
    """Parameters and auxiliary states of a module as one dict of numpy arrays."""
    found = module.get_params()
    return {name: array.asnumpy() for group in found for name, array in group.items()}


def same(left, right):
    """Whether two such dicts hold exactly the same numbers."""
    return left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)
