"""Exports with free axes: one model for any batch and length, with equal numbers."""

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import BundleError, UnsupportedError
from symbucket.export.affine_sizes import Affine, fit
from tests.export.bundles import bound, edit, probabilities, sentences, trained
from tests.export.test_files import alone


def tagger(cell, keys=(4, 6, 9), rows=4, **pieces):
    """A module of taggers around a cell, whose keys are bound."""

    def sym_gen(length):
        vectors = sym.Embedding(sym.Variable("data"), input_dim=10, output_dim=6, name="embed")
        cell.reset()
        outputs, _ = cell.unroll(length, vectors, merge_outputs=True)
        rows = sym.Reshape(outputs, shape=(-1, pieces.get("width", 8)))
        scores = sym.FullyConnected(rows, num_hidden=3, name="pred")
        return sym.softmax(scores, name="out"), ["data"], []

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=max(keys))
    module.bind([("data", (rows, max(keys)))], for_training=False)
    module.init_params(sb.init.Uniform(0.5))
    for key in keys:
        module.switch_bucket(key, [("data", (rows, key))])
    return module


def test_sizes_are_sums_of_products():
    points = [(2, 5), (3, 5), (2, 9), (3, 9), (2, 6), (3, 7)]
    for affine in (Affine(4), Affine(0, 1), Affine(-1, 0, 2), Affine(3, 1, 2, 5)):
        assert fit([affine(*point) for point in points], points) == affine
    assert fit([4, 9, 4, 9, 16, 49], points) is None


