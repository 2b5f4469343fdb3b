"""The table of a symbol."""

from __future__ import annotations

import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.visualization import format_summary, print_summary, summarize
from tests.visualization.viz_networks import language_model, perceptron


def test_counts_and_bytes_of_a_small_network():
    found = summarize(perceptron(), {"data": (2, 5)})
    rows = {r.name: r for r in found.rows}
    assert (rows["fc0"].op, rows["fc0"].shape) == ("FullyConnected", (2, 8))
    assert rows["fc0"].parameters == 5 * 8 + 8
    assert rows["fc1"].nbytes == 4 * (8 * 7 + 7)
    assert rows["fc1"].previous == ("activation0",)
    assert rows["activation1"].parameters == 0
    assert found.parameters == 48 + 63 + 48
    assert found.nbytes == 4 * found.parameters
    assert len(found.rows) == 7  # nothing is unrolled, so nothing is folded


def test_totals_are_those_of_the_arguments():
    symbol, shapes = language_model(9)
    arguments, _, _ = symbol.infer_shape(**shapes)
    wanted = 0
    for name, shape in zip(symbol.list_arguments(), arguments):
        size = 1
        for d in shape:
            size *= d
        wanted += size if name not in shapes else 0
    for fold in (True, False):
        found = summarize(symbol, shapes, fold)
        assert found.parameters == wanted == sum(r.parameters for r in found.rows)


def test_time_steps_are_one_row():
    symbol, shapes = language_model(9)
    rows = {r.name: r for r in summarize(symbol, shapes).rows}
    assert rows["lstm_l0_t*_i2h"].times == 9
    assert rows["lstm_l0_t*_i2h"].parameters == 4 * 4 * 4 + 16  # counted at the first step
    assert rows["lstm_l0_t*_slice"].previous == ("_plus0",)
    assert rows["reshape0"].times == rows["reshape1"].times == 1  # alike in name, not in shape
    every = summarize(symbol, shapes, fold=False).rows
    assert len(every) == sum(r.times for r in rows.values())
    second = next(r for r in every if r.name == "lstm_l0_t1_i2h")
    assert (second.parameters, second.shared) == (0, ("lstm_l0_i2h_weight", "lstm_l0_i2h_bias"))


def test_half_precision_has_half_the_bytes_and_states_count():
    data = sb.sym.Variable("data", dtype="float16")
    weight = sb.sym.Variable("w", dtype="float16")
    net = sb.sym.FullyConnected(data, weight=weight, num_hidden=3, no_bias=True, name="fc")
    assert summarize(net, {"data": (2, 5)}).nbytes == 30
    norm = sb.sym.BatchNorm(sb.sym.Variable("data"), name="bn")
    assert summarize(norm, {"data": (2, 5)}).parameters == 20


def test_the_printed_table(capsys):
    print_summary(perceptron(), {"data": (2, 5)}, line_length=90)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 90
    assert lines[1].split() == "layer (type) output shape parameters bytes reads".split()
    assert lines[3].split() == ["fc0", "(FullyConnected)", "2x8", "48", "192", "B", "data"]
    assert lines[-2] == "159 parameters, 636 B"


def test_mxnet_positions_and_bad_ones():
    found = summarize(perceptron(), {"data": (2, 5)})
    text = format_summary(found, 100, (0.44, 0.64, 0.74, 1.0))
    assert "192 B" not in text
    assert "fc2 (FullyConnected)" in text
    with pytest.raises(InvalidArgumentError, match="four or five rising shares"):
        format_summary(found, 100, (0.5, 0.2, 0.6, 1.0))


def test_shapes_that_are_missing_or_wrong():
    rows = summarize(perceptron()).rows
    assert rows[0].shape is None
    assert "?" in format_summary(summarize(perceptron()))
    symbol, _ = language_model(4)
    with pytest.raises(ShapeError, match=r"shapes \(15,\) and \(12,\) differ"):
        print_summary(symbol, {"data": (3, 4), "softmax_label": (3, 5)})
    with pytest.raises(InvalidArgumentError, match="dta"):
        summarize(symbol, {"dta": (3, 4)})
