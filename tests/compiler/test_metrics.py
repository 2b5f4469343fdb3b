"""Metrics in the graph: which formulas there are, and which metrics are trusted to use them."""

import numpy as np
import onnx_ir as ir
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import Role, compile_inference
from symbucket.compiler.metrics import FORMULAS, emit_metrics
from symbucket.errors import UnsupportedError
from symbucket.ir import IR_VERSION, Builder, new_graph
from symbucket.metric import MSE, Accuracy, CrossEntropy, GraphMetric, Loss, Perplexity
from tests.ops.op_harness import Runner


def test_an_unknown_kind_names_those_that_exist():
    g = Builder(new_graph("metrics"))
    output = g.input("output", (2, 3), ir.DataType.FLOAT)
    with pytest.raises(
        UnsupportedError, match=r"known are sum, accuracy, nll\. Did you mean 'accu"
    ):
        emit_metrics(g, [GraphMetric("accuracies", "output")], {"output": output}, {})


def test_a_registered_formula_is_emitted(monkeypatch):
    def largest(metric, output, label):
        rows = output.op("ReduceMax", [1], keepdims=0)
        return rows.sum(0, keepdims=True), output.filled(float(output.shape[0]), (1,))

    monkeypatch.setitem(FORMULAS, "largest", largest)
    g = Builder(new_graph("metrics"))
    output = g.input("output", (2, 3), ir.DataType.FLOAT)
    sums = emit_metrics(g, [GraphMetric("largest", "output")], {"output": output}, {})
    assert list(sums) == ["metric/largest/output"]
    g.graph.outputs.extend(g.op("Identity", value) for value in sums["metric/largest/output"])
    model = ir.to_proto(ir.Model(g.graph, ir_version=IR_VERSION)).SerializeToString()
    total, count = (
        Runner(model).run({"output": np.arange(6, dtype=np.float32).reshape(2, 3)}).values()
    )
    np.testing.assert_array_equal(total, [7])
    np.testing.assert_array_equal(count, [2])


def test_metrics_of_the_library_describe_their_sums():
    kinds = {
        metric.name: metric.trusted_graph_metric()
        for metric in (Accuracy(), Perplexity(0), CrossEntropy(), Loss(), MSE())
    }
    assert kinds == {
        "accuracy": GraphMetric("accuracy"),
        "perplexity": GraphMetric("nll", ignore_label=0, floor=1e-10),
        "cross-entropy": GraphMetric("nll", eps=1e-12),
        "loss": GraphMetric("sum"),
        "mse": None,
    }
    assert Accuracy(ignore_label=0).trusted_graph_metric() is None


def test_a_subclass_that_changes_a_metric_has_to_describe_its_sum_again():
    class Renamed(Perplexity):
        def __init__(self):
            super().__init__(0, name="renamed")

    class Other(Perplexity):
        def _nll(self, picked):
            return 0.0

    class Described(Other):
        def graph_metric(self):
            return GraphMetric("sum")

    assert Renamed().trusted_graph_metric() == GraphMetric("nll", ignore_label=0, floor=1e-10)
    assert Other(0).trusted_graph_metric() is None
    assert Described(0).trusted_graph_metric() == GraphMetric("sum")


def test_sums_that_differ_have_their_own_outputs():
    """Perplexity and CrossEntropy guard log 0 in two ways; both may be asked of one output."""
    metrics = [
        GraphMetric("nll", "softmax_output", "softmax_label"),
        GraphMetric("nll", "softmax_output", "softmax_label", floor=1e-10),
        GraphMetric("nll", "softmax_output", "softmax_label", eps=1e-12),
        GraphMetric("nll", "softmax_output", "softmax_label", ignore_label=0),
        GraphMetric("nll", "softmax_output", "other"),
    ]
    assert len({metric.name for metric in metrics}) == len(metrics)
    label = sym.Variable("softmax_label")
    net = sym.SoftmaxOutput(sym.Variable("data"), label, name="softmax")
    shapes = {"data": (2, 3), "softmax_label": (2,)}
    program = compile_inference(net, shapes, fetch=(), metrics=metrics[:4])
    assert [p.of for p in program.outputs_of(Role.METRIC_TOTAL)] == [m.name for m in metrics[:4]]
    assert len(program.outputs) == 8


def test_a_module_measures_both_guards():
    label = sym.Variable("softmax_label")
    net = sym.SoftmaxOutput(sym.Variable("data"), label, name="softmax")
    module = sb.mod.Module(net)
    module.bind([("data", (2, 3))], [("softmax_label", (2,))], for_training=False)
    module.init_params()
    metric = sb.metric.CompositeEvalMetric([sb.metric.Perplexity(None), sb.metric.CrossEntropy()])
    data = np.array([[300.0, 0, 0], [0, 1, 0]], np.float32)  # the first label has probability 0
    labels = np.array([1, 1], np.float32)
    iterator = sb.io.NDArrayIter(data, labels, batch_size=2, label_name="softmax_label")
    module.score(iterator, metric)
    plain = sb.metric.CompositeEvalMetric([sb.metric.Perplexity(None), sb.metric.CrossEntropy()])
    exp = np.exp(data - data.max(1, keepdims=True))
    plain.update([labels], [exp / exp.sum(1, keepdims=True)])
    np.testing.assert_allclose(metric.get()[1], plain.get()[1], rtol=1e-5)
