"""``examples/ctc_ocr.py`` at small size."""

from __future__ import annotations

import re

import numpy as np

import symbucket as sb
from tests.examples.example_runs import load, run

example = load("ctc_ocr")
SMALL = [
    "--words", 150, "--letters", "LX", "--longest", 2, "--noise", 0.05, "--filters", 4,
    "--hidden", 8, "--batch-size", 5, "--lr", 0.04,
]  # fmt: skip


def distances(result):
    return [float(r) for r in re.findall(r"edit distance ([\d.]+)% of the letters", result.out)]


def test_it_learns_to_read():
    result = run(example, *SMALL, "--num-epochs", 8)
    assert (result.code, result.err) == (0, "")
    assert "135 words to learn from, 15 held out; widths of buckets: 16, 32" in result.out
    assert len(distances(result)) == 8
    assert distances(result)[-1] < 25  # reading nothing is 100%


def test_letters_are_drawn_upright_and_in_order():
    letter = example.glyph("L")
    assert letter.shape == (7, 5)
    assert letter[:, 0].all()
    assert letter[-1].all()
    assert letter[:-1, 1:].sum() == 0
    rng = np.random.default_rng(0)
    wide = example.stretched(letter, 14, 20, 0.0)
    assert wide[:, 1:3].min() > 0.5  # the stem
    assert wide[:8, 8:].max() < 0.1
    picture = example.draw(rng, "ABC", 5, 0.0)
    assert picture.pixels.shape[0] == example.HEIGHT
    assert set(picture.word) <= set("ABC")
    assert 1 <= len(picture.word) <= 5


def test_a_wider_bucket_reads_the_same():
    module = sb.mod.BucketingModule(example.reader(4, 2, 3), 32)
    shapes = [("data", (2, 1, example.HEIGHT, 32)), ("width", (2,))]
    module.bind(shapes, [("label", (2, 3))])
    module.init_params(sb.init.Xavier())  # biases are zero
    rng = np.random.default_rng(1)
    data = np.zeros((2, 1, example.HEIGHT, 48), np.float32)
    data[0, :, :, :28] = rng.normal(size=(1, example.HEIGHT, 28))
    data[1, :, :, :20] = rng.normal(size=(1, example.HEIGHT, 20))
    losses = []
    for key in (32, 48):
        batch = sb.io.DataBatch(
            [data[..., :key], np.array([28.0, 20.0])],
            [np.array([[1, 2, 0], [3, 3, 1]])],
            bucket_key=key,
            provide_data=[("data", data[..., :key].shape), ("width", (2,))],
            provide_label=[("label", (2, 3))],
        )
        module.forward(batch, is_train=False)
        losses.append(module.get_outputs()[0].asnumpy())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_mistake_gets_a_message():
    result = run(example, "--letters", "A1")
    assert result.code == 2
    assert "only letters from A to Z can be drawn" in result.err
    result = run(example, "--multiple", 15)
    assert "--multiple 15 must be even" in result.err
