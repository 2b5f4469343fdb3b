"""Reading, resizing and cropping pictures, with MXNet's numbers."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from tests.image.pictures import png, random_pixels

image = sb.image

# interp, width, height, pixel (2, 3) and mean of MXNet 1.9.1's imresize of float32
RESIZED = [
    (0, 5, 4, [149.0, 5.0, 211.0], 134.6167),
    (0, 18, 14, [67.0, 197.0, 116.0], 128.7778),
    (0, 13, 4, [23.0, 146.0, 236.0], 136.0769),
    (1, 5, 4, [35.325, 89.425, 156.625], 132.3188),
    (1, 18, 14, [97.5, 146.0, 140.75], 128.7778),
    (1, 13, 4, [185.702, 111.048, 214.481], 128.3647),
    (2, 5, 4, [13.831, 80.579, 159.093], 132.4305),
    (2, 18, 14, [81.462, 153.864, 142.872], 128.7784),
    (2, 13, 4, [200.295, 104.236, 218.644], 127.6887),
    (3, 5, 4, [74.873, 105.508, 143.206], 128.7778),
    (3, 18, 14, [67.0, 197.0, 116.0], 128.7778),
    (3, 13, 4, [154.429, 113.857, 227.429], 127.1653),
    (4, 5, 4, [4.01, 77.831, 153.129], 131.372),
    (4, 18, 14, [79.874, 149.624, 140.261], 128.786),
    (4, 13, 4, [207.495, 101.697, 218.136], 127.9687),
]


def picture(dtype="uint8"):
    return sb.nd.array(random_pixels(), dtype=dtype)


@pytest.mark.parametrize(("interp", "width", "height", "pixel", "mean"), RESIZED)
def test_resized_as_by_mxnet(interp, width, height, pixel, mean):
    values = image.imresize(picture("float32"), width, height, interp).asnumpy()
    assert values.shape == (height, width, 3)
    np.testing.assert_allclose(values[2, 3], pixel, atol=2e-3)
    assert values.mean() == pytest.approx(mean, abs=2e-4)
    rounded = image.imresize(picture(), width, height, interp).asnumpy()
    assert rounded.dtype == np.uint8
    assert np.abs(rounded - np.clip(values, 0, 255)).max() <= 0.5 + 1e-3


def test_interpolation_by_sizes_or_by_chance():
    src = picture("float32")
    for size, interp in (((18, 14), 2), ((5, 4), 3), ((5, 14), 1)):
        chosen = image.imresize(src, *size, 9).asnumpy()
        assert (chosen == image.imresize(src, *size, interp).asnumpy()).all()
    assert image.imresize(src, 5, 4, 10).shape == (4, 5, 3)
    with pytest.raises(sb.MXNetError, match=r"interp=5 must be one of 0 \(nearest\), 1 \(linear\)"):
        image.imresize(src, 5, 4, 5)


def test_sizes_and_places_of_crops():
    src = picture()
    assert image.resize_short(src, 5).shape == (5, 6, 3)
    assert image.resize_short(src.swapaxes(0, 1), 5).shape == (6, 5, 3)
    assert image.scale_down((4, 4), (5, 3)) == (4, 2)
    assert image.scale_down((640, 480), (720, 120)) == (640, 106)
    part, box = image.center_crop(src, (4, 4))
    assert box == (2, 1, 4, 4)
    assert (part.asnumpy() == random_pixels()[1:5, 2:6]).all()
    assert image.fixed_crop(src, 1, 2, 4, 3, (6, 6)).shape == (6, 6, 3)
    assert image.random_crop(src, (20, 4))[0].shape == (4, 20, 3)
    with pytest.raises(sb.MXNetError, match=r"4 columns from 7 .* do not lie within"):
        image.fixed_crop(src, 7, 0, 4, 3)
    with pytest.raises(sb.MXNetError, match=r"this one \(7, 9\)"):
        image.imresize(sb.nd.zeros((7, 9)), 3, 3)


def test_random_crops_repeat_with_the_seed():
    def crops():
        sb.random.seed(5)
        parts = [image.random_crop(picture(), (4, 3))[1] for _ in range(20)]
        sized = [image.random_size_crop(picture(), (4, 3), 0.2, (0.5, 2)) for _ in range(20)]
        assert all(part.shape == (3, 4, 3) for part, _ in sized)
        return parts + [box for _, box in sized]

    first = crops()
    assert crops() == first
    assert len({box[:2] for box in first[:20]}) > 8
    shares = [w * h / 63 for _, _, w, h in first[20:]]
    assert 0.1 < min(shares) < 0.4
    assert max(shares) > 0.6
    _, box = image.random_size_crop(picture(), (4, 4), (5.0, 6.0), (1, 1))
    assert box == image.center_crop(picture(), (4, 4))[1]


def test_normalized():
    values = image.color_normalize(picture(), [1, 2, 3], sb.nd.array([1, 1, 2])).asnumpy()
    np.testing.assert_allclose(values[2, 3], [34.0, 48.0, 45.5])  # MXNet
    assert image.color_normalize(picture(), None, 2.0).dtype == np.float32


def test_files(tmp_path):
    pytest.importorskip("PIL")
    content = png(random_pixels())
    assert (image.imdecode(content).asnumpy() == random_pixels()).all()
    out = sb.nd.zeros((7, 9, 3), dtype="uint8")
    assert image.imdecode(np.frombuffer(content, np.uint8), to_rgb=False, out=out) is out
    assert (out.asnumpy() == random_pixels()[:, :, ::-1]).all()
    grey = image.imdecode(content, flag=0).asnumpy()
    assert grey.shape == (7, 9, 1)
    assert np.abs(grey[0, :3, 0].astype(int) - [165, 123, 194]).max() <= 1  # MXNet
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert image.imread(path).shape == (7, 9, 3)
    with pytest.raises(sb.MXNetError, match=r"cannot read .*none\.png"):
        image.imread(tmp_path / "none.png")
    with pytest.raises(sb.MXNetError, match="bytes are no picture"):
        image.imdecode(content[:40])


def test_without_a_decoder(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("symbucket.pictures.codec.importlib.import_module", missing)
    with pytest.raises(sb.MXNetError, match="Pillow, which is not installed: pip install pillow"):
        image.imdecode(b"")


def test_what_is_missing_is_refused_by_name():
    with pytest.raises(AttributeError, match="no 'CreateDetAugmenter': there are no augmenters of"):
        _ = image.CreateDetAugmenter
    with pytest.raises(AttributeError, match=r"no 'imrotate': .*SpatialTransformer"):
        _ = image.imrotate
