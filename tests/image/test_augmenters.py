"""Augmenters: MXNet's numbers at the upper end of their range, and what they dump."""

from __future__ import annotations

import json

import numpy as np
import pytest

import symbucket as sb
from tests.image.pictures import random_pixels

image = sb.image


class UpperEnd:
    """A generator that draws the upper end of every range."""

    def uniform(self, low, high):
        return high

    def random(self):
        return 0.0

    def normal(self, mean, deviation, size):
        return np.full(size, mean + deviation)


@pytest.fixture
def upper_end(monkeypatch):
    monkeypatch.setattr("symbucket.seeding.generator", UpperEnd)


@pytest.mark.parametrize(
    ("augmenter", "pixel", "mean"),
    [
        (image.BrightnessJitterAug(0.3), [45.5, 65.0, 122.2], 167.41112),
        (image.ContrastJitterAug(0.3), [7.5055275, 27.0055275, 84.2055206], 129.41663),
        (image.SaturationJitterAug(0.3), [30.3407, 49.840698, 107.040695], 129.41663),
        (image.HueJitterAug(0.3), [21.761089, 64.579132, 53.628403], 126.08848),
        (image.RandomGrayAug(1.0), [49.930004] * 3, 126.41524),
    ],
)
def test_numbers_of_mxnet(upper_end, augmenter, pixel, mean):
    src = sb.nd.array(random_pixels())
    values = augmenter(src).asnumpy()
    np.testing.assert_allclose(values[2, 3], pixel, rtol=2e-6)
    assert values.mean() == pytest.approx(mean, rel=2e-6)
    assert (src.asnumpy() == random_pixels()).all()  # MXNet writes into some


def test_light_is_a_share_of_each_component(upper_end):
    light = image.LightingAug(0.5, [1, 2, 4], np.eye(3))
    change = light(sb.nd.zeros((2, 2, 3))).asnumpy()
    assert change[1, 1].tolist() == [0.5, 1.0, 2.0]


def test_mirrored_half_of_the_time():
    sb.random.seed(1)
    src = sb.nd.array(random_pixels())
    flips = [
        bool((image.HorizontalFlipAug(0.5)(src)[0, 0] != src[0, 0]).sum().asscalar())
        for _ in range(60)
    ]
    assert 15 < sum(flips) < 45
    mirror = image.HorizontalFlipAug(1.0)(src).asnumpy()
    assert (mirror == random_pixels()[:, ::-1]).all()
    assert image.HorizontalFlipAug(0.0)(src) is src
    assert image.RandomGrayAug(0.0)(src) is src


def test_what_they_dump():
    assert image.ResizeAug(4).dumps() == '["resizeaug", {"size": 4, "interp": 2}]'
    assert image.CastAug().dumps() == '["castaug", {"type": "float32"}]'
    normalize = image.ColorNormalizeAug(sb.nd.array([1, 2, 3]), None)
    assert json.loads(normalize.dumps()) == [
        "colornormalizeaug",
        {"mean": [1.0, 2.0, 3.0], "std": None},
    ]
    name, parts = image.ColorJitterAug(0.1, 0, 0.2).dumps()
    assert name == "colorjitteraug"
    assert [json.loads(p)[0] for p in parts] == ["brightnessjitteraug", "saturationjitteraug"]


def test_several_in_order_or_in_any_order():
    class Add(image.Augmenter):
        def __call__(self, src):
            return src * 2 + self._kwargs["number"]

    ts = [Add(number=1), Add(number=5)]
    zero = sb.nd.zeros((1, 1, 3))
    assert image.SequentialAug(ts)(zero)[0, 0, 0].asscalar() == 7
    drawn = {float(image.RandomOrderAug(ts)(zero)[0, 0, 0].asscalar()) for _ in range(30)}
    assert drawn == {7.0, 11.0}
    with pytest.raises(NotImplementedError, match="Augmenter defines no __call__"):
        image.Augmenter()(zero)


def test_the_usual_list():
    names = [
        type(a).__name__
        for a in image.CreateAugmenter(
            (3, 4, 4),
            resize=5,
            rand_crop=True,
            rand_mirror=True,
            mean=True,
            std=True,
            brightness=0.1,
            hue=0.1,
            pca_noise=0.1,
            rand_gray=0.1,
        )
    ]
    assert (
        names
        == (
            "ResizeAug RandomCropAug HorizontalFlipAug CastAug ColorJitterAug HueJitterAug "
            "LightingAug RandomGrayAug ColorNormalizeAug"
        ).split()
    )
    plain = image.CreateAugmenter((3, 4, 5))
    assert [type(a).__name__ for a in plain] == ["CenterCropAug", "CastAug"]
    assert plain[0](sb.nd.array(random_pixels())).shape == (4, 5, 3)
    sized = image.CreateAugmenter((3, 4, 4), rand_resize=True, rand_crop=True)
    assert type(sized[0]) is image.RandomSizedCropAug
    forced = image.ForceResizeAug((5, 4))
    assert forced(sb.nd.array(random_pixels())).shape == (4, 5, 3)
    with pytest.raises(sb.MXNetError, match="rand_resize=True needs rand_crop=True"):
        image.CreateAugmenter((3, 4, 4), rand_resize=True)
    with pytest.raises(sb.MXNetError, match=r"mean has shape \(2,\)"):
        image.CreateAugmenter((3, 4, 4), mean=[1, 2])
