"""The numbers beside a picture: operations, times, statistics of parameters."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import symbucket as sb
from symbucket.errors import InvalidArgumentError
from symbucket.visualization.amounts import nbytes_text, operations_text, seconds_text
from symbucket.visualization.diagram import Value
from symbucket.visualization.facts import Facts
from symbucket.visualization.fold import fold
from symbucket.visualization.operations import operations
from symbucket.visualization.profile import read_profile, with_profile
from symbucket.visualization.sources import networks_of
from symbucket.visualization.statistics import statistics_of, with_values
from symbucket.visualization.totals import totals
from tests.visualization.viz_networks import language_model, perceptron


def values(*shapes):
    return [Value(f"v{i}", "float32", shape) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    ("op", "inputs", "output", "attributes", "count"),
    [
        ("Gemm", [(3, 5), (5, 7), (7,)], (3, 7), {}, 2 * 3 * 5 * 7),
        ("Gemm", [(5, 3), (5, 7)], (3, 7), {"transA": "1"}, 2 * 3 * 5 * 7),
        ("MatMul", [(2, 3, 5), (2, 5, 7)], (2, 3, 7), {}, 2 * 2 * 3 * 5 * 7),
        ("MatMul", [(4, 2, 3, 5), (5, 7)], (4, 2, 3, 7), {}, 2 * 8 * 3 * 5 * 7),
        ("batch_dot", [(2, 5, 3), (2, 7, 5)], (2, 3, 7), {}, 2 * 2 * 3 * 5 * 7),
        ("dot", [(5, 3), (5, 7)], (3, 7), {}, 2 * 3 * 5 * 7),
        ("FullyConnected", [(3, 4, 5), (7, 20), (7,)], (3, 7), {}, 2 * 3 * 20 * 7),
        ("Conv", [(2, 6, 9, 9), (8, 3, 5, 5)], (2, 8, 5, 5), {"group": "2"}, 2 * 400 * 3 * 25),
        ("Convolution", [(1, 3, 9, 9), (8, 3, 5, 5)], (1, 8, 5, 5), {}, 2 * 200 * 75),
        ("Deconvolution", [(1, 3, 5, 5), (3, 8, 5, 5)], (1, 8, 9, 9), {}, 2 * 75 * 200),
        ("LSTM", [(6, 2, 3), (1, 16, 3), (1, 16, 4)], (6, 1, 2, 4), {}, 2 * 12 * 16 * 7),
        ("Tanh", [(3, 4)], (3, 4), {}, 12),
        ("ReduceSum", [(3, 4)], (3,), {}, 12),
        ("Add", [(4,), (3, 4)], (3, 4), {}, 12),
        ("Reshape", [(3, 4), (2,)], (12,), {}, 0),
        ("com.microsoft::Gelu", [(3, 4)], (3, 4), {}, 12),
    ],
)
def test_operations_of_an_operator(op, inputs, output, attributes, count):
    assert operations(op, values(*inputs), values(output), attributes) == count


def test_without_shapes_operations_are_unknown_and_moves_are_none():
    for unknown in (None, ("N", 4), (None, 4)):
        assert operations("Tanh", values(unknown), values((3, 4)), {}) is None
        assert operations("MatMul", values((3, 5), unknown), values((3, 4)), {}) is None
        assert operations("Reshape", values(unknown), values(unknown), {}) == 0
    assert operations("Gemm", values((3, 5)), values((3, 4)), {}) is None


def test_operations_of_a_network_are_those_of_its_parts():
    symbol, shapes = language_model(6, hidden=4, vocabulary=11)
    (diagram,) = networks_of(symbol, shapes).values()
    tree = fold(diagram)
    whole = totals(tree, range(len(diagram.boxes)))
    products = {b.name: b.operations for b in diagram.boxes if b.op == "FullyConnected"}
    assert products["lstm_l1_t3_h2h"] == 2 * 3 * 4 * 16
    assert products["pred"] == 2 * 18 * 4 * 11
    assert sum(products.values()) == 2 * 2 * 6 * (2 * 3 * 4 * 16) + 2 * 18 * 4 * 11
    assert whole.operations > sum(products.values())
    rows = Facts(tree).rows()
    assert all("FLOP" in text for _, _, text, _ in rows)
    assert 0.9 < sum(share for *_, share in rows) <= 1
    bare = fold(next(iter(networks_of(symbol).values())))
    assert ("Operations", "of unknown shapes") in Facts(bare).network()


def test_amounts_have_units():
    assert [nbytes_text(n) for n in (7, 1600, 46.8e6, 2e12)] == [
        "7 B",
        "1.6 kB",
        "46.8 MB",
        "2000.0 GB",
    ]
    assert [operations_text(n) for n in (180, 2.9e9)] == ["180 FLOP", "2.9 GFLOP"]
    assert [seconds_text(s) for s in (19e-6, 0.0123, 4.2)] == ["19 µs", "12.3 ms", "4.2 s"]


def event(name, duration, category="Node"):
    return {"cat": category, "name": name, "dur": duration, "ts": 0}


def profile(tmp_path, *events):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(list(events)))
    return path


def test_times_are_means_over_the_runs(tmp_path):
    run = event("model_run", 40, "Session")
    path = profile(
        tmp_path,
        *[run, event("fc0_kernel_time", 10), event("fc0_fence_before", 99)],
        *[run, event("fc0_kernel_time", 14), event("fused_kernel_time", 8)],
        *["no event", {"name": 3, "dur": 5}],
    )
    assert read_profile(path) == pytest.approx({"fc0": 12e-6, "fused": 4e-6})
    networks = with_profile(networks_of(perceptron(), {"data": (2, 5)}), path)
    (diagram,) = networks.values()
    seconds = {b.name: b.seconds for b in diagram.boxes}
    assert seconds["fc0"] == pytest.approx(12e-6)
    assert seconds["fc1"] == 0.0  # the runtime had it ready
    assert seconds["fc0_weight"] is None
    facts = dict(Facts(fold(diagram)).network())
    assert facts["Time"] == "12 µs"
    assert facts["Time of nodes that the runtime made"] == "4 µs"


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "no profile of ONNX Runtime with a run in it"),
        ([event("fc0_kernel_time", 3)], "there are 0 runs"),
        ([event("model_run", 3), event("other_kernel_time", 3)], "no node of the network has such"),
    ],
)
def test_a_profile_of_something_else(tmp_path, events, said):
    path = profile(tmp_path, *events)
    with pytest.raises(InvalidArgumentError, match=said):
        sb.viz.draw(perceptron(), tmp_path / "net.dot", profile=path)
    path.write_text("{")
    with pytest.raises(InvalidArgumentError, match="cannot read the profile"):
        sb.viz.draw(perceptron(), tmp_path / "net.dot", profile=path)
    assert not (tmp_path / "net.dot").exists()


def test_statistics():
    stats = statistics_of(np.array([[0.0, 1.0], [-1.0, 4.0], [np.nan, np.inf]], np.float32))
    assert (stats.mean, stats.std) == pytest.approx((1.0, np.std([0, 1, -1, 4])))
    assert (stats.least, stats.most, stats.zeros, stats.not_finite) == (-1.0, 4.0, 1, 2)
    assert sum(stats.counts) == 4
    assert (stats.counts[0], stats.counts[-1]) == (1, 1)
    assert statistics_of(np.full(5, 3.0)).counts == (5,)
    huge = statistics_of(np.array([-3e38, 3e38, 3e38], np.float32))
    assert np.isfinite([huge.mean, huge.std]).all()
    assert huge.counts[-1] == 2
    assert statistics_of(np.zeros(0)) is None
    assert statistics_of(np.full(3, np.nan)) is None
    assert statistics_of(np.array(["a"])) is None


def test_values_of_parameters_are_those_given():
    networks = networks_of(perceptron(), {"data": (2, 5)})
    weight = sb.nd.array(np.arange(40, dtype="f").reshape(8, 5))
    (diagram,) = with_values(networks, {"fc0_weight": weight, "stranger": weight}).values()
    boxes = {b.name: b for b in diagram.boxes}
    assert boxes["fc0_weight"].statistics.most == 39.0
    assert boxes["fc1_weight"].statistics is None
    facts = dict(Facts(fold(diagram)).box(boxes["fc0_weight"]))
    assert facts == {
        **{"Mean": "19.5", "Standard deviation": "11.54"},
        **{"Least, most": "0, 39", "Zeros": "1"},
    }
    with pytest.raises(
        InvalidArgumentError, match=r"'fc0_weight'\] has the shape \(5, 8\); .* 8.5"
    ):
        with_values(networks, {"fc0_weight": np.zeros((5, 8))})
    with pytest.raises(InvalidArgumentError, match="'wight', and none of them is a parameter"):
        with_values(networks, {"wight": np.zeros(3)})


def test_values_in_files_are_found_there(tmp_path):
    weight = onnx.numpy_helper.from_array(np.linspace(-1, 1, 6, dtype="f").reshape(3, 2), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", [4, 3]), ("y", [4, 2]))
    ]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [weight]))
    onnx.save(model, str(tmp_path / "inside.onnx"))
    onnx.save(
        model,
        str(tmp_path / "beside.onnx"),
        save_as_external_data=True,
        location="values.bin",
        size_threshold=0,
    )
    for name in ("inside", "beside"):
        (diagram,) = networks_of(tmp_path / f"{name}.onnx").values()
        (box,) = [b for b in diagram.boxes if b.name == "w"]
        assert (box.statistics.least, box.statistics.most) == (-1.0, 1.0)
    (tmp_path / "values.bin").unlink()
    (diagram,) = networks_of(tmp_path / "beside.onnx").values()
    assert all(b.statistics is None for b in diagram.boxes)  # it can be drawn all the same
