"""Files of both exporters of PyTorch train here as their modules do there, or are refused.

``tests/pytorch/recorded.py`` wrote the files and the numbers.
"""

import json

import numpy as np
import onnx
import pytest

from symbucket import sym
from symbucket.errors import InvalidArgumentError, UnsupportedError
from tests.pytorch.recorded import FOLDER, INPUTS, KEYS, batches
from tests.pytorch.trainer import Trainer, head

NUMBERS = json.loads((FOLDER / "numbers.json").read_text("utf-8"))
PADDED = {"embed.weight": 0}
NETWORKS = {
    "reader-legacy-training": PADDED,
    "reader-dynamo": {},
    "reader-dynamo-optimize-False": {},
    "seer-legacy-training": {},
    "seer-dynamo-optimize-False": {},
}
REFUSED = {
    "reader-legacy": (InvalidArgumentError, "embed.weight.* row 0 is zero: PyTorch's padding_idx"),
    "seer-legacy": (InvalidArgumentError, "onnx::Conv_.* folded a BatchNorm"),
    "seer-dynamo": (UnsupportedError, "norm is a BatchNorm in training mode.* optimize=False"),
}


def _sym_gen(title, padding):
    model = onnx.load(str(FOLDER / f"{title}.onnx"))
    names = [value.name for value in model.graph.input]
    symbol = sym.from_onnx(model, name="net", padding=padding)
    return lambda key: (head(symbol), names, ["softmax_label"])


@pytest.mark.parametrize("title", NETWORKS)
def test_a_file_trains_as_its_module_does_over_two_keys(title):
    inputs, classes = INPUTS[title.split("-")[0]]
    trainer = Trainer(_sym_gen(title, NETWORKS[title]), KEYS[0])
    for optimizer, expected in NUMBERS[title].items():
        outputs = trainer.train(list(batches(inputs, classes)), optimizer)
        for output, probabilities in zip(outputs, expected["outputs"], strict=True):
            np.testing.assert_allclose(output, probabilities, atol=1e-6)
        states = trainer.module.get_params()[1]
        assert states.keys() == expected["states"].keys()
        for name, value in expected["states"].items():
            np.testing.assert_allclose(states[name].asnumpy(), value, atol=1e-6)


@pytest.mark.parametrize("title", REFUSED)
def test_what_a_file_does_not_say_is_asked(title):
    error, text = REFUSED[title]
    with pytest.raises(error, match=f"(?s){text}"):
        _sym_gen(title, None)


def test_parameters_have_the_names_of_the_module():
    names = {
        title: set(sym.from_onnx(str(FOLDER / f"{title}.onnx")).list_arguments())
        for title in ("reader-dynamo", "reader-dynamo-optimize-False")
    }
    assert names["reader-dynamo"] == names["reader-dynamo-optimize-False"]
    layers = {f"{name}.{w}" for name in ("first", "second", "layer") for w in ("weight", "bias")}
    assert len(names["reader-dynamo"] & layers) == 6


def test_training_without_what_is_put_back_differs():
    """The numbers tell: PyTorch's row of padding stays, and its parameters are shared."""
    inputs, classes = INPUTS["reader"]
    title = "reader-legacy-training"
    model = onnx.load(str(FOLDER / f"{title}.onnx"))
    symbol = sym.from_onnx(model, name="net", params="embed.weight")
    trainer = Trainer(lambda key: (head(symbol), ["input0"], ["softmax_label"]), KEYS[0])
    outputs = trainer.train(list(batches(inputs, classes)), "sgd")
    last = np.asarray(NUMBERS[title]["sgd"]["outputs"][-1])
    assert np.abs(outputs[-1] - last).max() > 1e-4


def test_padding_is_checked():
    path = str(FOLDER / "reader-legacy-training.onnx")
    with pytest.raises(InvalidArgumentError, match=r"padding has 'embed'; the tables .* embed\."):
        sym.from_onnx(path, padding={"embed": 0})
    with pytest.raises(InvalidArgumentError, match=r"the row 7 for 'embed.weight'; .* -7 to 6"):
        sym.from_onnx(path, padding={"embed.weight": 7})
