"""Batches and parameters of the benchmark: made once from a seed, read by every engine.

Runs under Python 3.8 with numpy alone, because MXNet's worker imports it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

IGNORED = 0


@dataclass(frozen=True)
class Setup:
    """What all engines have in common."""

    hidden: int
    layers: int
    vocab: int
    batch: int
    buckets: tuple[int, ...]
    threads: int
    rate: float

    @property
    def longest(self) -> int:
        """The largest bucket, to which a padded engine pads every batch."""
        return max(self.buckets)


@dataclass(frozen=True)
class Batch:
    """``data`` and ``label`` of shape (batch, key), int64; 0 is padding and no label."""

    key: int
    data: np.ndarray
    label: np.ndarray

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int(np.count_nonzero(self.data))

    @property
    def labels(self) -> int:
        """Rows of the vocabulary product whose label counts."""
        return int(np.count_nonzero(self.label))

    def padded(self, key: int) -> Batch:
        """The same sentences in a longer bucket."""
        width = ((0, 0), (0, key - self.key))
        return Batch(key, np.pad(self.data, width), np.pad(self.label, width))


# Sentences ---------------------------------------------------------------------------------------


def length_weights(mean: float, deviation: float, longest: int) -> np.ndarray:
    """Probability of the lengths 0..longest: a gamma density at whole numbers from 2 on.

    With mean 22 and deviation 10.5 it is close to the sentences of the Penn Treebank with their
    end marks (1% above 50). What the cut at both ends does to the mean is made good.
    """
    lengths = np.arange(longest + 1, dtype=np.float64)
    spread = (deviation / mean) ** 2
    low, high = mean / 2, 4 * mean
    weights = lengths
    for _ in range(60):
        middle = (low + high) / 2
        scale = middle * spread
        with np.errstate(divide="ignore"):
            logs = (1 / spread - 1) * np.log(lengths) - lengths / scale
        logs[:2] = -np.inf
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        if weights @ lengths < mean:
            low = middle
        else:
            high = middle
    return weights


def zipf_tokens(count: int, vocab: int, rng: np.random.RandomState) -> np.ndarray:
    """Tokens 1..vocab-1 whose frequency falls as 1 / (rank + 2.7)."""
    total = np.cumsum(1.0 / (np.arange(1, vocab) + 2.7))
    return 1 + np.searchsorted(total, rng.random_sample(count) * total[-1])


def batches_per_key(weights: np.ndarray, buckets: Sequence[int], count: int) -> list[int]:
    """How many of ``count`` batches each bucket gets: its share, rounded, and at least one."""
    below = [0, *buckets[:-1]]
    shares = [weights[low + 1 : key + 1].sum() * count for low, key in zip(below, buckets)]
    return [max(1, round(share)) for share in shares]


def make_batches(
    setup: Setup, sentences: int, mean: float, deviation: float, seed: int
) -> list[Batch]:
    """Batches of synthetic sentences in one random order, which every epoch repeats."""
    rng = np.random.RandomState(seed)
    weights = length_weights(mean, deviation, setup.longest)
    counts = batches_per_key(weights, setup.buckets, max(1, sentences // setup.batch))
    below = [0, *setup.buckets[:-1]]
    batches = []
    for low, key, count in zip(below, setup.buckets, counts):
        inside = weights[low + 1 : key + 1]
        for _ in range(count):
            # A bucket so narrow or rare that it has no weight still gets its one batch.
            chances = inside / inside.sum() if inside.sum() else None
            lengths = low + 1 + rng.choice(key - low, setup.batch, p=chances)
            batches.append(_batch(key, lengths, setup, rng))
    return [batches[i] for i in rng.permutation(len(batches))]


def _batch(key: int, lengths: np.ndarray, setup: Setup, rng: np.random.RandomState) -> Batch:
    data = zipf_tokens(setup.batch * key, setup.vocab, rng).reshape(setup.batch, key)
    data[np.arange(key) >= lengths[:, None]] = IGNORED
    label = np.full_like(data, IGNORED)
    label[:, :-1] = data[:, 1:]
    return Batch(key, data, label)


# Parameters --------------------------------------------------------------------------------------


def parameter_shapes(setup: Setup) -> dict[str, tuple[int, ...]]:
    """Shapes by MXNet's names. Gates stand in the order i, f, c, o, which is PyTorch's too."""
    size, gates = setup.hidden, 4 * setup.hidden
    shapes: dict[str, tuple[int, ...]] = {"embed_weight": (setup.vocab, size)}
    for layer in range(setup.layers):
        for part in ("i2h", "h2h"):
            shapes[f"lstm_l{layer}_{part}_weight"] = (gates, size)
            shapes[f"lstm_l{layer}_{part}_bias"] = (gates,)
    shapes["pred_weight"] = (setup.vocab, size)
    shapes["pred_bias"] = (setup.vocab,)
    return shapes


def make_parameters(setup: Setup, seed: int) -> dict[str, np.ndarray]:
    """Uniform in +-0.08, biases too, so that a swapped bias or gate shows in the losses."""
    rng = np.random.RandomState(seed)
    shapes = parameter_shapes(setup)
    return {n: rng.uniform(-0.08, 0.08, s).astype(np.float32) for n, s in shapes.items()}


# Files -------------------------------------------------------------------------------------------


def save(
    folder: Path, setup: Setup, batches: Sequence[Batch], params: dict[str, np.ndarray]
) -> None:
    """Write everything that a worker needs."""
    arrays = {"param/" + name: value for name, value in params.items()}
    for i, batch in enumerate(batches):
        arrays[f"data/{i}"] = batch.data
        arrays[f"label/{i}"] = batch.label
    np.savez(str(folder / "arrays.npz"), **arrays)
    (folder / "setup.json").write_text(json.dumps(asdict(setup)), encoding="utf-8")


def load(folder: Path) -> tuple[Setup, list[Batch], dict[str, np.ndarray]]:
    """Read what :func:`save` wrote."""
    fields = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    fields["buckets"] = tuple(fields["buckets"])
    with np.load(str(folder / "arrays.npz")) as arrays:
        params = {n[len("param/") :]: arrays[n] for n in arrays.files if n.startswith("param/")}
        batches = []
        for i in range(len([n for n in arrays.files if n.startswith("data/")])):
            data, label = arrays[f"data/{i}"], arrays[f"label/{i}"]
            batches.append(Batch(data.shape[1], data, label))
    return Setup(**fields), batches, params
