"""Bundles of networks that take a length with each sample."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb


def attentive(key):
    """Words weighed by a softmax over the real ones, then classified."""
    data, length = sb.sym.Variable("data"), sb.sym.Variable("length")
    vectors = sb.sym.Embedding(data, input_dim=9, output_dim=4, name="e")
    weights = sb.sym.softmax(sb.sym.sum(vectors, axis=2), length=length, use_length=True, axis=1)
    mixed = sb.sym.sum(sb.sym.broadcast_mul(vectors, sb.sym.expand_dims(weights, axis=2)), axis=1)
    dense = sb.sym.FullyConnected(mixed, num_hidden=3, name="fc")
    return sb.sym.softmax(dense, name="out"), ["data", "length"], []


def descs(key):
    return [("data", (4, key)), ("length", (4,))]


def test_a_request_with_a_length(tmp_path):
    module = sb.mod.BucketingModule(attentive, default_bucket_key=8)
    module.bind(descs(8), None, for_training=False)
    module.init_params(sb.init.Uniform(1))
    module.switch_bucket(5, descs(5), None)
    module.export(str(tmp_path / "bundle"))
    requests = [
        {"data": [1, 2, 3], "length": 3},
        {"data": [4, 5, 6, 7, 8, 1], "length": 6},
        {"data": [2, 2], "length": 2},
        {"data": [7, 6, 5, 4, 3, 2, 1, 8], "length": np.float32(8)},
    ]
    bundle = sb.Bundle(str(tmp_path / "bundle"))
    answers = bundle.run(requests)
    (alone,) = bundle.run(requests[:1])
    for request, answer in zip(requests, answers):
        words = np.zeros((4, 8), np.float32)
        words[0, : len(request["data"])] = request["data"]
        lengths = np.array([request["length"], 1, 1, 1], np.float32)
        batch = sb.io.DataBatch([words, lengths], [], bucket_key=8, provide_data=descs(8))
        module.forward(batch, is_train=False)
        expected = module.get_outputs()[0].asnumpy()[0]
        np.testing.assert_allclose(answer["out_output"], expected, rtol=1e-5)
        assert np.isfinite(answer["out_output"]).all()
    np.testing.assert_allclose(alone["out_output"], answers[0]["out_output"], rtol=1e-5)


def reading_both_ways(key):
    """The last states of a cell that reads each sample both ways, by its own length."""
    data, length = sb.sym.Variable("data"), sb.sym.Variable("length")
    vectors = sb.sym.Embedding(data, input_dim=9, output_dim=4, name="e")
    cell = sb.rnn.BidirectionalCell(sb.rnn.LSTMCell(3, "l_"), sb.rnn.GRUCell(3, "r_"))
    _, (left, right) = cell.unroll(key, vectors, merge_outputs=True, valid_length=length)
    states = sb.sym.Concat(left[0], right[0], dim=1)
    return sb.sym.FullyConnected(states, num_hidden=3, name="out"), ["data", "length"], []


def test_recurrent_cells_read_to_the_length(tmp_path):
    module = sb.mod.BucketingModule(reading_both_ways, default_bucket_key=8)
    module.bind(descs(8), None, for_training=False)
    module.init_params(sb.init.Uniform(1))
    module.switch_bucket(5, descs(5), None)
    module.export(str(tmp_path / "bundle"))
    bundle = sb.Bundle(str(tmp_path / "bundle"))
    requests = [{"data": list(range(1, n + 1)), "length": n} for n in (3, 6, 1, 5)]
    for request, answer in zip(requests, bundle.run(requests)):
        length = request["length"]
        symbol, _, _ = reading_both_ways(length)  # as long as the sample: no padding at all
        arrays = {name: array.asnumpy() for name, array in module.get_params()[0].items()}
        arrays["data"] = np.array([request["data"]], np.float32)
        arrays["length"] = np.array([length], np.float32)
        (expected,) = symbol.eval(**arrays)
        np.testing.assert_allclose(answer["out_output"], expected.asnumpy()[0], rtol=1e-5)


def last_words(axis):
    """The vector of each sample's last word, from (batch, time) or (time, batch) words."""

    def sym_gen(key):
        data, length = sb.sym.Variable("data"), sb.sym.Variable("length")
        vectors = sb.sym.Embedding(data, input_dim=9, output_dim=4, name="e")  # (n, key, 4)
        if axis == 0:
            vectors = sb.sym.swapaxes(vectors, dim1=0, dim2=1)
        last = sb.sym.SequenceLast(vectors, length, use_sequence_length=True, axis=axis)
        return sb.sym.identity(last, name="out"), ["data", "length"], []

    return sym_gen


@pytest.mark.parametrize(
    ("sym_gen", "free"),
    [
        (reading_both_ways, "dynamic_length"),
        (attentive, "dynamic_batch"),
        (last_words(0), "dynamic_length"),
        (last_words(1), "dynamic_length"),
        (last_words(1), "dynamic_batch"),
    ],
)
def test_lengths_in_runs_of_any_size(tmp_path, sym_gen, free):
    """A run may have twice the batch; rows of samples are numbered for as many as there are."""
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=8)
    module.bind(descs(8), None, for_training=False)
    module.init_params(sb.init.Uniform(1))
    module.switch_bucket(5, descs(5), None)
    module.export(tmp_path / "fixed")
    module.export(tmp_path / "free", **{free: True})
    rng = np.random.default_rng(0)
    # Also lengths beyond the data: they read padding, never another sample.
    requests = [
        {"data": rng.integers(1, 9, n), "length": n if n in (5, 8) else n + 1}
        for n in rng.integers(1, 9, 90)
    ]
    bundle = sb.Bundle(tmp_path / "free", workers=1)
    answers = bundle.run(requests)
    for answer, expected in zip(answers, sb.Bundle(tmp_path / "fixed").run(requests)):
        np.testing.assert_allclose(answer["out_output"], expected["out_output"], atol=1e-6)
