"""A recurrent language model, scheduled step by step or unrolled over the whole sequence."""

from __future__ import annotations

import numpy as np

import symbucket as sb
from symbucket import sym

VOCAB, EMBED, HIDDEN, ROWS = 7, 4, 5, 3
RNG = np.random.default_rng(5)
WORDS = RNG.integers(1, VOCAB, (ROWS, 24))
NEXT = RNG.integers(0, VOCAB, (ROWS, 24))


def network(cell=sb.rnn.LSTMCell, layers=2, time_major=False, dropout=0.0, **loss):
    """``sym_gen`` of a language model with its states, and their names."""
    cells = sb.rnn.SequentialRNNCell()
    for i in range(layers):
        cells.add(cell(HIDDEN, prefix=f"layer{i}_"))
        if dropout:
            cells.add(sb.rnn.DropoutCell(dropout))
    cells.reset()
    begin = cells.begin_state(sym.Variable)

    def sym_gen(steps):
        x = sym.Embedding(sym.Variable("data"), input_dim=VOCAB, output_dim=EMBED, name="embed")
        layout = "TNC" if time_major else "NTC"
        out, states = cells.unroll(steps, x, begin, layout, merge_outputs=True)
        rows = sym.Reshape(out, shape=(-1, HIDDEN))
        scores = sym.FullyConnected(rows, num_hidden=VOCAB, name="pred")
        label = sym.Reshape(sym.Variable("label"), shape=(-1,))
        options = {"use_ignore": True, "ignore_label": 0, **loss}
        loss_out = sym.SoftmaxOutput(scores, label, name="softmax", **options)
        return sym.Group([loss_out, *states]), ["data"], ["label"]

    return sym_gen, sym.Group(begin).list_arguments()


def batch(length=10, start=0, rows=ROWS, time_major=False):
    data, label = (a[:rows, start : start + length] for a in (WORDS, NEXT))
    if time_major:
        data, label = data.T, label.T
    return sb.io.DataBatch(
        [data],
        [label],
        bucket_key=length,
        provide_data=[("data", data.shape)],
        provide_label=[("label", label.shape)],
    )


def started(module, rows=ROWS, length=10, time_major=False, **kwargs):
    """``module`` bound, with the same parameters whatever it is."""
    shape = (length, rows) if time_major else (rows, length)
    module.bind([("data", shape)], [("label", shape)], **kwargs)
    sb.random.seed(1)
    module.init_params(sb.init.Normal(0.4))
    return module


def scheduled(unroll, carry_states=False, time_major=False, rows=ROWS, bind=None, **options):
    sym_gen, states = network(time_major=time_major, **options)
    layout = "TNC" if time_major else "NTC"
    module = sb.mod.RecurrentModule(sym_gen, states, unroll, layout, carry_states)
    return started(module, rows, time_major=time_major, **(bind or {}))


def unrolled(length, time_major=False, **options):
    sym_gen, states = network(time_major=time_major, **options)

    def losses(steps):
        symbol, data, label = sym_gen(steps)
        return symbol[: len(symbol) - len(states)], data, label

    def whole(steps):  # begins with zeros, as a scheduled one does
        symbol, data, label = losses(steps)
        return symbol, data + states, label

    module = sb.mod.Module(*whole(length))
    shapes = [(n, (ROWS, HIDDEN)) for n in states]
    shape = (length, ROWS) if time_major else (ROWS, length)
    module.bind([("data", shape), *shapes], [("label", shape)], inputs_need_grad=False)
    sb.random.seed(1)
    module.init_params(sb.init.Normal(0.4))
    return module, shapes


def reference(length, time_major=False, start=0, states=None, **options):
    """Outputs and gradients of one network over all steps."""
    module, shapes = unrolled(length, time_major, **options)
    given = states or [np.zeros(s, np.float32) for _, s in shapes]
    one = batch(length, start, time_major=time_major)
    module.forward(
        sb.io.DataBatch(
            [*one.data, *given],
            one.label,
            provide_data=[*one.provide_data, *shapes],
            provide_label=one.provide_label,
        ),
        is_train=True,
    )
    module.backward()
    grads = {n: a.asnumpy() for n, a in module.gradients().items()}
    return module.get_outputs()[0].asnumpy(), grads


def assert_close(found, wanted):
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert np.abs(values).max() > 1e-3, name
        np.testing.assert_allclose(np.asarray(found[name]), values, 1e-4, 1e-5, err_msg=name)
