"""Pictures: reading, resizing, cropping, augmenting, and iterators over files of them.

As ``mx.image``. Pictures are NDArrays (height, width, channels), red first. Random numbers follow
the seed of ``symbucket.random``. Files are decoded by Pillow, if it is installed.
"""

from symbucket.image.augmenter import Augmenter, RandomOrderAug, SequentialAug
from symbucket.image.colors import (
    BrightnessJitterAug,
    CastAug,
    ColorJitterAug,
    ColorNormalizeAug,
    ContrastJitterAug,
    HueJitterAug,
    LightingAug,
    RandomGrayAug,
    SaturationJitterAug,
)
from symbucket.image.create_augmenter import CreateAugmenter
from symbucket.image.functions import (
    center_crop,
    color_normalize,
    fixed_crop,
    imdecode,
    imread,
    imresize,
    random_crop,
    random_size_crop,
    resize_short,
    scale_down,
)
from symbucket.image.image_iter import ImageIter
from symbucket.image.record_iter import ImageRecordIter
from symbucket.image.shapes import (
    CenterCropAug,
    ForceResizeAug,
    HorizontalFlipAug,
    RandomCropAug,
    RandomSizedCropAug,
    ResizeAug,
)

__all__ = [
    "Augmenter",
    "BrightnessJitterAug",
    "CastAug",
    "CenterCropAug",
    "ColorJitterAug",
    "ColorNormalizeAug",
    "ContrastJitterAug",
    "CreateAugmenter",
    "ForceResizeAug",
    "HorizontalFlipAug",
    "HueJitterAug",
    "ImageIter",
    "ImageRecordIter",
    "LightingAug",
    "RandomCropAug",
    "RandomGrayAug",
    "RandomOrderAug",
    "RandomSizedCropAug",
    "ResizeAug",
    "SaturationJitterAug",
    "SequentialAug",
    "center_crop",
    "color_normalize",
    "fixed_crop",
    "imdecode",
    "imread",
    "imresize",
    "random_crop",
    "random_size_crop",
    "resize_short",
    "scale_down",
]


def __getattr__(name: str) -> object:
    """Raise AttributeError; what MXNet has for boxes and rotations is refused by name."""
    reason = ""
    if name.startswith(("Det", "CreateDet", "CreateMultiRand", "ImageDet")):
        reason = (
            ": there are no augmenters of boxes; make labels of boxes beside the pictures in a "
            "DataIter of your own"
        )
    elif name in ("imrotate", "random_rotate"):
        reason = ": sym.SpatialTransformer or nd.SpatialTransformer rotates pictures"
    raise AttributeError(f"symbucket.image has no {name!r}{reason}")
