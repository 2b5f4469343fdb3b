"""Which rows of an output belong to a request; outputs that have no such rows."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from tests.export.bundles import bound, image_network


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_images_of_two_sizes(tmp_path, batch):
    keys = [(8, 8), (4, 8), (8, 4), (4, 4)]
    module = sb.mod.BucketingModule(image_network, default_bucket_key=(8, 8))
    module.bind([("image", (batch, 2, 8, 8))])
    module.init_params(sb.init.Uniform(0.5))
    for key in keys:
        module.switch_bucket(key, [("image", (batch, 2, *key))])
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    pixels, flat = bundle.networks[8, 8].outputs
    assert pixels.axes == ("batch", None, "key[0]", "key[1]")
    assert flat.axes[0] == "batch"
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(2, *s)).astype(np.float32) for s in [(3, 8), (7, 3), (2, 2), (5, 5)]]
    found = bundle.run(images)
    hits = {k: s.requests for k, s in bundle.statistics().items()}
    assert hits == {(4, 8): 1, (8, 4): 1, (4, 4): 1, (8, 8): 1}
    for image, result in zip(images, found):
        key = min((k for k in keys if k[0] >= image.shape[1] and k[1] >= image.shape[2]),
                  key=lambda k: k[0] * k[1])  # fmt: skip
        data = np.zeros((batch, 2, *key), np.float32)
        data[0, :, : image.shape[1], : image.shape[2]] = image
        shape = [("image", data.shape)]
        module.forward(sb.io.DataBatch([data], bucket_key=key, provide_data=shape), is_train=False)
        whole, flat = (o.asnumpy() for o in module.get_outputs())
        np.testing.assert_allclose(
            result["pixels_output"],
            whole[0, :, : image.shape[1], : image.shape[2]],
            rtol=1e-5,
            atol=1e-6,
        )
        np.testing.assert_allclose(result["flat_output"], flat[0].reshape(-1), rtol=1e-5)


@pytest.mark.parametrize("layout", ["NT", "TN"])
def test_rows_of_samples_are_found_in_either_order(tmp_path, layout):
    """Time-major outputs interleave the samples: rows 0, batch, 2 * batch ... are the first's."""

    def sym_gen(length):
        rows = sym.Reshape(sym.Variable("data"), shape=(-1, 1))
        return sym.FullyConnected(rows, num_hidden=3, name="fc"), ("data",), ()

    def desc(length):
        return [sb.io.DataDesc("data", (2, length) if layout == "NT" else (length, 2),
                               layout=layout)]  # fmt: skip

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=5)
    module.bind(desc(5))
    module.init_params(sb.init.Uniform(0.5))
    module.switch_bucket(4, desc(4))
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    wanted = "batch*key" if layout == "NT" else "key*batch"
    assert bundle.networks[5].outputs[0].axes == (wanted, None)
    weight = module.get_params()[0]["fc_weight"].asnumpy()
    requests = [np.arange(n) + 10.0 * n for n in (4, 3, 5, 4, 4)]
    for values, result in zip(requests, bundle.run(requests)):
        np.testing.assert_allclose(result["fc_output"], values[:, None] @ weight.T, rtol=1e-5)


def test_rows_that_are_no_size_of_the_key(tmp_path):
    """Three rows a sample, whatever the key is."""

    def sym_gen(key):
        rows = sym.Reshape(sym.Variable("data"), shape=(-1, 4))
        return sym.FullyConnected(rows, num_hidden=2, name="fc"), ("data",), ()

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key="words")
    module.bind([("data", (2, 12))])
    module.init_params(sb.init.Uniform(0.5))
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    assert bundle.networks["words"].outputs[0].axes == ("batch*3", None)
    weight = module.get_params()[0]["fc_weight"].asnumpy()
    requests = [np.arange(12.0) + i for i in range(3)]
    for values, result in zip(requests, bundle.run(requests)):
        np.testing.assert_allclose(
            result["fc_output"], values.reshape(3, 4) @ weight.T, rtol=1e-4, atol=1e-4
        )


def test_equal_sizes_by_chance_are_not_cut(tmp_path):
    """One bucket of 5 and 5 features: an output of (n, 5) is not taken for time."""
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=5, name="fc")
    module = bound(net, [("data", (2, 5))], key=5)
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    assert bundle.networks[5].outputs[0].axes == ("batch", None)
    assert bundle([1.0, 2, 3])["fc_output"].shape == (5,)


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
@pytest.mark.parametrize("reduce", [sym.max, sym.min])
def test_the_largest_of_many_flags_is_one_of_a_sample(tmp_path, reduce, dtype):
    """Of random zeros and ones, the largest is 1 whichever sample changes."""
    net = reduce(sym.cast(sym.Variable("data"), dtype="float32"), axis=1, name="extreme")
    module = bound(net, [sb.io.DataDesc("data", (4, 30), dtype)])
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    assert bundle.networks["net"].outputs[0].axes == ("batch",)
    rows = np.zeros((4, 30)), np.ones((4, 30))
    answers = [answer["extreme_output"] for answer in bundle.run([*rows[0], *rows[1]])]
    assert answers == [0] * 4 + [1] * 4
