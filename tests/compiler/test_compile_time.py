"""How long the six keys of the benchmark take until they are ready to train."""

import time

import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import compile_training
from symbucket.metric import GraphMetric
from symbucket.runtime import Session

HIDDEN, CLASSES, ROWS = 200, 10_000, 32
NLL = GraphMetric("nll", "softmax_output", "softmax_label", 0.0)


def _language_model(steps):
    x = sym.Embedding(sym.Variable("data"), input_dim=CLASSES, output_dim=HIDDEN, name="embed")
    stack = sb.rnn.SequentialRNNCell()
    for i in range(2):
        stack.add(sb.rnn.LSTMCell(HIDDEN, prefix=f"lstm_l{i}_"))
    out, _ = stack.unroll(steps, x, layout="NTC", merge_outputs=True)
    scores = sym.FullyConnected(
        sym.Reshape(out, shape=(-1, HIDDEN)), num_hidden=CLASSES, name="pred"
    )
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    return sym.SoftmaxOutput(
        scores, label, name="softmax", use_ignore=True, ignore_label=0, normalization="valid"
    )


def _make_ready(steps):
    net = _language_model(steps)
    shapes = dict.fromkeys(("data", "softmax_label"), (ROWS, steps))
    wanted = [n for n in net.list_arguments() if n not in shapes]
    made = compile_training(net, shapes, wanted=wanted, fetch=(), metrics=[NLL]).step
    Session(made.model, sb.cpu(), "test")


@pytest.mark.slow
def test_six_keys_are_ready_in_seconds():
    """About 1.5 seconds of one processor; the bound leaves room for machines that are busy."""
    _make_ready(2)
    start = time.process_time()
    for steps in range(10, 70, 10):
        _make_ready(steps)
    assert time.process_time() - start < 5.0