def test_one_network_for_all_keys(tmp_path):
    module = trained()
    manifest = module.export(tmp_path / "b", dynamic_length=True)
    assert {n.file for n in manifest.networks} == {"network.onnx"}
    assert {(n.free, n.padding_matters) for n in manifest.networks} == {(("batch", "key"), False)}
    model = onnx.load(tmp_path / "b" / "network.onnx", load_external_data=False)
    onnx.checker.check_model(str(tmp_path / "b" / "network.onnx"), full_check=True)
    dims = [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", "length"]
    # Shapes need no arithmetic: -1 and 0 stand for them.
    assert "Shape" not in [n.op_type for n in model.graph.node]
    session = alone(tmp_path / "b" / "network.onnx")
    for tokens in sentences((1, 2, 5, 9)):
        (found,) = session.run(None, {"data": tokens[None].astype(np.float32)})
        np.testing.assert_allclose(found, probabilities(module, tokens, 9), rtol=1e-5)


def test_a_bundle_of_any_length_serves_as_one_of_fixed_ones(tmp_path):
    module = trained()
    module.export(tmp_path / "free", dynamic_length=True)
    module.export(tmp_path / "fixed")
    free, fixed = sb.Bundle(tmp_path / "free"), sb.Bundle(tmp_path / "fixed")
    requests = sentences((3, 9, 4, 6, 1, 5, 8, 2, 3, 4, 9))
    for left, right in zip(free.run(requests), fixed.run(requests)):
        np.testing.assert_allclose(left["softmax_output"], right["softmax_output"], rtol=1e-5)
    counted = free.statistics()
    assert [counted[k].requests for k in (4, 6, 9)] == [6, 2, 3]
    assert sum(c.runs for c in counted.values()) == 3
    assert sum(c.used for c in counted.values()) == sum(map(len, requests))
    # Sorted by length: 9 9 8 6, 5 4 4 3, 3 2 1.
    assert sum(c.positions for c in counted.values()) == 4 * 9 + 4 * 5 + 3 * 3
    with pytest.raises(sb.SymbucketError, match="longer than"):
        free(np.ones(10))


@pytest.mark.parametrize("cell", [sb.rnn.GRUCell, sb.rnn.RNNCell, sb.rnn.LSTMCell])
def test_where_padding_matters_every_request_has_its_buckets_length(tmp_path, cell):
    """Backwards, the padding is read first; the answers are those of the buckets."""
    both = sb.rnn.BidirectionalCell(cell(4, prefix="f_"), cell(4, prefix="b_"))
    module = tagger(both)
    manifest = module.export(tmp_path / "free", dynamic_length=True)
    assert all(n.padding_matters for n in manifest.networks)
    module.export(tmp_path / "fixed")
    free, fixed = sb.Bundle(tmp_path / "free"), sb.Bundle(tmp_path / "fixed")
    requests = sentences((3, 9, 4, 6, 1, 5, 8, 2))
    for left, right in zip(free.run(requests), fixed.run(requests)):
        np.testing.assert_allclose(left["out_output"], right["out_output"], rtol=1e-5)


def test_short_keys_whose_steps_are_written_out_are_compared_by_running(tmp_path):
    module = tagger(sb.rnn.LSTMCell(8, prefix="l_"), keys=(2, 3, 6, 9))
    module.export(tmp_path / "b", dynamic_length=True)
    bundle = sb.Bundle(tmp_path / "b")
    assert [a["out_output"].shape for a in bundle.run(sentences((1, 2, 9)))] == [
        (1, 3),
        (2, 3),
        (9, 3),
    ]


def test_any_batch_of_networks_of_fixed_length(tmp_path):
    """A convolution: images of two sizes have a network each."""
    x = sym.Convolution(sym.Variable("image"), kernel=(3, 3), num_filter=2, name="conv")
    net = sym.Flatten(sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg", name="p"))
    module = bound(net, [("image", (4, 2, 6, 5))], key=(6, 5))
    manifest = module.export(tmp_path / "b", dynamic_batch=True)
    (network,) = manifest.networks
    assert (network.file, network.free, network.batch) == ("key-6x5.onnx", ("batch",), 4)
    bundle = sb.Bundle(tmp_path / "b")
    images = np.random.default_rng(0).normal(size=(6, 2, 6, 5)).astype(np.float32)
    answers = np.stack([a["flatten0_output"] for a in bundle.run([{"image": i} for i in images])])
    session = alone(tmp_path / "b" / network.file)
    (expected,) = session.run(None, {"image": images})  # more than the bundle's batch
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-6)
    counted = bundle.statistics()[6, 5]
    assert (counted.runs, counted.used, counted.positions) == (2, images.size, images.size)


def test_constants_grow_with_the_sizes(tmp_path):
    """Positions are cut from the longest ones, zeros are filled, a mask has one row a sample."""

    def sym_gen(length):
        data = sym.Variable("data")  # (n, length)
        steps = sym.Reshape(sym.arange(start=0, stop=length), shape=(1, length))
        later = sym.broadcast_add(data, steps * 0.5)
        shifted = sym.slice_axis(later, axis=1, begin=0, end=length - 1)
        padded = sym.Concat(sym.zeros(shape=(4, 1)), shifted, dim=1)
        return sym.Activation(padded, act_type="tanh", name="out"), ["data"], []

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=7)
    module.bind([("data", (4, 7))], for_training=False)
    module.init_params()
    module.switch_bucket(5, [("data", (4, 5))])
    with pytest.raises(UnsupportedError, match="dynamic_batch: the batch size is written into"):
        module.export(tmp_path / "b", dynamic_length=True)

    def free_gen(length):
        data = sym.Variable("data")
        steps = sym.Reshape(sym.arange(start=0, stop=length), shape=(1, length))
        later = sym.broadcast_add(data, steps * 0.5)
        shifted = sym.slice_axis(later, axis=1, begin=0, end=length - 1)
        first = sym.slice_axis(data, axis=1, begin=0, end=1) * 0.0
        return sym.Concat(first, shifted, dim=1, name="out"), ["data"], []

    module = sb.mod.BucketingModule(free_gen, default_bucket_key=7)
    module.bind([("data", (4, 7))], for_training=False)
    module.init_params()
    module.switch_bucket(5, [("data", (4, 5))])
    module.export(tmp_path / "b", dynamic_length=True)
    x = np.arange(6, dtype=np.float32)
    (found,) = alone(tmp_path / "b" / "network.onnx").run(None, {"data": x[None]})
    np.testing.assert_array_equal(found[0], [0, *(x + 0.5 * np.arange(6))[:-1]])


