"""Models that are more than protobuf writes; the limit is lowered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import symbucket as sb
from symbucket.errors import UnsupportedError
from symbucket.symbol.onnx import importer, large


def with_function() -> Any:
    """A product inside of a function."""
    body = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Product", ["x", "w"], ["y"], body, opsets)
    call = helper.make_node("Product", ["x", "weight"], ["y"], domain="own")
    weight = np.random.default_rng(1).normal(size=(30, 40)).astype(np.float32)
    graph = helper.make_graph(
        [call],
        "g",
        [helper.make_tensor_value_info("x", 1, [2, 30])],
        [helper.make_tensor_value_info("y", 1, [2, 40])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)


def old_opset() -> Any:
    """A network of opset 9, which is converted."""
    rng = np.random.default_rng(2)
    weights = {"w": rng.normal(size=(20, 30)), "b": rng.normal(size=30)}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
            helper.make_node("Softmax", ["h"], ["y"], axis=1),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, [2, 20])],
        [helper.make_tensor_value_info("y", 1, [2, 30])],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Limits that small models pass; the bytes of each model that onnx's inference got."""
    sizes: list[int] = []
    infer = onnx.shape_inference.infer_shapes

    def measured(model: onnx.ModelProto) -> onnx.ModelProto:
        sizes.append(model.ByteSize())
        return infer(model)

    monkeypatch.setattr(importer.onnx.shape_inference, "infer_shapes", measured)
    monkeypatch.setattr(large, "MOST_BYTES", 1000)
    monkeypatch.setattr(large, "_SMALL", 100)
    return sizes


@pytest.mark.parametrize("make", [with_function, old_opset])
def test_large_weights_do_not_pass_through_onnx(
    make: Callable[[], Any], low_limit: list[int]
) -> None:
    model = make()
    (x,) = (i for i in model.graph.input if i.name == "x")
    shape = [d.dim_value for d in x.type.tensor_type.shape.dim]
    data = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    results = []
    for limit in (1000, 10**9):
        large.MOST_BYTES = limit
        network = sb.sym.from_onnx(model)
        module = sb.mod.Module(network, ["x"], [])
        module.bind([("x", shape)], for_training=False)
        module.init_params()
        module.forward(sb.io.DataBatch([data], []))
        results.append(module.get_outputs()[0].asnumpy())
    assert low_limit[0] < 1000 < low_limit[1]
    assert np.abs(results[0]).max() > 0
    np.testing.assert_array_equal(*results)


def test_external_data_of_a_large_file(tmp_path: Path, low_limit: list[int]) -> None:
    onnx.save(old_opset(), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    symbol = sb.sym.from_onnx(tmp_path / "m.onnx")
    large.MOST_BYTES = 10**9
    assert symbol.tojson() == sb.sym.from_onnx(old_opset(), name=symbol.name).tojson()


def test_large_values_that_would_be_part_of_the_symbol(low_limit: list[int]) -> None:
    message = (
        "initializers that keep their values have more than 2 GB.*the largest are w, b.*params"
    )
    with pytest.raises(UnsupportedError, match=message):
        sb.sym.from_onnx(old_opset(), fixed="*")
