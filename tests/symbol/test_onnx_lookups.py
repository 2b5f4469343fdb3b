"""Ids beyond the tables of a network from an ONNX file are refused before it runs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import symbucket as sb
from symbucket.errors import DataError

ROWS = 5


def table_model() -> onnx.ModelProto:
    """Return the sum of looked-up rows; ids are cast and reshaped on their way."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["whole", "axes"], ["columns"]),
        helper.make_node("Gather", ["table", "columns"], ["rows"]),
        helper.make_node("ReduceSum", ["rows"], ["y"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "lookups",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "length"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
        [
            onnx.numpy_helper.from_array(np.ones((ROWS, 3), np.float32), "table"),
            onnx.numpy_helper.from_array(np.array([2]), "axes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(symbol: sb.Symbol, ids: list[list[float]], training: bool) -> float:
    module = sb.mod.Module(symbol, data_names=["ids"], label_names=[])
    array = np.array(ids)
    module.bind([("ids", array.shape)], for_training=training)
    module.init_params()
    module.forward(sb.io.DataBatch([array]), is_train=training)
    return float(module.get_outputs()[0].asnumpy())


@pytest.mark.parametrize("training", [True, False])
def test_ids_beyond_the_table_are_refused(training: bool) -> None:
    symbol = sb.sym.from_onnx(table_model(), params=["table"])
    assert run(symbol, [[0, ROWS - 1], [-1, -ROWS]], training) == 12.0  # ONNX counts from the end
    with pytest.raises(
        DataError, match=r"ids\[1, 0\] is 5, but '.*' reads it as one of 5 rows: -5 to 4\. 2 values"
    ):
        run(symbol, [[0, 1], [5, -6]], training)


def test_a_table_of_embeddings_has_no_rows_below_zero() -> None:
    symbol = sb.sym.from_onnx(table_model(), params=["table"], padding={"table": 0})
    assert run(symbol, [[0, 4]], True) == 6.0
    with pytest.raises(DataError, match=r"ids\[0, 1\] is -1, but .* one of 5 rows: 0 to 4\."):
        run(symbol, [[0, -1]], True)


def test_positions_that_the_network_computes_are_not_limited() -> None:
    model = table_model()
    model.graph.node.insert(1, helper.make_node("Mod", ["whole", "five"], ["remainders"]))
    model.graph.node[2].input[0] = "remainders"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(ROWS), "five"))
    symbol = sb.sym.from_onnx(model, params=["table"])
    assert run(symbol, [[7, 12]], True) == 6.0


def test_bundles_refuse_them_too(tmp_path: object) -> None:
    rows = helper.make_node("ReduceSum", ["rows", "last"], ["y"], keepdims=0)
    model = table_model()
    model.graph.node[3].CopyFrom(rows)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2, 3]), "last"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"]))
    symbol = sb.sym.from_onnx(model, params=["table"], padding={"table": 0})
    module = sb.mod.Module(symbol, data_names=["ids"], label_names=[])
    module.bind([("ids", (2, 3))], for_training=False)
    module.init_params()
    module.export(f"{tmp_path}/bundle")
    bundle = sb.Bundle(f"{tmp_path}/bundle")
    assert list(bundle.run([[1, 2, 3]])[0].values()) == [9.0]
    for ids in ([1, 2, 5], [1, -1, 2]):
        with pytest.raises(DataError, match="takes integers from 0 to below 5"):
            bundle.run([ids])
