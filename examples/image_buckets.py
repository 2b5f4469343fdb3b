"""A convolutional network for pictures of many sizes: the bucket key is (height, width).

    python examples/image_buckets.py
    python examples/image_buckets.py --single-bucket

A network for images usually wants them all of one size: they are scaled, which changes what they
show, or padded to the largest, which wastes most of the work. With buckets a picture is padded to
the next multiple of 16 only, and the network of that height and width is as small as the picture
allows. Convolutions do not care about the size of their input, and the maximum over all places at
the end gives one vector for any size, so all of these networks have the same parameters.

The pictures are drawn by this program: a circle, a square, a triangle, a star or a cross of any
size, angle, place and brightness, dark or bright against its ground, with noise, on a canvas of 20
to 64 pixels by 20 to 64. The network says which. It is tested on pictures that it was not trained
on: with the defaults it tells 96% of them right. ``--single-bucket`` trains on the same pictures
all padded to the largest size, to compare: 96% as well, for 1.7 times the pixels to work on.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import argument_parser, integer, positive, run_program

SHAPES = ("circle", "square", "triangle", "star", "cross")
Key = tuple[int, int]


# Pictures ----------------------------------------------------------------------------------------


class Picture(NamedTuple):
    pixels: np.ndarray  # (height, width)
    kind: int


def edge(kind: str, angle: np.ndarray) -> np.ndarray:
    """Distance from the middle of a shape to its edge in each direction (radians)."""
    if kind == "circle":
        return np.ones_like(angle)
    if kind == "cross":  # two bars: inside one of them is inside the cross
        bars = []
        for turn in (0, math.pi / 2):
            along, across = np.abs(np.cos(angle - turn)), np.abs(np.sin(angle - turn))
            bars.append(np.minimum(1 / np.maximum(along, 1e-6), 0.3 / np.maximum(across, 1e-6)))
        return np.maximum(*bars)
    corners, inner = {"square": (4, None), "triangle": (3, None), "star": (5, 0.4)}[kind]
    half = math.pi / corners
    turn = np.abs((angle + half) % (2 * half) - half)  # from the nearest corner, 0 to half
    # The straight edge from the corner (distance 1) to the point between two corners.
    middle = math.cos(half) if inner is None else inner
    x, y = middle * math.cos(half), middle * math.sin(half)
    return y / (np.sin(turn) * (1 - x) + np.cos(turn) * y)


def draw(
    rng: np.random.Generator, smallest: int, largest: int, shapes: Sequence[str] = SHAPES
) -> Picture:
    """A picture of one of the shapes."""
    height, width = rng.integers(smallest, largest + 1, 2)
    kind = int(rng.integers(len(shapes)))
    radius = min(height, width) * rng.uniform(0.25, 0.45)
    top, left = (rng.uniform(radius, size - radius) for size in (height, width))
    y, x = np.mgrid[:height, :width]
    distance, angle = np.hypot(y - top, x - left), np.arctan2(y - top, x - left)
    outline = radius * edge(shapes[kind], angle + rng.uniform(0, 2 * math.pi))
    inside = np.clip(outline - distance + 0.5, 0, 1)  # half a pixel of softness at the edge
    contrast = rng.uniform(0.5, 1.5) * rng.choice([-1, 1])
    pixels = inside * contrast + rng.normal(0, abs(contrast) / 5, (height, width))
    return Picture(pixels.astype(np.float32), kind)


# Buckets -----------------------------------------------------------------------------------------


def keys_of(pictures: Sequence[Picture], multiple: int, single: bool = False) -> list[Key]:
    """The bucket of each picture: its sides rounded up to multiples; one for all if ``single``."""
    keys = [tuple(-(-side // multiple) * multiple for side in p.pixels.shape) for p in pictures]
    if single:
        keys = [tuple(max(sides) for sides in zip(*keys))] * len(keys)
    return keys


def batches(
    pictures: Sequence[Picture], keys: Sequence[Key], batch_size: int, seed: int
) -> sb.io.KeyedIter:
    """Batches of pictures of one bucket, on a ground of zeros; the last one repeats some."""
    padded = []
    for picture, key in zip(pictures, keys):
        height, width = picture.pixels.shape
        padded.append(np.zeros((1, *key), np.float32))
        padded[-1][0, :height, :width] = picture.pixels
    kinds = [picture.kind for picture in pictures]
    return sb.io.KeyedIter(keys, padded, kinds, batch_size, last_batch="pad", seed=seed)


def table(pictures: Sequence[Picture], keys: Sequence[Key]) -> str:
    """The buckets, and what they save."""
    lines = ["bucket     pictures  padding"]
    for key in sorted(set(keys)):
        sizes = [p.pixels.size for p, k in zip(pictures, keys) if k == key]
        share = 1 - sum(sizes) / (len(sizes) * math.prod(key))
        lines.append(f"{key[0]:>3} x {key[1]:<3} {len(sizes):>10} {share:>8.0%}")
    shown, worked = sum(p.pixels.size for p in pictures), sum(map(math.prod, keys))
    largest = len(keys) * math.prod(max(sides) for sides in zip(*keys))
    return "\n".join(
        [
            *lines,
            f"Padding is {1 - shown / worked:.0%} of all pixels; with the largest size for all it "
            f"would be {1 - shown / largest:.0%}.",
        ]
    )


# The network -------------------------------------------------------------------------------------


def image_network(filters: int):
    """``sym_gen``: the same layers whatever the (height, width) of the key."""

    def sym_gen(key: Key):
        x = sb.sym.Variable("data")  # (batch, 1, height, width)
        for layer in range(3):
            x = sb.sym.Convolution(
                x, kernel=(3, 3), pad=(1, 1), num_filter=filters << layer, name=f"conv{layer}"
            )
            x = sb.sym.relu(x)
            x = sb.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
        # The largest response anywhere in the picture: no size is left, and the empty ground that
        # pads a picture does not thin it out, as an average would.
        x = sb.sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="max")
        x = sb.sym.FullyConnected(x, num_hidden=8 * filters, name="hidden")
        scores = sb.sym.FullyConnected(sb.sym.relu(x), num_hidden=len(SHAPES), name="kind")
        label = sb.sym.Variable("softmax_label")
        return sb.sym.SoftmaxOutput(scores, label, name="softmax"), ["data"], ["softmax_label"]

    return sym_gen


def accuracy(module: sb.mod.BucketingModule, data: sb.io.KeyedIter) -> float:
    """Share of pictures whose shape is told right; repeated ones are left out."""
    right = total = 0
    for outputs, _, batch in module.iter_predict(data):
        kinds = outputs[0].asnumpy().argmax(axis=1)
        right += int((kinds == batch.label[0].asnumpy()[: len(kinds)]).sum())
        total += len(kinds)
    return right / total


def run(args: argparse.Namespace) -> None:
    sb.random.seed(args.seed)
    rng = np.random.default_rng(args.seed)
    pictures = [draw(rng, args.smallest, args.largest, args.shapes) for _ in range(args.pictures)]
    cut = args.pictures * 4 // 5
    keys = keys_of(pictures, args.multiple, args.single_bucket)
    train = batches(pictures[:cut], keys[:cut], args.batch_size, args.seed)
    held_out = batches(pictures[cut:], keys[cut:], args.batch_size, args.seed)
    print(
        f"{cut:,} pictures to learn from, {len(pictures) - cut:,} held out\n\n"
        f"{table(pictures[:cut], keys[:cut])}\n"
    )
    module = sb.mod.BucketingModule(image_network(args.filters), train.default_bucket_key)
    began = time.perf_counter()

    def tell(epoch: int, *_: object) -> None:
        print(
            f"epoch {epoch + 1}: {time.perf_counter() - began:.1f} s, held-out accuracy "
            f"{accuracy(module, held_out):.1%}",
            flush=True,
        )

    print("training ...", flush=True)
    module.fit(
        train,
        eval_metric="acc",
        epoch_end_callback=tell,
        initializer=sb.init.Xavier(factor_type="in", magnitude=2),
        optimizer="adam",
        optimizer_params={
            "learning_rate": args.lr,
            "lr_scheduler": sb.lr_scheduler.CosineScheduler(len(train) * args.num_epochs, args.lr),
        },
        num_epoch=args.num_epochs,
    )


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(
        "image_buckets.py", "Tell shapes in pictures of many sizes, with a bucket for each size."
    )
    add = parser.add_argument
    add("--pictures", type=integer(10), default=4000, help="how many to draw")
    add("--shapes", nargs="+", choices=SHAPES, default=SHAPES, help="which shapes to draw")
    add("--smallest", type=integer(8), default=20, help="pixels of the shortest side")
    add("--largest", type=integer(8), default=64, help="pixels of the longest side")
    add("--multiple", type=integer(8), default=16, help="sides of buckets are multiples of this")
    add("--single-bucket", action="store_true", help="pad all to the largest size, to compare")
    add("--filters", type=integer(1), default=12, help="filters of the first convolution")
    add("--batch-size", type=integer(1), default=32, help="pictures in a batch")
    add("--num-epochs", type=integer(1), default=8, help="times through the pictures")
    add("--lr", type=positive, default=0.003, help="learning rate of Adam")
    add("--seed", type=int, default=1, help="the same one repeats a run exactly")
    args = parser.parse_args(argv)
    if args.smallest > args.largest:
        parser.error(f"--smallest {args.smallest} is more than --largest {args.largest}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    return run_program("image_buckets.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
