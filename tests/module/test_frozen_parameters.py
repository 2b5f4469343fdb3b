"""Parameters that must not move: lr_mult and wd_mult in every spelling, gamma under fix_gamma."""

from __future__ import annotations

import json

import numpy as np
import pytest

import symbucket as sb


def frozen_weights():
    """Networks whose weight has the learning rate 0, each said in another way."""

    def net(weight=None, **keywords):
        data = sb.sym.Variable("data")
        inputs = {} if weight is None else {"weight": weight}
        dense = sb.sym.FullyConnected(
            data, num_hidden=2, no_bias=True, name="fc", **inputs, **keywords
        )
        return sb.sym.SoftmaxOutput(dense, name="softmax")

    with sb.AttrScope(lr_mult="0"):
        yield "scope around a variable", net(sb.sym.Variable("fc_weight"))
    with sb.AttrScope(__lr_mult__="0"):
        yield "scope around an operator", net()
    yield "attr of a variable", net(sb.sym.Variable("fc_weight", attr={"lr_mult": "0"}))
    yield "argument of a variable", net(sb.sym.Variable("fc_weight", lr_mult=0))
    yield "keyword of an operator", net(lr_mult=0)
    yield "attr of an operator", net(attr={"lr_mult": "0"})
    yield "attr of an operator's weight", net(attr={"weight_lr_mult": "0"})
    graph = json.loads(net().tojson())
    for node in graph["nodes"]:
        if node["name"] == "fc_weight":
            node["attr"] = {"lr_mult": "0"}
            node.pop("attrs", None)
    yield "old symbol file", sb.sym.load_json(json.dumps(graph))


NETWORKS = dict(frozen_weights())


@pytest.mark.parametrize("how", NETWORKS)
def test_a_frozen_weight_stays(how):
    net = NETWORKS[how]
    module = sb.mod.Module(net)
    module.bind([("data", (1, 2))], [("softmax_label", (1,))])
    module.set_params({"fc_weight": np.ones((2, 2))}, {})
    module.init_optimizer(optimizer_params={"learning_rate": 1.0})
    module.forward_backward(sb.io.DataBatch([np.ones((1, 2))], [np.zeros(1)]))
    module.update()
    assert (module.get_params()[0]["fc_weight"].asnumpy() == 1).all()


def test_attributes_are_read_under_both_names():
    variable = sb.sym.Variable("w", lr_mult=0.5, attr={"ctx_group": "dev1", "mood": "so-so"})
    assert variable.attr("lr_mult") == variable.attr("__lr_mult__") == "0.5"
    assert variable.list_attr()["__ctx_group__"] == "dev1"
    assert variable.attr("mood") == "so-so"
    assert variable.attr("absent") is None


@pytest.mark.parametrize("given", [None, 3.0])
def test_gamma_is_one_under_fix_gamma(given):
    def net(fix_gamma):
        scaled = sb.sym.BatchNorm(sb.sym.Variable("data"), fix_gamma=fix_gamma, name="bn")
        dense = sb.sym.FullyConnected(scaled, num_hidden=2, name="fc")
        return sb.sym.SoftmaxOutput(dense, name="softmax")

    rng = np.random.default_rng(0)
    batch = sb.io.DataBatch([rng.normal(size=(8, 3))], [rng.integers(0, 2, 8)])
    module = sb.mod.Module(net(True))
    module.bind([("data", (8, 3))], [("softmax_label", (8,))])
    arg_params = None if given is None else {"bn_gamma": np.full(3, given)}
    module.init_params(sb.init.Xavier(), arg_params=arg_params, allow_missing=True)
    module.init_optimizer(optimizer_params={"learning_rate": 0.1, "wd": 0.5})
    for _ in range(10):
        module.forward_backward(batch)
        module.update()
    parameters = module.get_params()
    assert (parameters[0]["bn_gamma"].asnumpy() == 1).all()
    module.forward(batch, is_train=False)
    expected = module.get_outputs()[0].asnumpy()
    other = sb.mod.Module(net(False))
    other.bind([("data", (8, 3))], [("softmax_label", (8,))], for_training=False)
    other.set_params(*parameters)
    other.forward(batch, is_train=False)
    np.testing.assert_allclose(other.get_outputs()[0].asnumpy(), expected, rtol=1e-5)


def test_layers_without_names_are_the_same_for_all_keys():
    def sym_gen(key):
        rows = sb.sym.sum(sb.sym.Variable("data"), axis=1, keepdims=True)
        dense = sb.sym.FullyConnected(rows, num_hidden=2)
        return sb.sym.SoftmaxOutput(dense, sb.sym.Variable("label")), ["data"], ["label"]

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=6)
    module.bind([("data", (4, 6))], [("label", (4,))])
    module.init_params()
    module.switch_bucket(3, [("data", (4, 3))], [("label", (4,))])
    assert sorted(module.get_params()[0]) == ["fullyconnected0_bias", "fullyconnected0_weight"]


@pytest.mark.parametrize("contexts", [1, 2])
def test_outputs_by_context(contexts):
    module = sb.mod.Module(
        sb.sym.Variable("data") * 2,
        label_names=None,
        context=[sb.cpu(i) for i in range(contexts)],
    )
    module.bind([("data", (4, 2))], for_training=False)
    module.init_params()
    data = np.arange(8).reshape(4, 2)
    module.forward(sb.io.DataBatch([data]), is_train=False)
    (parts,) = module.get_outputs(merge_multi_context=False)
    assert [part.shape for part in parts] == [(4 // contexts, 2)] * contexts
    assert np.concatenate([p.asnumpy() for p in parts]).tolist() == (2 * data).tolist()
