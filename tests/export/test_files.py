"""``module.export``: what it writes, and what stock ONNX Runtime makes of it."""

import json
import os

import numpy as np
import onnx
import onnxruntime
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import BundleError, InvalidArgumentError, StateError
from symbucket.export import open_bundle
from symbucket.files import folders
from tests.export.bundles import bound, probabilities, sentences, trained
from tests.small_networks import bound_regression, bucketing, sentence_batch, shapes


def alone(path):
    """The session that anybody would make of a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def test_every_file_runs_by_itself(tmp_path):
    module = trained()
    manifest = module.export(tmp_path / "b")
    assert sorted(os.listdir(tmp_path / "b")) == [
        "key-4.onnx", "key-6.onnx", "key-9.onnx", "manifest.json", "parameters.bin",
    ]  # fmt: skip
    for network in manifest.networks:
        path = tmp_path / "b" / network.file
        onnx.checker.check_model(str(path), full_check=True)
        session = alone(path)
        assert [i.name for i in session.get_inputs()] == ["data"]
        (tokens,) = sentences([network.key])
        data = np.zeros((4, network.key), np.float32)
        data[0] = tokens
        (found,) = session.run(None, {"data": data})
        np.testing.assert_allclose(
            found.reshape(4, network.key, 10)[0],
            probabilities(module, tokens, network.key),
            rtol=1e-5,
        )


def test_models_are_readable_and_standard(original):
    graph = onnx.load(original / "key-6.onnx", load_external_data=False)
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 21)]
    assert {n.domain for n in graph.graph.node} == {""}
    assert all(n.name for n in graph.graph.node)
    assert [n.name for n in graph.graph.node if n.op_type == "LSTM"] == ["lstm_t0_i2h/LSTM"]
    shaped = {v.name for v in graph.graph.value_info if v.type.tensor_type.HasField("shape")}
    inner = {o for n in graph.graph.node for o in n.output} - {"softmax_output"}
    assert inner <= shaped
    meta = {p.key: p.value for p in graph.metadata_props}
    assert int(meta.pop("symbucket.arena")) > 0
    assert meta == {"symbucket.key": "6", "symbucket.mode": "inference"}


def test_all_files_refer_to_one_parameter_file(original):
    manifest = json.loads((original / "manifest.json").read_text())
    places = {t["name"]: t for t in manifest["parameters"]["tensors"]}
    assert set(places) == {
        "embed_weight", "lstm_i2h_weight", "lstm_i2h_bias", "lstm_h2h_weight", "lstm_h2h_bias",
        "pred_weight", "pred_bias",
    }  # fmt: skip
    assert all(t["offset"] % 64 == 0 for t in places.values())
    for network in manifest["networks"]:
        model = onnx.load(original / network["file"], load_external_data=False)
        external = {
            t.name: {e.key: e.value for e in t.external_data}
            for t in model.graph.initializer
            if t.external_data
        }
        assert set(external) == set(places)
        for name, fields in external.items():
            place = places[name]
            assert fields == {
                "location": "parameters.bin",
                "offset": str(place["offset"]),
                "length": str(place["length"]),
            }


def test_large_parameters_start_on_pages(tmp_path):
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=64, name="fc")
    manifest = bound(net, [("data", (2, 33))]).export(tmp_path / "b")
    places = {t.name: t for t in manifest.parameters.tensors}
    assert places["fc_weight"].offset % 4096 == 0
    assert places["fc_weight"].length == 64 * 33 * 4


def test_the_manifest_describes_the_axes(original):
    networks = json.loads((original / "manifest.json").read_text())["networks"]
    assert 0 < networks[2].pop("activations") < 10_000
    assert networks[2] | {"sha256": "", "bytes": 0} == {
        "key": 6,
        "file": "key-6.onnx",
        "bytes": 0,
        "sha256": "",
        "batch": 4,
        "free": [],
        "padding_matters": True,
        "inputs": [
            {
                "name": "data", "kind": "data", "dtype": "float32", "shape": [4, 6],
                "axes": ["batch", "key"], "padding": 0.0, "limits": [None, 10],
            }
        ],
        "outputs": [
            {
                "name": "softmax_output", "kind": "output", "dtype": "float32", "shape": [24, 10],
                "axes": ["batch*key", None],
            }
        ],
    }  # fmt: skip


def test_keys_may_be_chosen_and_the_default_is_the_modules(tmp_path):
    module = trained()
    manifest = module.export(tmp_path / "b", keys=[6, 9])
    assert [n.key for n in manifest.networks] == [6, 9]
    assert manifest.default_key == 9
    assert module.export(tmp_path / "c", keys=[4]).default_key == 4


def test_another_batch_size_and_padding(tmp_path):
    manifest = trained(rows=4).export(tmp_path / "b", batch_size=7, padding={"data": 3})
    assert {n.batch for n in manifest.networks} == {7}
    assert manifest.networks[0].inputs[0].shape == (7, 9)
    assert manifest.networks[0].inputs[0].padding == 3.0
    assert manifest.networks[0].outputs[0].axes == ("batch*key", None)


@pytest.mark.parametrize("loss", [True, False])
def test_training_graphs_give_what_the_module_gives(tmp_path, loss):
    """With head gradients too, which cut the step in two in the module itself."""
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")
    net = sym.BatchNorm(net, name="bn", fix_gamma=False)
    if loss:
        net = sym.LinearRegressionOutput(net, sym.Variable("label"), name="out")
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(5, n)).astype(np.float32) for n in (3, 2))
    labels = [("label", (5, 2))] if loss else None
    module = sb.mod.Module(net, ("data",), ("label",) if loss else ())
    module.bind([("data", (5, 3))], labels)
    module.init_params(sb.init.Uniform(0.5))
    manifest = module.export(tmp_path / "b", training=True)
    (network,) = manifest.networks
    path = tmp_path / "b" / network.file
    onnx.checker.check_model(str(path), full_check=True)

    batch = sb.io.DataBatch([x], [y] if loss else None, provide_data=[("data", (5, 3))],
                            provide_label=labels)  # fmt: skip
    module.forward(batch, is_train=True)
    module.backward(None if loss else [y])
    session = alone(path)
    given = {"data": x, ("label" if loss else "bn_output.head"): y}
    names = [o.name for o in session.get_outputs()]
    assert {i.name for i in session.get_inputs()} == set(given)
    found = dict(zip(names, session.run(None, given)))
    kinds = {t.name: t.kind for t in network.outputs}
    assert set(kinds.values()) == {"output", "gradient", "auxiliary state"}
    np.testing.assert_allclose(
        found["out_output" if loss else "bn_output"],
        module.get_outputs()[0].asnumpy(),
        rtol=1e-4,
        atol=1e-6,
    )
    for name, grad in module.gradients().items():
        np.testing.assert_allclose(
            found[f"{name}.grad"], grad.asnumpy(), rtol=1e-4, atol=1e-5, err_msg=name
        )
    new = module.auxiliary()["bn_moving_mean"].asnumpy()
    np.testing.assert_allclose(found["bn_moving_mean.new"], new, rtol=1e-4, atol=1e-6)


def test_a_training_bundle_of_language_models(tmp_path):
    module = trained(keys=(4, 6))
    manifest = module.export(tmp_path / "b", training=True)
    opened = open_bundle(tmp_path / "b")
    assert opened.manifest == manifest
    inputs = {t.name: t for t in manifest.networks[0].inputs}
    assert (inputs["softmax_label"].kind, inputs["softmax_label"].axes) == (
        "label", ("batch", "key"),
    )  # fmt: skip
    batch = sentence_batch(np.random.default_rng(1), 4, 4)
    module.forward_backward(batch)
    session = alone(tmp_path / "b" / "key-4.onnx")
    values = {"data": batch.data[0], "softmax_label": batch.label[0]}
    values = {n: v.astype(np.float32) for n, v in values.items()}
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, values)))
    for name, grad in module.gradients().items():
        np.testing.assert_allclose(
            found[f"{name}.grad"], grad.asnumpy(), rtol=1e-4, atol=1e-6, err_msg=name
        )


def test_a_module_without_keys(tmp_path):
    module = bound_regression()
    manifest = module.export(tmp_path / "b")
    assert [n.key for n in manifest.networks] == [None]
    with pytest.raises(InvalidArgumentError, match="one network and no bucket keys"):
        module.export(tmp_path / "c", keys=[3])


def test_keys_of_every_kind(tmp_path):
    keys = [3, (4, 5), "next word", ("nested", (1, "a")), True]

    def sym_gen(_):
        net = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")
        return net, ("data",), ()

    keys = keys[:4]
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=3)
    module.bind([("data", (2, 3))])
    module.init_params()
    for key in keys:
        module.switch_bucket(key, [("data", (2, 3))])
    module.export(tmp_path / "b")
    assert list(sb.Bundle(tmp_path / "b").networks) == keys


def test_an_export_replaces_an_older_one_whole(tmp_path):
    module = trained()
    module.export(tmp_path / "b")
    before = (tmp_path / "b" / "parameters.bin").read_bytes()
    module.init_params(sb.init.Uniform(0.9), force_init=True)
    module.export(tmp_path / "b", keys=[6])
    assert sorted(os.listdir(tmp_path / "b")) == ["key-6.onnx", "manifest.json", "parameters.bin"]
    assert (tmp_path / "b" / "parameters.bin").read_bytes() != before
    assert os.listdir(tmp_path) == ["b"]


def test_the_same_module_writes_the_same_bytes(tmp_path):
    module = trained(keys=(4,))
    for name in "ab":
        module.export(tmp_path / name)
    for file in os.listdir(tmp_path / "a"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_empty_folder_and_missing_parents_will_do(tmp_path):
    (tmp_path / "empty").mkdir()
    trained(keys=(4,)).export(tmp_path / "empty")
    trained(keys=(4,)).export(tmp_path / "new" / "deep")
    assert open_bundle(tmp_path / "new" / "deep").manifest.networks


def test_folders_that_are_no_bundles_are_left_alone(tmp_path):
    module = trained(keys=(4,))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match=r"exists and is not a bundle\. It is not overwritten"):
        module.export(tmp_path / "mine")
    with pytest.raises(BundleError, match="is a file; a bundle is a folder"):
        module.export(tmp_path / "file")
    module.export(tmp_path / "b")
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"'notes\.txt' in it does not belong to it"):
        module.export(tmp_path / "b")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "b" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("broken", ["check_model", "exchange", "rename"])
def test_a_failure_leaves_the_old_bundle(tmp_path, monkeypatch, broken):
    module = trained(keys=(4,))
    module.export(tmp_path / "b")
    before = {f: (tmp_path / "b" / f).read_bytes() for f in os.listdir(tmp_path / "b")}

    def fail(*args, **kwargs):
        raise OSError("no space left")

    if broken == "check_model":
        monkeypatch.setattr(onnx.checker, "check_model", fail)
    elif broken == "exchange":
        monkeypatch.setattr(folders, "_exchange", fail)
    else:  # as on systems that cannot exchange folders
        monkeypatch.setattr(folders, "_exchange", lambda *paths: False)
        rename = type(tmp_path).rename

        def second(path, target):
            if path.name.endswith(".new"):
                raise OSError("no space left")
            return rename(path, target)

        monkeypatch.setattr(type(tmp_path), "rename", second)
    with pytest.raises(sb.SymbucketError, match="no space left"):
        module.export(tmp_path / "b")
    monkeypatch.undo()
    assert {f: (tmp_path / "b" / f).read_bytes() for f in os.listdir(tmp_path / "b")} == before
    assert os.listdir(tmp_path) == ["b"]


def test_mistakes_are_told_before_anything_is_written(tmp_path):
    module = trained()
    with pytest.raises(InvalidArgumentError, match=r"bucket key 5 is not bound; bound are 9, 4, 6"):
        module.export(tmp_path / "b", keys=[4, 5])
    with pytest.raises(InvalidArgumentError, match="keys is empty"):
        module.export(tmp_path / "b", keys=[])
    with pytest.raises(InvalidArgumentError, match="padding names 'dada', but the inputs are data"):
        module.export(tmp_path / "b", padding={"dada": 1})
    with pytest.raises(InvalidArgumentError, match="is no value of float32"):
        module.export(tmp_path / "b", padding={"data": float("nan")})
    with pytest.raises(InvalidArgumentError, match="batch_size=0 must be an integer of 1"):
        module.export(tmp_path / "b", batch_size=0)
    unnamed = bound(sym.exp(sym.Variable("data")), [("data", (2, 3))], key=frozenset([1]))
    with pytest.raises(InvalidArgumentError, match="cannot be written to a manifest"):
        unnamed.export(tmp_path / "b")
    with pytest.raises(StateError, match="call bind"):
        sb.mod.Module(sym.exp(sym.Variable("data")), ("data",), ()).export(tmp_path / "b")
    fresh = sb.mod.Module(sym.exp(sym.Variable("data")), ("data",), ())
    fresh.bind([("data", (2, 3))])
    with pytest.raises(StateError, match="init_params"):
        fresh.export(tmp_path / "b")
    assert os.listdir(tmp_path) == []


def test_progress_is_told(tmp_path):
    heard = []
    trained(keys=(4, 6)).export(tmp_path / "b", progress=lambda *said: heard.append(said))
    assert ("compiling key 4", 1, 2) in heard or ("compiling key 4", 0, 2) in heard
    assert ("writing key-6.onnx", 0, 2) in heard
    assert heard[-1] == ("done", 2, 2)


def test_exporting_does_not_disturb_training(tmp_path):
    def run(export):
        sb.random.seed(0)
        module = bucketing(default=6, rows=3)
        rng = np.random.default_rng(3)
        for length in (6, 4, 6, 4):
            module.forward_backward(sentence_batch(rng, length))
            if export:
                module.export(tmp_path / "b")
                module.export(tmp_path / "t", training=True)
            module.update()
        return {n: a.asnumpy() for n, a in module.get_params()[0].items()}, module.bucket_key

    plain, exported = run(False), run(True)
    assert plain[1] == exported[1]
    for name, values in plain[0].items():
        np.testing.assert_array_equal(values, exported[0][name])


def test_shapes_are_those_of_the_first_batch(tmp_path):
    module = bucketing(default=6, rows=3)
    rng = np.random.default_rng(3)
    module.forward(sentence_batch(rng, 6, rows=2), is_train=False)  # a smaller last batch
    manifest = module.export(tmp_path / "b")
    assert manifest.networks[0].inputs[0].shape == (3, 6)
    assert shapes(6)[0] == [("data", (3, 6))]


def test_other_files_go_with_the_networks(tmp_path):
    module = trained(keys=(4,))
    module.export(tmp_path / "b", attach={"words.txt": b"the dog"})
    assert (tmp_path / "b" / "words.txt").read_bytes() == b"the dog"
    assert sb.Bundle(tmp_path / "b").attachments == {"words.txt": b"the dog"}
    (tmp_path / "b" / "words.txt").write_bytes(b"the cat")
    with pytest.raises(BundleError, match=r"words\.txt' is damaged"):
        sb.Bundle(tmp_path / "b")
    module.export(tmp_path / "b")  # which they belong to, so they go with it
    assert not (tmp_path / "b" / "words.txt").exists()
    for name in ("../x", "manifest.json", "Key-4.ONNX", ""):
        with pytest.raises(InvalidArgumentError, match="cannot be the name of an attachment"):
            module.export(tmp_path / "c", attach={name: b""})
    for content in (3, "text", [1, 2]):  # bytes(3) would be three zeros
        with pytest.raises(InvalidArgumentError, match="expected the bytes of a file"):
            module.export(tmp_path / "c", attach={"n.bin": content})
