"""``module.export_onnx``: one file with everything in it."""

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import BundleError, InvalidArgumentError, UnsupportedError
from tests.export.bundles import bound, probabilities, sentences, trained
from tests.export.test_files import alone


@pytest.mark.parametrize("opset", [15, 21])
def test_one_file_with_parameters_of_any_size(tmp_path, opset):
    module = trained()
    if opset == 15 and onnx.defs.onnx_opset_version() < 25:
        with pytest.raises(UnsupportedError, match=r"Cast.* newer versions of onnx convert more"):
            module.export_onnx(tmp_path / "n.onnx", dynamic_length=True, opset=opset)
        pytest.skip(f"onnx {onnx.__version__} cannot convert Cast; 1.20 and newer can")
    model = module.export_onnx(tmp_path / "n.onnx", dynamic_length=True, opset=opset)
    assert [o.version for o in model.opset_import] == [opset]
    assert not any(t.external_data for t in model.graph.initializer)
    assert [path.name for path in tmp_path.iterdir()] == ["n.onnx"]
    session = alone(tmp_path / "n.onnx")
    for tokens in sentences((2, 9)):
        (found,) = session.run(None, {"data": tokens[None].astype(np.float32)})
        np.testing.assert_allclose(found, probabilities(module, tokens, 9), rtol=1e-5)


def test_one_key_with_fixed_shapes(tmp_path):
    module = trained()
    module.export_onnx(tmp_path / "n.onnx", 6)
    assert alone(tmp_path / "n.onnx").get_inputs()[0].shape == [4, 6]
    module.export_onnx(tmp_path / "n.onnx", batch_size=1)
    assert alone(tmp_path / "n.onnx").get_inputs()[0].shape == [1, 9]
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")
    bound(net, [("data", (3, 5))]).export_onnx(tmp_path / "m.onnx", dynamic_batch=True)
    assert alone(tmp_path / "m.onnx").get_inputs()[0].shape == ["batch", 5]


def test_states_are_inputs_and_outputs_of_the_file(tmp_path):
    trained().export_onnx(tmp_path / "n.onnx", dynamic_length=True, carry_states=True)
    session = alone(tmp_path / "n.onnx")
    assert [o.name for o in session.get_outputs()] == [
        "softmax_output", "lstm_h.next", "lstm_c.next",
    ]  # fmt: skip
    tokens = np.array([[1, 2, 3, 4]], np.float32)
    states = {"lstm_h": np.zeros((1, 5), np.float32), "lstm_c": np.zeros((1, 5), np.float32)}
    whole, _, _ = session.run(None, {"data": tokens, **states})
    first, h, c = session.run(None, {"data": tokens[:, :3], **states})
    last, _, _ = session.run(None, {"data": tokens[:, 3:], "lstm_h": h, "lstm_c": c})
    np.testing.assert_allclose(np.concatenate([first, last]), whole, rtol=1e-5)


def test_what_cannot_be_written(tmp_path):
    module = trained()
    with pytest.raises(UnsupportedError, match=r"opset=9: onnx .* cannot convert"):
        module.export_onnx(tmp_path / "n.onnx", opset=9)
    with pytest.raises(InvalidArgumentError, match="there is one network for all keys"):
        module.export_onnx(tmp_path / "n.onnx", 6, dynamic_length=True)
    with pytest.raises(InvalidArgumentError, match="bucket key 5 is not bound"):
        module.export_onnx(tmp_path / "n.onnx", 5)
    with pytest.raises(InvalidArgumentError, match="needs dynamic_length"):
        module.export_onnx(tmp_path / "n.onnx", carry_states=True)
    assert not (tmp_path / "n.onnx").exists()
    with pytest.raises(BundleError, match="cannot write"):
        module.export_onnx(tmp_path / "nowhere" / "n.onnx")
    with pytest.raises(BundleError, match="cannot write"):
        module.export_onnx("a\0b")
    assert isinstance(module.export_onnx(tmp_path / "n.onnx"), onnx.ModelProto)
    assert issubclass(UnsupportedError, sb.SymbucketError)
