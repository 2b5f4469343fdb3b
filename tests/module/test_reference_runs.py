"""The four recorded training runs of MXNet's BucketingModule, step by step."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym

DATA = Path(__file__).parent.parent / "data"
RUNS = {row["case"]: row for row in json.loads((DATA / "runs.json").read_text())["runs"]}


def _generator(run, width):
    """``sym_gen`` of a recorded run; ``width(name)`` is the second dimension of a parameter."""

    def generate(length):
        data, label = sym.Variable("data"), sym.Variable("softmax_label")
        x = sym.Embedding(
            data, input_dim=run["vocab"], output_dim=width("embed_weight"), name="embed"
        )
        cells = sb.rnn.SequentialRNNCell()
        for name in run["args"]:
            if name.endswith("i2h_weight"):
                prefix = name.removesuffix("i2h_weight")
                make = sb.rnn.GRUCell if prefix.startswith("gru") else sb.rnn.LSTMCell
                cells.add(make(width(f"{prefix}h2h_weight"), prefix=prefix))
        out, _ = cells.unroll(length, x, layout="NTC", merge_outputs=True)
        out = sym.Reshape(out, shape=(-1, width("pred_weight")))
        if "bn_gamma" in run["args"]:
            out = sym.BatchNorm(out, name="bn", fix_gamma=False)
        scores = sym.FullyConnected(out, num_hidden=run["vocab"], name="pred")
        valid = {} if run["case"] == "gru_null" else {"normalization": "valid"}
        flat = sym.Reshape(label, shape=(-1,))
        net = sym.SoftmaxOutput(
            scores, flat, name="softmax", use_ignore=True, ignore_label=0, **valid
        )
        return net, ("data",), ("softmax_label",)

    return generate


def _loss(prob, label):
    flat = label.reshape(-1).astype(int)
    return -np.log(prob[np.arange(flat.size), flat][flat > 0]).mean()


@pytest.mark.parametrize("case", RUNS)
def test_recorded_run(case):
    run = RUNS[case]
    with np.load(DATA / "runs.npz") as arrays:
        recorded = {k.split("/", 2)[2]: arrays[k] for k in arrays.files if f"/{case}/" in k}
    init, final, aux_init, aux_final = (
        {k.partition("/")[2]: v for k, v in recorded.items() if k.startswith(f"{kind}/")}
        for kind in ("init", "final", "aux_init", "aux_final")
    )
    generated = []
    generate = _generator(run, lambda name: init[name].shape[1])

    def counted(key):
        generated.append(key)
        return generate(key)

    longest = max(run["buckets"])
    shape = (run["batch"], longest)
    module = sb.mod.BucketingModule(counted, default_bucket_key=longest)
    module.bind([("data", shape)], [("softmax_label", shape)])
    assert module.symbol.list_arguments() == run["args"]
    module.init_params(arg_params=init, aux_params=aux_init)
    module.init_optimizer(optimizer=run["optimizer"], optimizer_params=run["optimizer_params"])
    for step, key in enumerate(run["keys"]):
        data, label = recorded[f"data/{step}"], recorded[f"label/{step}"]
        batch = sb.io.DataBatch(
            [data],
            [label],
            bucket_key=key,
            provide_data=[("data", data.shape)],
            provide_label=[("softmax_label", label.shape)],
        )
        module.forward(batch, is_train=True)
        loss = _loss(module.get_outputs()[0].asnumpy(), label)
        np.testing.assert_allclose(loss, recorded["loss"][step], rtol=1e-4, err_msg=f"step {step}")
        module.backward()
        module.update()
    arguments, auxiliary = module.get_params()
    assert arguments.keys() == final.keys()
    assert auxiliary.keys() == aux_final.keys()
    for name, array in {**arguments, **auxiliary}.items():
        wanted = {**final, **aux_final}[name]
        error = np.abs(array.asnumpy() - wanted).max() / np.abs(wanted).max()
        assert error < 1e-3, f"{name}: {error}"
    # One symbol and one training model a key, over all batches.
    assert sorted(generated) == sorted(run["buckets"])
    assert module.builds() == {key: Counter(training=1) for key in run["buckets"]}
    assert module.updater.builds == 1
