"""Damaged and hostile bundles are refused with the reason; nothing of them is run.

Long, because it is one list of damages to one bundle.
"""

import json
import os

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symbucket as sb
from symbucket.errors import BundleError
from symbucket.export import Manifest
from symbucket.export import manifest as manifests
from symbucket.export.spec import MAX_TENSOR_BYTES
from symbucket.export.verify import open_bundle
from symbucket.runtime import Session
from symbucket.runtime.serving_session import ServingSession
from tests.export.bundles import edit


@pytest.fixture(autouse=True)
def _no_session(monkeypatch):
    def forbidden(*args):
        raise AssertionError("a session was made")

    monkeypatch.setattr(Session, "__init__", forbidden)
    monkeypatch.setattr(ServingSession, "__init__", forbidden)


def refused(folder, message):
    with pytest.raises(BundleError, match=message) as caught:
        sb.Bundle(folder)
    assert "\n" not in str(caught.value)


# Files ----------------------------------------------------------------------------------------


def test_no_folder(tmp_path):
    refused(tmp_path / "nowhere", "nowhere' does not exist; a bundle is a folder")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "file' is not a folder")
    refused(tmp_path, r"lacks the file 'manifest.json'")


@pytest.mark.parametrize("name", ["parameters.bin", "key-6.onnx"])
def test_missing_and_damaged_files(folder, name):
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    refused(folder, rf"{name}' has {len(content) - 1} bytes, the manifest says {len(content)}")
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(folder, rf"{name}' is damaged: its SHA-256 is [0-9a-f]{{64}}, the manifest says")
    path.unlink()
    refused(folder, rf"lacks the file '{name}'")
    path.mkdir()
    refused(folder, rf"{name}' is not a plain file")