def test_a_loss_that_cannot_be_of_any_length_is_named(tmp_path):
    def with_loss(length):
        loss = sb.sym.ctc_loss(sb.sym.Variable("data"), sb.sym.Variable("label"), name="ctc")
        return sb.sym.MakeLoss(loss), ["data"], ["label"]

    module = sb.mod.BucketingModule(with_loss, default_bucket_key=8)
    layout = "TNC"
    for key in (8, 6):
        data = [sb.io.DataDesc("data", (key, 2, 4), layout=layout)]
        if key == 8:
            module.bind(data, [("label", (2, 2))], for_training=False)
            module.init_params()
        else:
            module.switch_bucket(key, data, [("label", (2, 2))])
    with pytest.raises(
        UnsupportedError,
        match=r"differ in 'ctc' \(\d+ and \d+ nodes\).* export the network without",
    ):
        module.export(tmp_path / "b", dynamic_length=True)


def test_what_cannot_be_free_is_refused(tmp_path):
    residual = tagger(sb.rnn.ZoneoutCell(sb.rnn.RNNCell(8, prefix="r_"), 0.3), keys=(5, 8))
    with pytest.raises(UnsupportedError, match=r"dynamic_length: the network of key 8 has \d+ nod"):
        residual.export(tmp_path / "b", dynamic_length=True)
    with pytest.raises(UnsupportedError, match="two or more keys that are each one number"):
        tagger(sb.rnn.RNNCell(8, prefix="r_"), keys=(5,)).export(
            tmp_path / "b", dynamic_length=True
        )
    with pytest.raises(UnsupportedError, match="gradients are those of a whole batch"):
        trained().export(tmp_path / "b", training=True, dynamic_batch=True)
    assert not (tmp_path / "b").exists()

    def mean(length):
        return sym.mean(sym.Variable("data"), axis=1, name="m") * (1.0 / length), ["data"], []

    module = sb.mod.BucketingModule(mean, default_bucket_key=7)
    module.bind([("data", (4, 7))], for_training=False)
    module.init_params()
    module.switch_bucket(5, [("data", (4, 5))])
    with pytest.raises(UnsupportedError, match="a constant of float32 that depends on the size"):
        module.export(tmp_path / "b", dynamic_length=True)


@pytest.mark.parametrize("name", ["shorter", "ones"])
def test_an_output_whose_size_is_no_samples_and_no_keys_is_not_free(tmp_path, name):
    """Such a bundle could be written, and not be opened."""

    def sym_gen(length):
        data = sym.Variable("data")
        shorter = sym.slice_axis(data, axis=1, begin=2, end=length, name="shorter")
        ones = sym.ones_like(sym.sum(data, axis=1), name="ones")  # the same for all samples
        return (
            sym.Group([sym.tanh(data, name="y"), shorter if name == "shorter" else ones]),
            ["data"],
            [],
        )

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=7)
    module.bind([("data", (4, 7))], for_training=False)
    module.init_params()
    module.switch_bucket(5, [("data", (4, 5))])
    axis = int(name == "shorter")
    with pytest.raises(
        UnsupportedError, match=rf"axis {axis} of the output '{name}_output'.*neither"
    ):
        module.export(tmp_path / "b", dynamic_length=True)
    module.export(tmp_path / "c")
    (answer,) = sb.Bundle(tmp_path / "c").run([np.arange(7.0)])
    np.testing.assert_allclose(answer["y_output"], np.tanh(np.arange(7.0)), rtol=1e-6)


def test_a_free_network_that_lies_is_refused(tmp_path):
    trained().export(tmp_path / "b", dynamic_length=True)
    edit(tmp_path / "b", lambda d: [n.update(free=[]) for n in d["networks"]])
    with pytest.raises(BundleError, match=r"'network\.onnx' is there twice"):
        sb.Bundle(tmp_path / "b")
    trained(keys=(4, 6)).export(tmp_path / "c")
    edit(tmp_path / "c", lambda d: d["networks"][0].update(free=["batch"]))
    with pytest.raises(BundleError, match="its inputs are not those of the manifest"):
        sb.Bundle(tmp_path / "c")


