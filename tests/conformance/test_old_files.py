"""Symbol files of MXNet before 1.0; what is expected is what MXNet 1.9.1 makes of them."""

import json

import numpy as np
import pytest

from symbucket import sym
from symbucket.errors import InvalidArgumentError


def record(op, name, *inputs, param=None, attr=None):
    entries = [[node, 0] for node in inputs]
    return {"op": op, "name": name, "inputs": entries, "param": param or {}, "attr": attr or {}}


OLD = [
    record("null", "data"),
    record("null", "fc_weight", attr={"lr_mult": "0.5"}),
    record("null", "fc_bias"),
    record(
        "FullyConnected",
        "fc",
        *(0, 1, 2),
        param={"no_bias": "False", "num_hidden": "3"},
        attr={"ctx_group": "dev1", "bias_lr_mult": "2.0", "weight_wd_mult": "0.0"},
    ),
    record("null", "bn_gamma"),
    record("null", "bn_beta"),
    record("BatchNorm", "bn", 3, 4, 5, param={"eps": "0.001", "fix_gamma": "True"}),
    record("_MulScalar", "m", 6, param={"scalar": "2.0"}),
    record("_RMinusScalar", "r", 7, param={"scalar": "1.0"}),
    record("_Plus", "p", 8, 6),
    record("argmax", "a", 9, param={"axis": "-1"}),
]


def loaded(nodes=OLD, heads=((9, 0), (10, 0)), **attrs):
    text = json.dumps({"nodes": nodes, "heads": [list(h) for h in heads], "attrs": attrs})
    return sym.load_json(text)


def test_a_file_of_version_0_8():
    net = loaded()
    assert net.list_arguments() == ["data", "fc_weight", "fc_bias", "bn_gamma", "bn_beta"]
    assert net.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    assert net.list_outputs() == ["p_output", "a_output"]
    hidden = {
        name: {k: v for k, v in attrs.items() if k.startswith("__")}
        for name, attrs in net.attr_dict().items()
    }
    assert {name: attrs for name, attrs in hidden.items() if attrs} == {
        "fc": {"__ctx_group__": "dev1"},
        "fc_bias": {"__lr_mult__": "2.0"},
        "fc_weight": {"__lr_mult__": "0.5", "__wd_mult__": "0.0"},
    }
    arguments, outputs, states = net.infer_shape(data=(4, 5))
    assert arguments == [(4, 5), (3, 5), (3,), (3,), (3,)]
    assert outputs == [(4, 3), (1,)]  # argmax over everything
    assert states == [(3,), (3,)]
    assert sym.load_json(net.tojson()).tojson() == net.tojson()


def test_later_files_mean_what_they_say():
    with pytest.raises(InvalidArgumentError, match=r"node 6 \('bn'\): BatchNorm takes 5 inputs"):
        loaded(mxnet_version=["int", 900])
    nodes = [record("null", "x"), record("argmax", "a", 0, param={"axis": "-1"})]
    for version, shape in ((904, (1,)), (905, (2,)), (10901, (2,))):
        net = loaded(nodes, [(1, 0)], mxnet_version=["int", version])
        assert net.infer_shape(x=(2, 3))[1] == [shape]


def test_attributes_that_mxnet_requires_are_written():
    cut = sym.slice_axis(sym.Variable("x"), axis=0, begin=1, end=None)
    assert json.loads(cut.tojson())["nodes"][1]["attrs"]["end"] == "None"
    assert json.loads(sym.full((2,), 0).tojson())["nodes"][0]["attrs"]["value"] == "0.0"
    assert json.loads(sym.arange(0, 3).tojson())["nodes"][0]["attrs"]["start"] == "0.0"
    x, y = sym.Variable("x"), sym.Variable("y")
    for net, attrs in (
        (sym.UpSampling(x, scale=2, sample_type="nearest"), {"num_args": "1"}),
        (sym.Concat(x, y), {"num_args": "2"}),
        (sym.split_v2(x, 2), {"indices": "()", "sections": "2"}),
        (sym.amp_multicast(x, y, num_outputs=2), {"num_outputs": "2"}),
        (sym.multi_all_finite(x, y), {"num_arrays": "2"}),
    ):
        written = json.loads(net.tojson())["nodes"][-1]["attrs"]
        assert written.items() >= attrs.items()
        assert "num_args" in attrs or "num_args" not in written
        again = sym.load_json(net.tojson())
        assert again.tojson() == net.tojson()
        assert again.digest() == net.digest()
    variable = sym.Variable("x", dtype="float16")
    assert json.loads(variable.tojson())["nodes"][0]["attrs"] == {"__dtype__": "2"}
    assert sym.load_json(variable.tojson()).infer_type()[0] == [np.float16]
    assert sym.Variable("x", dtype="uint16").attr("__dtype__") == "uint16"  # MXNet has none


def test_the_digest_is_that_of_what_is_computed():
    def net(act="tanh", **kwargs):
        x = sym.FullyConnected(sym.Variable("x"), num_hidden=2, name="fc")
        return sym.Activation(x + 1, act_type=act, **kwargs)

    digest = net().digest()
    assert net().digest() == digest  # automatic names differ
    assert net(name="y", lr_mult=2).digest() == digest
    assert sym.load_json(net().tojson()).digest() == digest
    assert net("relu").digest() != digest
    assert sym.Activation(net(), act_type="tanh").digest() != digest


def test_the_digest_sees_what_loops_do():
    def net(step):
        data, state = sym.Variable("x"), sym.Variable("h")
        outputs, states = sym.contrib.foreach(step, data, state)
        return sym.Group([outputs, states])

    digest = net(lambda x, h: (x - h, x - h)).digest()
    assert net(lambda x, h: (x - h, x - h)).digest() == digest
    assert net(lambda x, h: (h - x, h - x)).digest() != digest
    assert net(lambda x, h: (x + h, x + h)).digest() != digest
