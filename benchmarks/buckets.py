#!/usr/bin/env python3
"""Compare ways to choose bucket boundaries: share of padding, and number of networks.

    python benchmarks/buckets.py

Four distributions of lengths, one and two lengths a sentence, the same number of buckets for each
way that takes one:

* equal width: boundaries at equal distances up to the longest;
* quantile: as many sentences in each bucket;
* Sockeye: multiples of a width; for pairs, the target side scaled by the mean ratio of lengths,
  and a pair goes to the first bucket that holds both sides;
* lhotse: as many tokens in each bucket; pairs by their source side, the longest target decides;
* espnet: sentences sorted by length and cut into batches of 32, each padded to its own longest. It
  has the least padding, and about as many shapes to compile as there are lengths;
* symbucket: ``plan_buckets``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from symbucket.io import plan_buckets
from symbucket.tables import format_table

Lengths = np.ndarray
Boxes = np.ndarray
BATCH = 32


def distributions(count: int, rng: np.random.Generator) -> dict[str, Lengths]:
    """Return lengths by name: shapes as text, speech and questions have them."""
    short = rng.geometric(0.25, count // 2) + 1
    long = rng.normal(60, 10, count - count // 2)
    return {
        "sentences (lognormal)": np.clip(rng.lognormal(3.0, 0.6, count), 1, 150),
        "utterances (frames)": np.clip(rng.lognormal(6.3, 0.7, count), 20, 3000),
        "short and long (two peaks)": np.clip(np.concatenate([short, long]), 1, 120),
        "uniform": rng.integers(5, 100, count),
    }


def pairs_of(source: Lengths, rng: np.random.Generator) -> Lengths:
    """Return (source, target) lengths, the target about 1.1 times as long."""
    target = np.maximum(1, source * rng.lognormal(0.1, 0.2, len(source)))
    return np.stack([source, target.astype(np.int64)], axis=1)


def padding(lengths: Lengths, boxes: Boxes) -> float:
    """Return the share of padding if every sample goes to the cheapest box that holds it."""
    lengths, boxes = lengths.reshape(len(lengths), -1), boxes.reshape(len(boxes), -1)
    size = np.full(len(lengths), np.inf)
    for box in boxes:
        inside = (lengths <= box).all(axis=1)
        size[inside] = np.minimum(size[inside], box.sum())
    return 1 - lengths.sum() / size.sum()


def equal_width(lengths: Lengths, count: int) -> Boxes:
    return np.ceil(lengths.max(axis=0) * np.arange(1, count + 1)[:, None] / count)


def _groups(order: np.ndarray, lengths: Lengths, count: int, weight: np.ndarray) -> Boxes:
    """Cut samples in this order into groups of equal weight; each box holds its group."""
    share = np.cumsum(weight[order]) / weight.sum()
    group = np.minimum((share * count - 1e-9).astype(int), count - 1)
    return np.stack([lengths[order][group == i].max(axis=0) for i in np.unique(group)])


def quantile(lengths: Lengths, count: int) -> Boxes:
    order = np.argsort(lengths.sum(axis=1), kind="stable")
    return _groups(order, lengths, count, np.ones(len(lengths)))


def sockeye(lengths: Lengths, count: int) -> Boxes:
    source = equal_width(lengths[:, :1], count)[:, 0]
    if lengths.shape[1] == 1:
        return source[:, None]
    ratio = (lengths[:, 1] / lengths[:, 0]).mean()
    boxes = np.stack([source, np.ceil(source * ratio)], axis=1)
    boxes[-1] = np.maximum(boxes[-1], lengths.max(axis=0))
    return boxes


def lhotse(lengths: Lengths, count: int) -> Boxes:
    order = np.argsort(lengths[:, 0], kind="stable")
    return _groups(order, lengths, count, lengths[:, 0].astype(float))


def espnet(lengths: Lengths, count: int) -> Boxes:
    order = np.lexsort(lengths.T[::-1])
    batches = [lengths[order[i : i + BATCH]] for i in range(0, len(order), BATCH)]
    return np.unique([batch.max(axis=0) for batch in batches], axis=0)


def symbucket(lengths: Lengths, count: int) -> Boxes:
    return np.array(plan_buckets(lengths, count, batch=BATCH).boundaries)


WAYS: dict[str, Callable[[Lengths, int], Boxes]] = {
    "equal width": equal_width,
    "quantile": quantile,
    "Sockeye": sockeye,
    "lhotse": lhotse,
    "espnet (sorted)": espnet,
    "symbucket": symbucket,
}


def main() -> None:
    """Print a table for one and for two lengths a sentence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=6, help="buckets")
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    for axes in (1, 2):
        rows = [("lengths" if axes == 1 else "pairs", *WAYS, "seconds")]
        for name, source in distributions(args.sentences, rng).items():
            lengths = source.astype(np.int64)[:, None]
            if axes == 2:
                lengths = pairs_of(lengths[:, 0], rng)
            cells = []
            for choose in WAYS.values():
                start = time.perf_counter()
                boxes = choose(lengths, args.count)
                seconds = time.perf_counter() - start
                networks = f" ({len(boxes)})" if len(boxes) != args.count else ""
                cells.append(f"{padding(lengths, boxes):.1%}{networks}")
            rows.append((name, *cells, f"{seconds:.2f}"))
        print(format_table(rows, left=[0]))
        print("share of padding; in brackets the number of networks, if it is another one\n")


if __name__ == "__main__":
    main()