@pytest.mark.parametrize("name", ["parameters.bin", "key-6.onnx", "manifest.json"])
def test_links(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    refused(folder, f"{name}' is a symbolic link; a bundle's files lie in its folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(folder):
    (folder / "key-6.onnx").unlink()
    os.mkfifo(folder / "key-6.onnx")
    refused(folder, "key-6.onnx' is not a plain file")


def test_a_huge_manifest(folder, monkeypatch):
    monkeypatch.setattr(manifests, "MAX_BYTES", 100)
    refused(folder, "bytes; a manifest is far smaller")


# The manifest ---------------------------------------------------------------------------------


def first(document):
    return document["networks"][0]


CHANGES = {
    "format": (lambda d: d.update(format="zip"), "is not the manifest of a bundle"),
    "version": (lambda d: d.update(version=1), "version 1 of the format is unknown; this"),
    "version true": (lambda d: d.update(version=True), "version True of the format is unknown"),
    "forged place": (
        lambda d: d["parameters"]["tensors"][0].update(name="x - at `$.mode[7].y", length=4),
        "length is 4; expected 160",
    ),
    "line break": (lambda d: d.update({"a\nb": 1}), "contains unknown field `a.b`"),
    "extra field": (lambda d: d.update(hook="rm"), "contains unknown field `hook`"),
    "missing field": (lambda d: d.pop("networks"), "missing required field `networks`"),
    "mode": (lambda d: d.update(mode="fast"), "mode is 'fast'; expected 'inference' or 'training'"),
    "no networks": (lambda d: d.update(networks=[]), r"s is \[\]; expected `array` of length >= 1"),
    "networks": (lambda d: d.update(networks={}), "networks is {}; expected `array`, got `object`"),
    "default key": (lambda d: d.update(default_key=5), "default_key is 5; expected the key of one"),
    "key twice": (lambda d: d["networks"].append(first(d)), "the key 9 is there twice"),
    "key": (lambda d: first(d).update(key={}), "key is {}; expected a bucket key"),
    "parent": (
        lambda d: first(d).update(file="../secret.onnx"),
        r"file is '../secret.onnx'; expected a file name without folders",
    ),
    "absolute": (lambda d: first(d).update(file="/etc/passwd"), "expected a file name without"),
    "backslash": (lambda d: first(d).update(file="a\\b"), "expected a file name without folders"),
    "dots": (lambda d: first(d).update(file=".."), "expected a file name without folders"),
    "parameter file": (
        lambda d: d["parameters"].update(file="../parameters.bin"), "expected a file name without",
    ),
    "one file twice": (
        lambda d: first(d).update(file="key-4.onnx"), "the file 'key-4.onnx' is there twice",
    ),
    "free": (lambda d: first(d).update(free=["key"]), r"free is \['key'\]; expected \[\], "),
    "free word": (lambda d: first(d).update(free=["all"]), "expected 'batch' or 'key'"),
    "shared file of two sizes": (
        lambda d: (
            first(d).update(file="key-4.onnx", free=["batch", "key"]),
            d["networks"][1].update(free=["batch", "key"]),
        ),
        "the file 'key-4.onnx' has two sizes or checksums|is there twice",
    ),
    "the manifest itself": (lambda d: first(d).update(file="manifest.json"), "is there twice"),
    "checksum": (lambda d: first(d).update(sha256="0" * 63), "expected 64 hexadecimal digits"),
    "size": (lambda d: first(d).update(bytes=-1), "is -1; expected `int` >= 0"),
    "batch": (lambda d: first(d).update(batch=0), "batch is 0; expected `int` >= 1"),
    "other batch": (
        lambda d: first(d).update(batch=5), "axis 0 has size 4, but batch is 5 for key 9",
    ),
    "no outputs": (lambda d: first(d).update(outputs=[]), "expected `array` of length >= 1"),
    "dtype": (
        lambda d: first(d)["inputs"][0].update(dtype="object"), "dtype is 'object'; expected",
    ),
    "negative shape": (
        lambda d: first(d)["inputs"][0].update(shape=[4, -9]), "is -9; expected `int` >= 0",
    ),
    "shape of floats": (
        lambda d: first(d)["inputs"][0].update(shape=[4.0, 9]), "is 4.0; expected `int`",
    ),
    "absurd shape": (
        lambda d: first(d)["inputs"][0].update(shape=[2**30, 2**30]), "expected a shape of at most",
    ),
    "absurd dimension": (
        lambda d: first(d)["inputs"][0].update(shape=[4, 10**18]), "expected `int` <= 2147483648",
    ),
    "axes": (
        lambda d: first(d)["inputs"][0].update(axes=["batch"]), "an entry for each of the 2 axes",
    ),
    "unknown axis": (
        lambda d: first(d)["inputs"][0].update(axes=["batch", "time"]), "axis 1 is 'time', which",
    ),
    "axis of a tuple": (
        lambda d: first(d)["inputs"][0].update(axes=["batch", "key[0]"]), "axis 1 is 'key.0.', wh",
    ),
    "product in an input": (
        lambda d: first(d)["inputs"][0].update(axes=["batch*1", "key"]), "axis 0 is 'batch.1'",
    ),
    "two batches": (
        lambda d: first(d)["outputs"][0].update(axes=["batch*key", "batch"]), "two batch axes",
    ),
    "wrong product": (
        lambda d: first(d)["outputs"][0].update(axes=["batch*9*9", None]), "has size 36, but batch",
    ),
    "padding": (
        lambda d: first(d)["inputs"][0].update(padding="0"), "padding is '0'; expected `float`",
    ),
    "limits": (
        lambda d: first(d)["inputs"][0].update(limits=[1]), r"limits is \[1\]; expected `array`",
    ),
    "offset": (
        lambda d: d["parameters"]["tensors"][0].update(offset=10**6), "a place inside the param",
    ),
    "odd offset": (
        lambda d: d["parameters"]["tensors"][-1].update(offset=1473, shape=[9], length=36),
        "a multiple of 4",
    ),
    "length": (
        lambda d: d["parameters"]["tensors"][0].update(length=4), r"the bytes of shape \[10, 4\]",
    ),
    "overlap": (
        lambda d: d["parameters"]["tensors"][1].update(offset=64), "overlaps the tensor before it",
    ),
    "tensor twice": (
        lambda d: d["parameters"]["tensors"][1].update(name="embed_weight"), "is there twice",
    ),
    "empty name": (
        lambda d: d["parameters"]["tensors"][1].update(name=""), "name is ''; expected `str` of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_manifests_that_lie(folder, name):
    change, message = CHANGES[name]
    edit(folder, change)
    refused(folder, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 2', '"version": 2, "version": 2', "an object has 'version' twice"),
        ('"version": 2', '"version": NaN', "NaN is not JSON"),
        ('"version": 2', f'"version": {"9" * 5000}', "a number of 5000 digits"),
        ('"padding": 0.0', '"padding": 1e999', "padding is inf; expected a finite number"),
        ('"key": 9', f'"key": {"[" * 100_000}{"]" * 100_000}', "nested too deeply|no bucket key"),
        ('"key": 9', '"key": 1e999', "expected a bucket key"),
        ("{", "{,", "damaged or no manifest"),
    ],
)
def test_text_that_is_no_manifest(folder, old, new, message):
    path = folder / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(folder, message)


def test_bytes_that_are_no_text(folder):
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x00{}")
    refused(folder, "damaged or no manifest")


# Models ---------------------------------------------------------------------------------------


def rewritten(folder, change):
    """Change the model of key 6 and make the checksums right again, as an attacker would."""
    path = folder / "key-6.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    edit(folder, lambda d: None, resum=["key-6.onnx"])


def external(model):
    return next(t for t in model.graph.initializer if t.external_data)


def point(model, field, value):
    next(e for e in external(model).external_data if e.key == field).value = value


def hidden_tensor(model):
    tensor = onnx.helper.make_tensor("x", onnx.TensorProto.FLOAT, [1], [0.0])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["hidden"], value=tensor))


def in_a_branch(model):
    inner = onnx.helper.make_node("Steal", [], ["y"], domain="com.example")
    graph = onnx.helper.make_graph([inner], "branch", [], [])
    model.graph.node.append(
        onnx.helper.make_node("If", ["c"], ["z"], then_branch=graph, else_branch=graph)
    )


def inserted(model, op_type, numbers):
    """Let the network read a larger tensor in place of its first inner value, by way of a sum."""
    first = model.graph.node[0]
    sizes = onnx.numpy_helper.from_array(np.array(numbers, np.int64), "sizes")
    model.graph.initializer.append(sizes)
    model.graph.node.insert(0, onnx.helper.make_node(op_type, ["data", "sizes"], ["large"]))
    model.graph.node.insert(1, onnx.helper.make_node("ReduceMax", ["large"], ["one"], keepdims=0))
    model.graph.node.insert(2, onnx.helper.make_node("Mul", ["data", "one"], ["scaled"]))
    first.input[list(first.input).index("data")] = "scaled"


def arena(model):
    return next(e for e in model.metadata_props if e.key == "symbucket.arena")


MODELS = {
    "outside": (lambda m: point(m, "location", "../../secret"), "lies in '../../secret'"),
    "absolute": (lambda m: point(m, "location", "/etc/passwd"), "lies in '/etc/passwd'"),
    "other offset": (lambda m: point(m, "offset", "64"), "the manifest says"),
    "other length": (lambda m: point(m, "length", "4"), "the manifest says"),
    "other shape": (lambda m: external(m).dims.append(1), "has shape .* the manifest says"),
    "other type": (lambda m: setattr(external(m), "data_type", 7), "the manifest says"),
    "unknown": (lambda m: setattr(external(m), "name", "w"), "the manifest knows no parameter 'w'"),
    "two locations": (
        lambda m: external(m).external_data.add(key="location", value="parameters.bin"),
        "the manifest says",
    ),
    "hidden in a node": (hidden_tensor, "'x' lies in '/etc/passwd'"),
    "own operators": (
        lambda m: m.opset_import.add(domain="com.example", version=1), "operators of 'com.example'",
    ),
    "own operator": (
        lambda m: setattr(m.graph.node[0], "domain", "com.example"), "which is not a standard",
    ),
    "in a branch": (in_a_branch, "runs a graph of its own"),
    "training info": (lambda m: m.training_info.add(), "has training graphs; exported"),
    "functions": (lambda m: m.functions.add(name="f"), "has functions; exported"),
    "opset": (lambda m: setattr(m.opset_import[0], "version", 22), "has opset 22, the manifest"),
    "other input": (lambda m: setattr(m.graph.input[0], "name", "x"), "its inputs are not those"),
    "other output": (
        lambda m: m.graph.output.append(m.graph.output[0]), "its outputs are not those",
    ),
    "absurd value": (
        lambda m: inserted(m, "Expand", [2**21, 2**21, 4, 1]), "has the absurd shape",
    ),
    "no number": (lambda m: setattr(arena(m), "value", "-1"), "symbucket.arena = '-1'; expected"),
    "many digits": (lambda m: setattr(arena(m), "value", "9" * 5000), "expected one number"),
    "two needs": (lambda m: m.metadata_props.append(arena(m)), "not a valid ONNX model"),
    "large value": (
        lambda m: inserted(m, "Tile", [2000, 500]),
        r"takes \d{7,} bytes of activations; the manifest promises at most \d{4}$",
    ),
    "random numbers": (
        lambda m: m.graph.node.append(
            onnx.helper.make_node("RandomNormal", [], ["r"], shape=[2**20, 2**20])
        ),
        "the value 'r' has the absurd shape",
    ),
    "size from values": (
        lambda m: m.graph.node.append(onnx.helper.make_node("NonZero", ["data"], ["r"])),
        "the shape .* of 'r' does not follow from the inputs",
    ),
    "unknown operator": (
        lambda m: setattr(m.graph.node[0], "op_type", "Steal"), "not a valid ONNX model",
    ),
    "unknown value": (lambda m: m.graph.node[0].input.__setitem__(0, "x"), "not a valid ONNX"),
    "bad attribute": (
        lambda m: m.graph.node[0].attribute.append(onnx.helper.make_attribute("hook", 1)),
        "not a valid ONNX model",
    ),
    "IR version": (lambda m: setattr(m, "ir_version", 9), "has IR version 9, the manifest says"),
    "endless loop": (
        lambda m: m.graph.node.append(
            onnx.helper.make_node(
                "Loop", ["x"], ["y"], body=onnx.helper.make_graph([], "body", [], [])
            )
        ),
        "runs a graph of its own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models_that_do_other_things(folder, name):
    change, message = MODELS[name]
    rewritten(folder, change)
    refused(folder, message)


def test_no_more_memory_is_reserved_than_the_manifest_promises(folder):
    honest = open_bundle(folder).models["key-6.onnx"].need
    rewritten(folder, lambda m: setattr(arena(m), "value", "9" * 19))
    lie = open_bundle(folder).models["key-6.onnx"].need
    assert 0 < honest < lie < 1 << 20


def test_a_promise_that_is_not_kept(folder):
    """The manifest says what a run takes; shapes of inner values in the model say nothing."""

    def vast(model):
        kind = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2**30])
        model.graph.value_info.append(kind)

    rewritten(folder, vast)
    open_bundle(folder)
    edit(folder, lambda d: [n.update(activations=100) for n in d["networks"]])
    refused(folder, r"takes \d+ bytes of activations; the manifest promises at most 100$")


def test_bytes_that_are_no_model(folder):
    (folder / "key-6.onnx").write_bytes(b"\x00" * 100)
    edit(folder, lambda d: None, resum=["key-6.onnx"])
    refused(folder, "is not an ONNX model")


# Fuzzing --------------------------------------------------------------------------------------

JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
        st.sampled_from(["batch", "key", "key[0]", "float32", "data", "../x", 0, 1, -1, 2**63]),
    ),
    lambda j: st.lists(j, max_size=3) | st.dictionaries(st.text(max_size=5), j, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(value, path=()):
    """Every place in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    if isinstance(value, (dict, list)):
        for name, part in items if isinstance(value, (dict, list)) else ():
            yield from (
                places(part, (*path, name)) if isinstance(part, (dict, list)) else [(*path, name)]
            )


def whole(text):
    """Parse; either a manifest that writes and reads itself again, or BundleError."""
    try:
        found = manifests.parse(text)
    except BundleError:
        return None
    assert isinstance(found, Manifest)
    assert manifests.parse(manifests.to_json(found)) == found
    for network in found.networks:
        for tensor in [*network.inputs, *network.outputs]:
            assert 0 <= tensor.nbytes <= MAX_TENSOR_BYTES
            assert np.asarray(tensor.shape, dtype=object).size == len(tensor.axes)
    return found


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_change_is_refused_or_still_makes_sense(original, data):
    document = json.loads((original / "manifest.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([p for p in places(document) if p]))
        holder = document
        for step in path[:-1]:
            holder = holder[step]
        change = data.draw(st.sampled_from(["set", "drop", "double"]))
        if change == "set":
            holder[path[-1]] = data.draw(JSON)
        elif change == "drop":
            del holder[path[-1]]
        elif isinstance(holder, list):
            holder.append(holder[path[-1]])
        else:
            holder["another"] = holder[path[-1]]
    whole(json.dumps(document))


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200), JSON.map(json.dumps)))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused(text):
    assert whole(text) is None


@given(st.integers(0, 3000), st.integers(0, 3000))
@settings(max_examples=100, deadline=None)
def test_a_torn_manifest_is_refused(original, start, length):
    text = (original / "manifest.json").read_text()
    torn = text[:start] + text[start + length :]
    found = whole(torn)
    assert found is None or json.loads(torn) is not None


def test_a_good_manifest_comes_through(original):
    text = (original / "manifest.json").read_text()
    found = whole(text)
    assert found is not None
    assert manifests.to_json(found) == text
