"""NaN in requests, which ONNX Runtime's recurrences would turn into numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError, ParameterError


def served(folder: Path, network: Any, **options: Any) -> tuple[sb.Bundle, sb.Bundle]:
    """Return the bundle of a network of 6 steps with 3 features, and one of its module."""
    module = sb.mod.BucketingModule(lambda key: (network(key), ["data"], []), default_bucket_key=6)
    module.bind([("data", (2, 6, 3))], for_training=False)
    module.init_params(sb.init.Xavier())
    module.export(folder, **options)
    return sb.Bundle(folder), sb.Bundle.live(module)


def with_nan() -> np.ndarray:
    array = np.ones((6, 3), np.float32)
    array[2, 1] = np.nan
    return array


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_nan_is_refused_where_the_runtime_hides_it(kind: str, tmp_path: Path) -> None:
    cell = getattr(sb.rnn, kind)(4, prefix="cell_")

    def network(length: int) -> sb.Symbol:
        inputs = sb.sym.Variable("data") * 2
        return sb.sym.identity(cell.unroll(length, inputs, merge_outputs=True)[0], name="y")

    bundle, live = served(tmp_path / "reader", network, dynamic_batch=True)
    for one in (bundle, live) if kind == "LSTMCell" else (bundle,):
        assert np.isfinite(one.run([np.ones((6, 3))])[0]["y_output"]).all()
        for requests in ([with_nan()], [np.ones((6, 3)), with_nan()]):
            last = len(requests) - 1
            with pytest.raises(
                DataError, match=rf"request {last}: data\[2, 1\] is NaN.* by a mask"
            ):
                one.run(requests)
    if kind != "LSTMCell":  # a module writes out the steps of these, and they keep NaN
        (answer,) = live.run([with_nan()])
        assert np.isnan(answer["y_output"]).any(axis=1).tolist() == [False] * 2 + [True] * 4


def test_a_module_refuses_it_when_it_predicts() -> None:
    cell = sb.rnn.LSTMCell(4, prefix="cell_")
    outputs = cell.unroll(6, sb.sym.Variable("data"), merge_outputs=True)[0]
    module = sb.mod.Module(outputs, label_names=[])
    module.bind([("data", (2, 6, 3))])
    module.init_params(sb.init.Xavier())
    batch = sb.io.DataBatch([np.stack([np.ones((6, 3)), with_nan()])])
    with pytest.raises(DataError, match=r"module: data\[1, 2, 1\] is NaN"):
        module.forward(batch, is_train=False)
    module.forward(batch, is_train=True)  # a Scan, which keeps it
    rows = np.isnan(module.get_outputs()[0].asnumpy()).any(axis=2)
    assert rows.tolist() == [[False] * 6, [False] * 2 + [True] * 4]
    module.forward(sb.io.DataBatch([np.ones((2, 6, 3))]), is_train=False)
    assert np.isfinite(module.get_outputs()[0].asnumpy()).all()


def test_networks_may_replace_nan(tmp_path: Path) -> None:
    cell = sb.rnn.LSTMCell(4, prefix="cell_")

    def network(length: int) -> sb.Symbol:
        data = sb.sym.Variable("data")
        filled = sb.sym.where(data == data, data, sb.sym.zeros_like(data))
        return sb.sym.identity(cell.unroll(length, filled, merge_outputs=True)[0], name="y")

    zero = with_nan()
    zero[2, 1] = 0
    for bundle in served(tmp_path / "filled", network):
        first, second = bundle.run([with_nan(), zero])
        assert np.array_equal(first["y_output"], second["y_output"])


def test_nan_passes_through_networks_without_recurrences(tmp_path: Path) -> None:
    for bundle in served(tmp_path / "plain", lambda key: sb.sym.Variable("data") * 2):
        (answer,) = bundle.run([with_nan()])
        (values,) = answer.values()
        assert np.isnan(values).sum() == 1


def test_parameters_with_nan_are_not_exported(tmp_path: Path) -> None:
    scores = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
    module = sb.mod.Module(scores, label_names=[])
    module.bind([("data", (2, 3))], for_training=False)
    module.init_params()
    module.export(tmp_path / "b")
    diverged = {"fc_weight": sb.nd.array(np.full((2, 3), np.nan)), "fc_bias": sb.nd.zeros(2)}
    module.set_params(diverged, {})
    with pytest.raises(ParameterError, match=r"parameter 'fc_weight' has NaN.* earlier checkpoint"):
        module.export(tmp_path / "b")
    assert sb.Bundle(tmp_path / "b").run([np.ones(3)])  # what was there stays
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
