"""The packages and names of MXNet that scripts import."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import symbucket as sb
from symbucket import errors

PACKAGES = """
    base callback context executor gluon image initializer io kvstore log lr_scheduler metric misc
    model module monitor ndarray operator optimizer random recordio rnn symbol test_utils
    visualization
"""
SHORT = {
    "sym": "symbol",
    "nd": "ndarray",
    "mod": "module",
    "init": "initializer",
    "mon": "monitor",
    "viz": "visualization",
    "kv": "kvstore",
    "rnd": "random",
}


@pytest.mark.parametrize("name", PACKAGES.split())
def test_package_can_be_imported(name):
    package = importlib.import_module(f"symbucket.{name}")
    assert getattr(sb, name) is package
    assert package.__all__
    assert package.__doc__


@pytest.mark.parametrize("short", SHORT)
def test_short_form_is_the_same_package(short):
    assert getattr(sb, short) is importlib.import_module(f"symbucket.{SHORT[short]}")


def test_every_error_is_caught_as_in_mxnet():
    assert sb.MXNetError is sb.base.MXNetError is sb.SymbucketError
    assert issubclass(sb.MXNetError, RuntimeError)
    with pytest.raises(sb.base.MXNetError, match="no initializer is registered"):
        sb.init.create("no such thing")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(kinds) > 10
    assert all(issubclass(kind, sb.MXNetError) for kind in kinds)


def test_operators_are_described():
    names = sb.operator.get_all_registered_operators()
    assert "FullyConnected" in names
    described = sb.operator.get_operator_arguments("FullyConnected")
    assert described.names[:4] == ["data", "weight", "bias", "num_hidden"]
    assert described.types[:4] == ["NDArray-or-Symbol"] * 3 + ["int, required"]
    activation = sb.operator.get_operator_arguments("Activation")
    assert activation.names == ["data", "act_type"]
    assert activation.types[1] == ("{'relu', 'sigmoid', 'softrelu', 'softsign', 'tanh'}, required")
    assert described.narg == len(described.names) == len(described.types)
    for name in names:
        if name != "_onnx_graph":  # its inputs are those of the graph that it holds
            assert sb.operator.get_operator_arguments(name).narg >= 1
    with pytest.raises(sb.MXNetError, match="Did you mean 'FullyConnected'"):
        sb.operator.get_operator_arguments("FullyConected")


def test_operators_under_their_full_names():
    x = sb.sym.Variable("x")
    assert sb.sym._internal._copy(x).infer_shape(x=(2,))[1] == [(2,)]
    assert sb.sym.op.relu(x).eval(x=sb.nd.array([-1.0, 2.0]))[0].asnumpy().tolist() == [0.0, 2.0]
    a = sb.nd.zeros((2, 3))
    sb.nd._internal._crop_assign_scalar(a, scalar=5, begin=(0, 0), end=(2, 2), out=a)
    assert a.asnumpy().tolist() == [[5.0, 5.0, 0.0]] * 2
    sb.nd._internal._crop_assign(a, sb.nd.ones((1, 3)), begin=(1, 0), end=(2, 3), out=a)
    assert sb.nd.op.sum(a).asscalar() == 13.0
    for namespace in (sb.sym._internal, sb.nd.op):
        assert "_slice_assign" in dir(namespace)
        with pytest.raises(AttributeError, match="has no operator"):
            namespace._none_such


def test_a_symbol_has_no_truth_value():
    with pytest.raises(sb.base.NotImplementedForSymbol) as caught:
        bool(sb.sym.Variable("x"))
    assert isinstance(caught.value, (sb.MXNetError, TypeError))
    assert sb.base.py_str(b"fc_output") == sb.base.py_str("fc_output") == "fc_output"
    assert sb.base.mx_real_t is np.float32


def test_open_scopes_are_properties_of_their_classes():
    with sb.AttrScope(ctx_group="g"), sb.name.Prefix("net_") as prefix:
        assert sb.name.NameManager.current is prefix
        assert sb.name.NameManager.current.get(None, "fc") == "net_fc0"
        assert sb.AttrScope.current.get(attr={"lr_mult": "2"}) == {
            "__ctx_group__": "g",
            "__lr_mult__": "2",
        }
    assert sb.AttrScope.current.get(None) == {}


def test_arguments_by_position_are_in_mxnets_order():
    def off(label, pred):
        return float(abs(label - pred).sum())

    extra = sb.metric.CustomMetric(off, "off", True)
    extra.update([sb.nd.zeros((2,))], [sb.nd.ones((2,)), sb.nd.ones((2,))])
    assert extra.get() == ("off", 2.0)
    x = sb.nd.array([[3.0, 4.0]])
    assert sb.nd.norm(x, 2, 1, None, True).shape == (1, 1)
    y = sb.nd.LRN(sb.nd.ones((1, 1, 1, 1)), 1.0, 1.0, 1.0, 1)
    assert y.asnumpy().item() == 0.5
    z = sb.nd.Pooling(sb.nd.ones((1, 1, 4, 4)), (2, 2), "max", False, True, "valid", (2, 2))
    assert z.shape == (1, 1, 2, 2)
    scores = sb.nd.array([[[0.5, 0.6], [0.1, 0.2]]])
    assert sb.nd.contrib.bipartite_matching(scores, False, 0.01)[0].asnumpy().tolist() == [[1, 0]]


def test_sentences_lie_along_the_major_axis():
    for layout, axis in (("NT", 0), ("TN", 1)):
        batches = sb.rnn.BucketSentenceIter([[1, 2]] * 2, 2, [2], layout=layout)
        assert batches.major_axis == axis


def test_layouts_of_array_iterators():
    rows = sb.io.NDArrayIter(np.zeros((4, 3, 2)), np.zeros(4), 2, layout="NTC")
    assert rows.provide_data[0].layout == "NTC"
    with pytest.raises(sb.MXNetError, match="layout='TNC' does not begin with N"):
        sb.io.NDArrayIter(np.zeros((4, 3, 2)), None, 2, layout="TNC")


def test_stores_take_what_mxnets_scripts_ask_of_them():
    store = sb.kv.create("device")
    store.set_gradient_compression({"type": "2bit", "threshold": 0.5})
    assert store.is_capable("optimizer")
    with pytest.raises(sb.MXNetError, match="compression type"):
        store.set_gradient_compression({"type": "3bit"})
    with pytest.raises(sb.MXNetError, match=r"no sparse arrays.*nd\.take"):
        store.row_sparse_pull("w", out=sb.nd.zeros(2), row_ids=sb.nd.zeros(1))
