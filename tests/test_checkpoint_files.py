"""Checkpoints of MXNet, files that do not belong together, and damaged ones."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import symbucket as sb
from symbucket.cli import main
from symbucket.errors import CheckpointError, InvalidArgumentError, ParameterError
from tests.small_networks import bound_regression, numbers, regression_data, same

MXNET = Path(__file__).parent / "data" / "mxnet"
PREFIX = str(MXNET / "cnn")
"""A network with BatchNorm that MXNet 1.9.1 trained for two epochs."""

X, Y = regression_data()


@pytest.fixture(scope="module")
def recorded():
    with np.load(MXNET / "cnn.npz") as arrays:
        return arrays["d"], arrays["o"]


def _answers(module, data):
    module.forward(sb.io.DataBatch([data]), is_train=False)
    return module.get_outputs()[0].asnumpy()


def test_a_checkpoint_of_mxnet_gives_mxnets_outputs(recorded):
    data, outputs = recorded
    module = sb.mod.Module.load(PREFIX, 2)
    module.bind([("data", data.shape)], for_training=False)
    np.testing.assert_allclose(_answers(module, data), outputs, atol=1e-6)
    symbol, arg, aux = sb.model.load_checkpoint(PREFIX, 2)
    other = sb.mod.Module(symbol)
    other.bind([("data", data.shape)], for_training=False)
    other.init_params(sb.init.Load(f"{PREFIX}-0002.params"))
    np.testing.assert_array_equal(_answers(other, data), _answers(module, data))
    model = sb.model.FeedForward.load(PREFIX, 2)
    np.testing.assert_allclose(model.predict(data), outputs, atol=1e-6)
    arrays = sb.nd.load(f"{PREFIX}-0002.params")
    assert sorted(arrays) == sorted([f"arg:{n}" for n in arg] + [f"aux:{n}" for n in aux])
    module.load_params(f"{PREFIX}-0002.params")


def test_what_is_written_for_mxnet_is_what_mxnet_wrote(tmp_path, recorded):
    """MXNet 1.9.1 loads such files; here it is enough that they are its own, byte for byte."""
    module = sb.mod.Module.load(PREFIX, 2)
    module.bind([("data", recorded[0].shape)], for_training=False)
    theirs = sb.nd.load(f"{PREFIX}-0002.params")
    arg, aux = module.get_params()
    ours = {f"arg:{n}": a for n, a in arg.items()} | {f"aux:{n}": a for n, a in aux.items()}
    path = tmp_path / "again.params"
    sb.nd.save(str(path), {name: ours[name] for name in theirs}, format="mxnet")
    assert path.read_bytes() == Path(f"{PREFIX}-0002.params").read_bytes()
    prefix = str(tmp_path / "run" / "net")
    module.save_checkpoint(prefix, 1, format="mxnet")  # makes the folder
    assert same(sb.model.load_checkpoint(prefix, 1)[1], arg)
    module.save_params(f"{prefix}.params", format="mxnet")
    assert same(sb.nd.load(f"{prefix}.params"), ours)
    sb.nd.save(str(path), [sb.nd.ones((2,))], format="mxnet")
    assert [a.asnumpy().tolist() for a in sb.nd.load(str(path))] == [[1, 1]]
    with pytest.raises(InvalidArgumentError, match=r"format is 'onnx'; expected one of"):
        sb.nd.save(str(path), [], format="onnx")


def test_a_bundle_of_mxnets_checkpoint(tmp_path, recorded, capsys):
    data, outputs = recorded
    folder = str(tmp_path / "bundle")
    assert main(["import-mxnet", PREFIX, "2", folder, "--data", "data=4,2,5,5"]) == 0
    assert "1 networks, 8 parameters" in capsys.readouterr().out
    answers = sb.Bundle(folder).run([{"data": sample} for sample in data])
    np.testing.assert_allclose([answer["softmax_output"] for answer in answers], outputs, atol=1e-6)
    assert main(["import-mxnet", PREFIX, "2", folder, "--data", "image=4,2,5,5"]) == 2
    assert "'image' is no input of the network" in capsys.readouterr().err
    assert main(["import-mxnet", PREFIX, "3", folder, "--data", "data=4,2,5,5"]) == 2
    assert "found there: cnn-0002.params" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["import-mxnet", PREFIX, "2", folder])
    assert "--data is needed" in capsys.readouterr().err


def _trained(prefix, epoch, steps):
    module = bound_regression(optimizer="adam")
    for _ in range(steps):
        module.forward_backward(sb.io.DataBatch([X[:4]], [Y[:4]]))
        module.update()
    module.save_checkpoint(prefix, epoch, save_optimizer_states=True)
    return module


@pytest.mark.parametrize("form", ["safetensors", "mxnet"])
def test_states_of_another_moment_are_refused(tmp_path, form):
    """A kill between the two files leaves new states beside old parameters."""
    prefix, other = str(tmp_path / "a"), str(tmp_path / "b")
    module = _trained(prefix, 1, 1)
    module.save_checkpoint(prefix, 1, True, format=form)
    _trained(other, 1, 3)
    shutil.copy(f"{other}-0001.states", f"{prefix}-0001.states")
    resumed = sb.mod.Module.load(prefix, 1, load_optimizer_states=True)
    resumed.bind([("data", (4, 3))], [("softmax_label", (4, 2))])
    with pytest.raises(CheckpointError, match="belongs to other parameters than those beside it"):
        resumed.init_optimizer(optimizer="adam")
    assert same(numbers(resumed), numbers(module))


def test_a_symbol_of_another_network_is_refused(tmp_path):
    def net(act):
        x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
        return sb.sym.Activation(x, act_type=act)

    arrays = {"fc_weight": np.ones((2, 3)), "fc_bias": np.ones(2)}
    prefix = str(tmp_path / "net")
    sb.model.save_checkpoint(prefix, 1, net("tanh"), arrays, {})
    net("tanh").save(f"{prefix}-symbol.json")  # other automatic names, the same network
    sb.model.load_checkpoint(prefix, 1)
    net("relu").save(f"{prefix}-symbol.json")
    with pytest.raises(CheckpointError, match="belongs to another network than the one in"):
        sb.model.load_checkpoint(prefix, 1)


def test_strange_epochs_and_prefixes(tmp_path):
    for epoch, message in ((-1, "epoch is -1"), ("a", "epoch is 'a'"), (1.5, "epoch is 1.5")):
        with pytest.raises(InvalidArgumentError, match=message):
            sb.model.save_checkpoint(str(tmp_path / "x"), epoch, None, {}, {})
    for prefix in (None, ""):
        with pytest.raises(InvalidArgumentError, match="prefix is"):
            sb.model.load_checkpoint(prefix, 1)
    with pytest.raises(CheckpointError, match="null"):
        sb.model.save_checkpoint("a\0b", 1, None, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_before_training_begins(tmp_path):
    sb.callback.do_checkpoint(str(tmp_path / "a" / "net"))
    sb.callback.module_checkpoint(None, str(tmp_path / "b" / "net"))
    sb.rnn.do_rnn_checkpoint(sb.rnn.RNNCell(3), str(tmp_path / "c" / "net"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot make the folder"):
        sb.callback.do_checkpoint(str(tmp_path / "file" / "net"))


def test_dtypes_that_differ_are_said_and_lost_numbers_refused(tmp_path, caplog):
    module = bound_regression(optimizer="sgd")
    path = str(tmp_path / "x.params")

    def load(values):
        arrays = {"fc_weight": values, "fc_bias": np.zeros(2, np.float16)}
        sb.checkpoint.save_params(path, arrays, {})
        module.load_params(path)

    load(np.full((2, 3), 0.1))
    assert "fc_bias (float16 to float32), fc_weight (float64 to float32)" in caplog.text
    assert numbers(module)["fc_weight"][0, 0] == np.float32(0.1)
    load(np.full((2, 3), np.inf))
    before = numbers(module)
    for values, message in (
        (np.full((2, 3), 1e300), r"float32, which cannot hold 6 of the given float64 .* 1e\+300"),
        (np.full((2, 3), 2**24 + 1, np.int64), "cannot hold 6 of the given int64 .* 16777217"),
    ):
        with pytest.raises(ParameterError, match=message):
            load(values)
    with pytest.raises(ParameterError, match="holds complex128, no numbers that it can hold"):
        module.set_params({"fc_weight": np.ones((2, 3)) * 1j, "fc_bias": np.zeros(2)})
    assert same(numbers(module), before)
