"""Folders of ``export_training``: a plain loop over them learns what the module learns."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket.errors import BundleError, InvalidArgumentError, UnsupportedError

ROOT = Path(__file__).parents[2]
ON_DEVICE = ROOT / "examples" / "on_device"


def _loop():
    """The plain loop of the example, which knows nothing of symbucket."""
    spec = importlib.util.spec_from_file_location("on_device_train", ON_DEVICE / "train.py")
    loop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loop)
    return loop.Training


def _sym_gen(key):
    hidden = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=6, flatten=False, name="in")
    hidden = sb.sym.BatchNorm(sb.sym.reshape(hidden, shape=(-1, 6)), name="norm", fix_gamma=False)
    hidden = sb.sym.reshape(sb.sym.tanh(hidden), shape=(4, key, 6))
    scores = sb.sym.FullyConnected(sb.sym.sum(hidden, axis=1), num_hidden=3, name="out")
    return sb.sym.SoftmaxOutput(scores, name="softmax"), ("data",), ("softmax_label",)


def _shapes(key):
    return [("data", (4, key, 2))], [("softmax_label", (4,))]


def _batch(key, seed):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(4, key, 2)).astype(np.float32)
    label = rng.integers(0, 3, 4).astype(np.float32)
    return sb.io.DataBatch([data], [label], 0, None, key, *_shapes(key)), data, label


def _module(optimizer="sgd", **params):
    sb.random.seed(0)
    module = sb.mod.BucketingModule(_sym_gen, default_bucket_key=5)
    module.bind(*_shapes(5))
    module.init_params(sb.init.Xavier())
    module.init_optimizer(optimizer=optimizer, optimizer_params={"learning_rate": 0.1, **params})
    module.switch_bucket(3, *_shapes(3))
    return module


OPTIMIZERS = {
    "sgd": {},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "wd": 0.01},
    "adam": {"optimizer": "adam", "clip_gradient": 0.05},
    "norm": {"optimizer": "adam", "clip_global_norm": 0.1},
    "schedule": {"optimizer": "sgd", "lr_scheduler": sb.lr_scheduler.FactorScheduler(2, 0.5)},
    "nadam": {"optimizer": "nadam"},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_plain_loop_learns_what_the_module_learns(name, tmp_path):
    module = _module(**OPTIMIZERS[name])
    for step in range(3):  # the files go on where the module is
        batch, *_ = _batch((5, 3)[step % 2], step)
        module.forward_backward(batch)
        module.update()
    module.export_training(tmp_path / "training", updates=6)
    training = _loop()(tmp_path / "training")
    for step in range(6):
        key = (3, 5)[step % 2]
        batch, data, label = _batch(key, 10 + step)
        module.forward_backward(batch)
        module.update()
        outputs = training.step(key, {"data": data, "softmax_label": label})
        np.testing.assert_allclose(
            outputs["softmax_output"], module.get_outputs()[0].asnumpy(), rtol=0, atol=1e-6
        )
    for values in module.get_params():
        for parameter, array in values.items():
            np.testing.assert_allclose(
                training.values[parameter], array.asnumpy(), rtol=1e-6, atol=1e-6, err_msg=parameter
            )


@pytest.mark.parametrize(
    "optimizer", [{"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adam"}]
)
def test_parameters_of_double_precision(optimizer, tmp_path):
    def sym_gen(key):
        mean = sb.sym.mean(sb.sym.Variable("data"), axis=1)
        scores = sb.sym.FullyConnected(mean, num_hidden=2, name="fc")
        return sb.sym.LinearRegressionOutput(scores, name="o"), ("data",), ("o_label",)

    data, label = np.full((2, 3, 2), 1 / 3), np.eye(2)
    descs = [
        [sb.io.DataDesc(n, a.shape, "float64")] for n, a in (("data", data), ("o_label", label))
    ]
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=3)
    module.bind(*descs)
    module.init_params(sb.init.Xavier())
    name = optimizer["optimizer"]
    params = {"learning_rate": 0.1, **{k: v for k, v in optimizer.items() if k != "optimizer"}}
    module.init_optimizer(optimizer=name, optimizer_params=params)
    module.export_training(tmp_path / "training", updates=3)
    training = _loop()(tmp_path / "training")
    arrays = [[sb.nd.array(array, dtype="float64")] for array in (data, label)]
    batch = sb.io.DataBatch(*arrays, 0, None, 3, *descs)
    for _ in range(3):
        module.forward_backward(batch)
        module.update()
        training.step(3, {"data": data, "o_label": label})
    for parameter, array in module.get_params()[0].items():
        assert training.values[parameter].dtype == np.float64
        np.testing.assert_allclose(training.values[parameter], array.asnumpy(), rtol=1e-13)


def test_files_are_standard_onnx_and_described(tmp_path):
    module = _module("adam")
    module.export_training(tmp_path / "training", keys=[3], updates=2)
    description = json.loads((tmp_path / "training" / "training.json").read_text())
    assert {path.name for path in (tmp_path / "training").iterdir()} == {
        "training.json",
        *description["files"],
    }
    assert [step["key"] for step in description["steps"]] == [3]
    states = description["optimizer"]["states"]
    stored = {tensor["name"] for tensor in description["values"]["tensors"]}
    assert len(states) == 2
    assert {f"in_weight.{state}" for state in states} < stored
    for name, file in description["files"].items():
        content = (tmp_path / "training" / name).read_bytes()
        assert len(content) == file["bytes"]
        if name.endswith(".onnx"):
            model = onnx.load_from_string(content)
            assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
            assert [opset.domain for opset in model.opset_import] == [""]


def test_it_replaces_its_own_folder_and_nothing_else(tmp_path):
    module = _module()
    target = tmp_path / "training"
    module.export_training(target, updates=2)
    module.export_training(target, updates=3)
    description = json.loads((target / "training.json").read_text())
    assert description["optimizer"]["scalars"]["updates"] == 3
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("important")
    with pytest.raises(BundleError, match="no folder that export_training wrote"):
        module.export_training(foreign)
    assert (foreign / "thesis.txt").read_text() == "important"


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path):
    target = tmp_path / "training"
    module = sb.mod.BucketingModule(_sym_gen, default_bucket_key=5)
    module.bind(*_shapes(5))
    module.init_params()
    with pytest.raises(UnsupportedError, match="call init_optimizer"):
        module.export_training(target)
    module = _module()
    with pytest.raises(InvalidArgumentError, match="updates is 0"):
        module.export_training(target, updates=0)
    with pytest.raises(InvalidArgumentError, match="bucket key 9 is not bound"):
        module.export_training(target, keys=[9])
    assert not target.exists()


def test_keys_that_train_other_parameters_are_refused(tmp_path):
    def sym_gen(key):
        x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="shared")
        label = sb.sym.Variable("label")
        heads = {
            task: sb.sym.LinearRegressionOutput(
                sb.sym.FullyConnected(x, num_hidden=2, name=task),
                label,
                name=f"{task}_out",
            )
            for task in ("a", "b")
        }
        net = sb.sym.Group(list(heads.values())) if key == "all" else heads[key]
        return net, ("data",), ("label",)

    shapes = [("data", (2, 3))], [("label", (2, 2))]
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key="all")
    module.bind(*shapes)
    module.init_params()
    module.init_optimizer()
    for key in ("a", "b"):
        module.switch_bucket(key, *shapes)
    with pytest.raises(UnsupportedError, match=r"'b' does not train the parameters of the first"):
        module.export_training(tmp_path / "t", keys=["a", "b"])
    module.export_training(tmp_path / "t", keys=["a"], updates=1)


# The example -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """What make.py writes."""
    folder = tmp_path_factory.mktemp("on_device")
    run(sys.executable, "make.py", str(folder), "--steps", "20")
    return folder


def run(*command):
    """Run a program of the example; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [command[0], str(ON_DEVICE / command[1]), *command[2:]]
    process = subprocess.run(
        program, capture_output=True, text=True, check=False, env=environment, timeout=200
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def _differences(printed):
    line = printed.splitlines()[-1]
    assert line.startswith("largest difference from symbucket")
    return [float(part.split()[-1].rstrip(",")) for part in line.split(": ")[1].split(", ")]


def test_the_python_loop_of_the_example(device):
    printed = run(sys.executable, "train.py", str(device))
    assert printed.startswith("20 updates; loss")
    assert max(_differences(printed)) < 1e-6


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no Node.js")
def test_the_javascript_loop_of_the_example(device, tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXRUNTIME_NODE_INSTALL", "skip")  # only the CPU provider
    install = ["npm", "install", "--silent", "--no-fund", "--no-audit", "onnxruntime-node"]
    process = subprocess.run(install, cwd=tmp_path, capture_output=True, check=False, timeout=300)
    if process.returncode:
        pytest.skip(f"npm install failed: {process.stderr.decode()[-200:]}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package.json").touch()
    printed = run("node", "train.mjs", str(device))
    assert printed.startswith("20 updates; loss")
    assert max(_differences(printed)) < 1e-6
