"""Exported networks in other runtimes: what they compute is what the module computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import symbucket as sb
from symbucket import sym
from symbucket.runtime.backend import ort
from tests.export.bundles import bound

Engine = Callable[[Path, dict[str, np.ndarray]], list[np.ndarray]]


def _unoptimized(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, feed)
    return results


def _optimized(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, feed)
    return results


def _reference(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    results = ReferenceEvaluator(str(path)).run(None, feed)
    return [np.asarray(result) for result in results]


def _openvino(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    # Without the hint it computes in bfloat16 where the processor can.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    network = openvino.Core().compile_model(str(path), "CPU", settings)
    results = network(feed)
    return [results[output] for output in network.outputs]


ENGINES: dict[str, Engine] = {
    "onnxruntime": _optimized,
    "onnxruntime without optimizations": _unoptimized,
    "onnx.reference": _reference,
    "OpenVINO": _openvino,
}


def _language_model() -> tuple[sb.Symbol, tuple[int, ...]]:
    words = sym.Embedding(sym.Variable("data"), input_dim=9, output_dim=4, name="embed")
    cell = sb.rnn.LSTMCell(num_hidden=5, prefix="lstm_")
    steps, _ = cell.unroll(6, words, merge_outputs=True)
    steps, _ = sb.rnn.GRUCell(num_hidden=5, prefix="gru_").unroll(6, steps, merge_outputs=True)
    scores = sym.FullyConnected(sym.reshape(steps, shape=(-1, 5)), num_hidden=9, name="out")
    return sym.softmax(scores, name="softmax"), (2, 6)


def _pictures() -> tuple[sb.Symbol, tuple[int, ...]]:
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=4, pad=(1, 1), name="conv")
    x = sym.Activation(sym.BatchNorm(x, name="norm", fix_gamma=False), act_type="relu")
    x = sym.Pooling(x, kernel=(3, 3), stride=(2, 2), pool_type="max", name="max")
    x = sym.Pooling(x, kernel=(2, 2), pool_type="avg", name="mean")
    return sym.FullyConnected(sym.Flatten(x), num_hidden=3, name="out"), (2, 2, 8, 8)


def _attention() -> tuple[sb.Symbol, tuple[int, ...]]:
    x = sym.LayerNorm(sym.Variable("data"), name="norm")
    query, key, value = (
        sym.FullyConnected(x, num_hidden=4, flatten=False, name=name) for name in "qkv"
    )
    scores = sym.batch_dot(query, key, transpose_b=True) * 0.5
    mixed = sym.batch_dot(sym.softmax(scores, axis=-1), value)
    return sym.LeakyReLU(x + mixed, act_type="gelu", name="gelu"), (2, 5, 4)


NETWORKS = {
    "language model": _language_model,
    "pictures": _pictures,
    "attention": _attention,
}


@pytest.fixture(scope="module", params=NETWORKS)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, np.ndarray], list[np.ndarray]]:
    """A file, what goes in, and what the module computes."""
    symbol, shape = NETWORKS[request.param]()
    module: Any = bound(symbol, [("data", shape)])
    generator = np.random.default_rng(5)
    data = generator.normal(size=shape).astype(np.float32)
    if request.param == "language model":
        data = generator.integers(0, 9, shape).astype(np.float32)
    path = tmp_path_factory.mktemp("exported") / "network.onnx"
    module.export_onnx(path)
    onnx.checker.check_model(str(path), full_check=True)
    module.forward(sb.io.DataBatch([data], bucket_key="net"), is_train=False)
    return path, {"data": data}, [out.asnumpy() for out in module.get_outputs()]


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_are_those_of_the_module(
    engine: str, exported: tuple[Path, dict[str, np.ndarray], list[np.ndarray]]
) -> None:
    path, feed, expected = exported
    results = ENGINES[engine](path, feed)
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=1e-4, atol=1e-5)
