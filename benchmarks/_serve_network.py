"""The network of the serving benchmark, and its requests: the same for all engines."""

from __future__ import annotations

import numpy as np

WORDS, UNITS, CLASSES, LAYERS = 10_000, 200, 20, 2
COUNTS = {"mixed": 600, "single": 150}
"""Requests of a round."""
KEYS = (10, 20, 30, 40, 50, 60)
BATCH = 16
MEAN, SHORTEST, LONGEST = 22, 2, 60


def requests(count: int, seed: int = 0) -> list[np.ndarray]:
    """Sentences of 2 to 60 words, 22 in the mean; lengths are gamma distributed."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.round(rng.gamma(2.2, MEAN / 2.1, count)), SHORTEST, LONGEST).astype(int)
    return [rng.integers(1, WORDS, length) for length in lengths]


def parameters(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights under symbucket's names; gates are in the order i, f, c, o, as in PyTorch."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-0.1, 0.1, shape).astype(np.float32)

    weights = {"embed_weight": draw(WORDS, UNITS)}
    for layer in range(LAYERS):
        for part in ("i2h", "h2h"):
            weights[f"l{layer}_{part}_weight"] = draw(4 * UNITS, UNITS)
            weights[f"l{layer}_{part}_bias"] = draw(4 * UNITS)
    return {**weights, "pred_weight": draw(CLASSES, UNITS), "pred_bias": draw(CLASSES)}


def batches(sentences: list[np.ndarray], size: int) -> list[list[int]]:
    """Positions of sentences as they come, ``size`` at a time."""
    return [[*range(i, min(i + size, len(sentences)))] for i in range(0, len(sentences), size)]


def sorted_batches(sentences: list[np.ndarray], size: int) -> list[list[int]]:
    """Positions of sentences of like lengths, ``size`` at a time: how the peers batch."""
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    return [order[i : i + size] for i in range(0, len(order), size)]


def padded(sentences: list[np.ndarray], members: list[int]) -> np.ndarray:
    """One batch of word numbers, padded with 0."""
    longest = max(len(sentences[i]) for i in members)
    batch = np.zeros((len(members), longest), np.int64)
    for row, i in enumerate(members):
        batch[row, : len(sentences[i])] = sentences[i]
    return batch
