"""Models damaged at random, with correct checksums: refused with BundleError, or served."""

import random

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket.errors import BundleError, SymbucketError
from tests.export.bundles import edit, sentences

OPERATORS = ["Add", "Identity", "Gather", "Reshape", "Tile", "LSTM", "Slyce", "NonZero", "Softmax"]


def damage(model, rng):
    """Change one thing, as a program that writes models wrongly would, or someone who tries."""
    graph = model.graph
    node = rng.choice(graph.node)
    what = rng.randrange(12)
    if what == 0:
        node.op_type = rng.choice(OPERATORS)
    elif what == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(["", "nothing", node.output[0]])
    elif what == 2:
        node.output[0] = rng.choice(["", "other", graph.node[0].output[0]])
    elif what == 3 and node.attribute:
        attribute = rng.choice(node.attribute)
        attribute.i = rng.choice([-1, 7, 2**40])
        attribute.type = rng.choice([1, 2, 3, 7])
    elif what == 4:
        node.attribute.append(onnx.helper.make_attribute("axis", rng.choice([-9, 99, 1.5])))
    elif what == 5:
        graph.node.remove(node)
    elif what == 6:
        graph.node.insert(0, node)
    elif what == 7:
        small = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT64]
        tensor = rng.choice(small)
        values = onnx.numpy_helper.to_array(tensor).copy()
        values[...] = rng.choice([-3, 0, 10**6, 2**31])
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    elif what == 8:
        rng.choice(graph.initializer).dims.append(rng.choice([0, 3, 2**40]))
    elif what == 9:
        rng.choice(graph.initializer).data_type = rng.choice([0, 1, 7, 10, 11, 33])
    elif what == 10:
        rng.choice([*graph.input, *graph.output]).type.tensor_type.elem_type = rng.choice(
            [0, 7, 11]
        )
    else:
        model.opset_import[0].version = rng.choice([-1, 5, 20, 30])


def outcome(folder, model):
    """Serve a model in a bundle; which of the errors that are promised there was."""
    (folder / "key-6.onnx").write_bytes(model)
    edit(folder, lambda d: None, resum=["key-6.onnx"])
    try:
        bundle = sb.Bundle(folder, workers=1)
        bundle.load([6])
    except BundleError:
        return "refused"
    try:
        (answer,) = bundle.run(sentences((5,)), timeout=20)
    except SymbucketError:
        return "failed"
    assert answer["softmax_output"].shape == (5, 10)
    return "served"


def many(folder, seeds):
    content = (folder / "key-6.onnx").read_bytes()
    outcomes = []
    for seed in seeds:
        rng = random.Random(seed)
        try:
            if seed % 3:
                model = onnx.ModelProto.FromString(content)
                damage(model, rng)
                changed = model.SerializeToString()
            else:  # bytes
                array = np.frombuffer(content, np.uint8).copy()
                for _ in range(rng.randrange(1, 4)):
                    array[rng.randrange(array.size)] = rng.randrange(256)
                changed = array.tobytes()
            outcomes.append(outcome(folder, changed))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return outcomes


def test_damaged_models(folder):
    outcomes = many(folder, range(60))
    assert outcomes.count("refused") > 20
    assert "served" in outcomes


@pytest.mark.slow
def test_many_damaged_models(folder):
    many(folder, range(1000, 2200))