def of_steps(build, keys=(4, 8), rows=2):
    """A module whose network for a key is ``build(key)`` of data (rows, key, 3)."""
    module = sb.mod.BucketingModule(
        lambda key: (build(key), ["data"], []), default_bucket_key=max(keys)
    )
    module.bind([("data", (rows, max(keys), 3))], for_training=False)
    module.init_params(sb.init.Uniform(0.5))
    for key in keys:
        module.switch_bucket(key, [("data", (rows, key, 3))])
    return module


def channels_first():
    return sym.transpose(sym.Variable("data"), axes=(0, 2, 1))


def largest_of_windows(key):
    """A window of two steps drops the last of five; of one step there is none."""
    windows = sym.Pooling(channels_first(), kernel=(2,), stride=(2,), pool_type="max")
    return sym.max(sym.relu(windows), axis=2, name="out")


def largest_of_a_convolution(key):
    steps = sym.Convolution(channels_first(), kernel=(3,), num_filter=2, name="c")
    return sym.max(sym.relu(steps), axis=2, name="out")


def middle(key):
    """The keys 4 and 5 have one middle, and shorter requests have another."""
    return sym.slice_axis(
        sym.Variable("data"), axis=1, begin=key // 2, end=key // 2 + 1, name="out"
    )


@pytest.mark.parametrize(
    ("build", "keys"),
    [(largest_of_windows, (4, 8)), (largest_of_a_convolution, (4, 8)), (middle, (4, 5))],
)
def test_lengths_between_keys_and_below_them_answer_as_their_bucket(tmp_path, build, keys):
    module = of_steps(build, keys)
    manifest = module.export(tmp_path / "free", dynamic_length=True)
    assert all(n.padding_matters for n in manifest.networks)
    module.export(tmp_path / "fixed")
    free, fixed = sb.Bundle(tmp_path / "free"), sb.Bundle(tmp_path / "fixed")
    rng = np.random.default_rng(0)
    for steps in range(1, max(keys) + 1):
        request = rng.normal(size=(steps, 3)).astype(np.float32)
        (left,), (right,) = free(request).values(), fixed(request).values()
        np.testing.assert_allclose(left, right, rtol=1e-5)


def rounded_up(key):
    """Windows of two steps, the last of which sticks out where the key is odd."""
    windows = sym.Pooling(
        channels_first(), kernel=(2,), stride=(2,), pool_type="max", pooling_convention="full"
    )
    return sym.max(windows, axis=2, name="out")


def as_many_as_there_are(key):
    """No rounding: at most four steps."""
    steps = sym.slice_axis(sym.Variable("data"), axis=1, begin=0, end=min(key, 4))
    return sym.max(steps, axis=1, name="out")


@pytest.mark.parametrize(
    ("build", "keys", "length"), [(middle, (4, 5), 3), (rounded_up, (4, 8), 3)]
)
def test_a_file_of_any_length_is_compared_at_lengths_that_are_no_keys(
    tmp_path, build, keys, length
):
    with pytest.raises(UnsupportedError, match=f"at length {length}, which is no key"):
        of_steps(build, keys).export_onnx(tmp_path / "m.onnx", dynamic_length=True)


def test_lengths_that_sym_gen_refuses_are_passed_over(tmp_path):
    def sizes_of_keys(key):
        assert key in (4, 5)
        return middle(key)

    of_steps(sizes_of_keys, (4, 5)).export_onnx(tmp_path / "m.onnx", dynamic_length=True)
    module = of_steps(as_many_as_there_are)
    module.export_onnx(tmp_path / "m.onnx", dynamic_length=True)
    session = alone(tmp_path / "m.onnx")
    for steps in (2, 5, 7, 11):
        data = np.random.default_rng(steps).normal(size=(1, steps, 3)).astype(np.float32)
        (answer,) = session.run(None, {"data": data})
        np.testing.assert_array_equal(answer, data[:, :4].max(axis=1))
