"""``examples/image_buckets.py`` at small size."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import symbucket as sb
from tests.examples.example_runs import load, run

example = load("image_buckets")
SMALL = [
    "--pictures", 300, "--smallest", 14, "--largest", 32, "--multiple", 16, "--filters", 4,
    "--batch-size", 8, "--lr", 0.01, "--shapes", "circle", "cross",
]  # fmt: skip


def rates(result):
    return [float(r) for r in re.findall(r"held-out accuracy ([\d.]+)%", result.out)]


def test_it_learns_in_buckets():
    result = run(example, *SMALL, "--num-epochs", 12)
    assert (result.code, result.err) == (0, "")
    assert "240 pictures to learn from, 60 held out" in result.out
    assert re.search(r"^ 16 x 32 +\d+ +\d+%$", result.out, re.MULTILINE)
    padding = re.search(r"Padding is (\d+)% .* it would be (\d+)%", result.out)
    assert int(padding[1]) < int(padding[2])
    assert len(rates(result)) == 12
    assert rates(result)[-1] > 75  # a guess is right in 50%


def test_a_single_bucket_to_compare():
    result = run(example, *SMALL, "--num-epochs", 1, "--single-bucket")
    assert result.code == 0
    assert len(re.findall(r"^ \d+ x \d+ ", result.out, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("circle", math.pi),
        ("square", 2.0),  # its corners lie on the unit circle
        ("triangle", 3 * math.sqrt(3) / 4),
        ("star", 5 * 0.4 * math.sin(math.pi / 5)),
        ("cross", 4 * 0.6 - 0.36),
    ],
)
def test_shapes_have_the_area_of_the_figure(kind, area):
    angles = np.linspace(-math.pi, math.pi, 20001)[:-1]
    found = (example.edge(kind, angles) ** 2).mean() * math.pi
    # The ends of the cross's bars are cut straight, at distance 1.
    assert found == pytest.approx(area, rel=0.01)


def pictures(count, smallest=9, largest=24):
    rng = np.random.default_rng(4)
    return [example.draw(rng, smallest, largest) for _ in range(count)]


def test_every_picture_comes_once_in_its_bucket():
    drawn = pictures(37)
    data = example.batches(drawn, example.keys_of(drawn, 8), 4, 0)
    assert len(list(data)) == len(data)
    data.reset()
    seen = 0
    for batch in data:
        height, width = batch.bucket_key
        assert batch.data[0].shape == (4, 1, height, width)
        assert (height % 8, width % 8) == (0, 0)
        seen += 4 - batch.pad
        for image in batch.data[0].asnumpy()[: 4 - batch.pad, 0]:
            # No smaller bucket would do.
            assert image[height - 8 :].any()
            assert image[:, width - 8 :].any()
    assert seen == 37


def test_a_network_of_another_size_gives_the_same_answer():
    """A picture in a larger bucket: only what a bias makes of the empty ground may differ."""
    module = sb.mod.BucketingModule(example.image_network(3), (24, 24))
    module.bind([("data", (2, 1, 24, 24))], [("softmax_label", (2,))])
    module.init_params(sb.init.Xavier())  # biases are zero
    data = np.zeros((2, 1, 40, 24), np.float32)
    data[:, :, :16, :16] = np.random.default_rng(0).normal(size=(2, 1, 16, 16))
    found = []
    for key in ((16, 16), (24, 24), (40, 24)):
        cut = data[:, :, : key[0], : key[1]]
        batch = sb.io.DataBatch(
            [cut], [np.zeros(2)], bucket_key=key, provide_data=[("data", cut.shape)],
            provide_label=[("softmax_label", (2,))],
        )  # fmt: skip
        module.forward(batch, is_train=False)
        found.append(module.get_outputs()[0].asnumpy())
    assert found[0].shape == (2, 5)
    np.testing.assert_allclose(found[1], found[2], rtol=1e-5)
    assert np.abs(found[0] - found[1]).max() < 0.2


def test_a_mistake_gets_a_message():
    result = run(example, "--smallest", 30, "--largest", 20)
    assert result.code == 2
    assert "--smallest 30 is more than --largest 20" in result.err
