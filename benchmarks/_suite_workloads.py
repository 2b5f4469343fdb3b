"""The workloads of the suite: parameters and batches, made from a seed, the same for every engine.

Needs numpy alone. Networks are in ``_suite_symbols`` and ``_suite_torch_models``, by the same name.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from _lm_data import Setup, make_batches, zipf_tokens

Arrays = dict[str, np.ndarray]
IGNORED = 0


@dataclass(frozen=True)
class Batch:
    """Arrays by name; ids are int64, everything else float32."""

    key: Hashable
    data: Arrays
    label: Arrays


@dataclass(frozen=True)
class Workload:
    """What all engines have in common.

    ``sizes`` are the network's numbers by name; ``ignore`` is 1 if label 0 does not count.
    ``auxiliary`` are the first values of states that are not trained. ``torch``: the ways of
    PyTorch that are tried; the best one counts.
    """

    name: str
    title: str
    sizes: dict[str, int]
    optimizer: str
    options: dict[str, float]
    batches: list[Batch]
    shapes: dict[str, tuple[int, ...]]
    torch: tuple[str, ...] = ("eager",)
    auxiliary: Arrays = field(default_factory=dict)

    @property
    def ignores(self) -> bool:
        """Whether rows with label 0 do not count."""
        return bool(self.sizes.get("ignore"))

    @property
    def parameters(self) -> Arrays:
        """Matrices with the variance 1 / columns, vectors near 0, scales near 1; all uniform."""
        values = {}
        for name, shape in self.shapes.items():
            rng = _rng(f"{self.name}/{name}")
            if name.endswith("gamma"):
                value = rng.uniform(0.9, 1.1, shape)
            elif len(shape) == 1:
                value = rng.uniform(-0.05, 0.05, shape)
            else:
                columns = (
                    shape[1] if "embed" in name or "position" in name else math.prod(shape[1:])
                )
                value = rng.uniform(-1, 1, shape) * math.sqrt(3 / columns)
            values[name] = value.astype(np.float32)
        return values


WORKLOADS: dict[str, Callable[[], Workload]] = {}
"""Every workload by name, in the order of the table."""


def _workload(function: Callable[[], Workload]) -> Callable[[], Workload]:
    WORKLOADS[function.__name__.strip("_").replace("_", "-")] = function
    return function


def _rng(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def _tokens(rng: np.random.RandomState, vocab: int, *shape: int) -> np.ndarray:
    return zipf_tokens(math.prod(shape), vocab, rng).reshape(shape)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}_weight", (rows, columns)
    yield f"{name}_bias", (rows,)


def _cell(prefix: str, gates: int, inputs: int, hidden: int) -> Iterator[tuple[str, Any]]:
    """The parameters of a recurrent cell by the names of symbucket."""
    yield from _linear(f"{prefix}i2h", gates * hidden, inputs)
    yield from _linear(f"{prefix}h2h", gates * hidden, hidden)


def _language_model(
    name: str,
    title: str,
    optimizer: str,
    options: dict[str, float],
    sizes: dict[str, int],
    batches: list[Batch],
    torch: tuple[str, ...],
) -> Workload:
    hidden, vocab = sizes["hidden"], sizes["vocab"]
    shapes: dict[str, tuple[int, ...]] = {"embed_weight": (vocab, hidden)}
    for layer in range(sizes["layers"]):
        shapes.update(_cell(f"lstm_l{layer}_", 4, hidden, hidden))
    shapes.update(_linear("pred", vocab, hidden))
    return Workload(name, title, sizes, optimizer, options, batches, shapes, torch)


def _text_batches(vocab: int, sentences: int) -> list[Batch]:
    """Sentences of 2 to 60 words in buckets of 10, padded with what is ignored."""
    setup = Setup(1, 1, vocab, 32, (10, 20, 30, 40, 50, 60), 1, 1.0)
    drawn = make_batches(setup, sentences, 22.0, 10.5, seed=1)
    return [Batch(b.key, {"data": b.data}, {"softmax_label": b.label}) for b in drawn]


def _full_batches(
    name: str, vocab: int, size: int, lengths: tuple[int, ...], repeats: int
) -> list[Batch]:
    """Sequences that fill their bucket, so that nothing is ignored."""
    rng, batches = _rng(name), []
    for length in lengths * repeats:
        ids = _tokens(rng, vocab, size, length + 1)
        batches.append(Batch(length, {"data": ids[:, :-1]}, {"softmax_label": ids[:, 1:]}))
    return batches


def _adam(rate: float) -> dict[str, float]:
    """Options of Adam. PyTorch and MXNet add epsilon in different places, so it is next to 0."""
    return {"learning_rate": rate, "epsilon": 1e-12}


@_workload
def _lm_200() -> Workload:
    return _language_model(
        "lm-200",
        "language model: two LSTM layers of 200, 10,000 words, SGD",
        "sgd",
        {"learning_rate": 1.0},
        {"hidden": 200, "layers": 2, "vocab": 10_000, "ignore": 1},
        _text_batches(10_000, 480),
        ("eager", "rows"),
    )


def _one_lstm(hidden: int, optimizer: str, rate: float) -> Workload:
    name = f"lstm-{hidden}-{optimizer}"
    return _language_model(
        name,
        f"LSTM of {hidden}, 1,000 words, 40 steps, {optimizer.upper()}",
        optimizer,
        _adam(rate) if optimizer == "adam" else {"learning_rate": rate},
        {"hidden": hidden, "layers": 1, "vocab": 1000, "ignore": 0},
        _full_batches(name, 1000, 32, (40,), 8),
        ("eager",),
    )


@_workload
def _lstm_128_sgd() -> Workload:
    return _one_lstm(128, "sgd", 0.5)


@_workload
def _lstm_128_adam() -> Workload:
    return _one_lstm(128, "adam", 0.002)


@_workload
def _lstm_256_adam() -> Workload:
    return _one_lstm(256, "adam", 0.002)


@_workload
def _lstm_16_sgd() -> Workload:
    return _language_model(
        "lstm-16-sgd",
        "LSTM of 16, 100 words, batch 8, 10 to 30 steps, SGD",
        "sgd",
        {"learning_rate": 0.5},
        {"hidden": 16, "layers": 1, "vocab": 100, "ignore": 0},
        _full_batches("lstm-16-sgd", 100, 8, (10, 20, 30), 20),
        ("eager",),
    )


@_workload
def _gru_tagger() -> Workload:
    vocab, hidden, tags, rng = 5000, 128, 20, _rng("gru-tagger")
    batches = []
    for text in _text_batches(vocab, 480):
        words = text.data["data"]
        label = np.where(words == 0, IGNORED, 1 + (words * 7 + rng.randint(0, 3, words.shape)) % 19)
        batches.append(Batch(text.key, {"data": words}, {"softmax_label": label}))
    shapes: dict[str, tuple[int, ...]] = {"embed_weight": (vocab, hidden)}
    for side in ("left_", "right_"):
        shapes.update(_cell(side, 3, hidden, hidden))
    shapes.update(_linear("pred", tags, 2 * hidden))
    return Workload(
        "gru-tagger",
        "tagger: GRU of 128 in both directions, 5,000 words, 20 tags, Adam",
        {"hidden": hidden, "vocab": vocab, "tags": tags, "ignore": 1},
        "adam",
        _adam(0.002),
        batches,
        shapes,
    )


@_workload
def _seq2seq() -> Workload:
    vocab, hidden, rng = 2000, 128, _rng("seq2seq")
    batches = []
    for key in ((10, 12), (20, 22), (15, 20)) * 3:
        target = _tokens(rng, vocab, 32, key[1] + 1)
        source = _tokens(rng, vocab, 32, key[0])
        data = {"source": source, "target": target[:, :-1]}
        batches.append(Batch(key, data, {"softmax_label": target[:, 1:]}))
    shapes: dict[str, tuple[int, ...]] = {
        "source_embed_weight": (vocab, hidden),
        "target_embed_weight": (vocab, hidden),
    }
    for side in ("forward_", "backward_"):
        shapes.update(_cell(side, 3, hidden, hidden))
    shapes.update(_linear("start", hidden, 2 * hidden))
    shapes.update(_linear("memory", hidden, 2 * hidden))
    shapes.update({"query_weight": (hidden, hidden), "score_weight": (1, hidden)})
    shapes.update(_cell("decoder_", 3, 3 * hidden, hidden))
    shapes.update(_linear("pred", vocab, 3 * hidden))
    return Workload(
        "seq2seq",
        "translation: GRUs of 128, additive attention, 2,000 words, Adam",
        {"hidden": hidden, "vocab": vocab},
        "adam",
        _adam(0.001),
        batches,
        shapes,
    )


TREES = ("((..)(..))", "((.(..))(..))", "(((..).)((..)(..)))", "(.(.(.(..))))")


@_workload
def _tree() -> Workload:
    vocab, hidden, kinds, rng = 50, 64, 5, _rng("tree")
    batches = []
    for key in TREES * 10:
        leaves = _tokens(rng, vocab, 32, key.count("."))
        label = leaves.sum(axis=1) % kinds
        batches.append(Batch(key, {"leaves": leaves}, {"softmax_label": label}))
    shapes = {
        "embed_weight": (vocab, hidden),
        **dict(_linear("join", hidden, 2 * hidden)),
        **dict(_linear("pred", kinds, hidden)),
    }
    return Workload(
        "tree",
        "trees of 4 to 7 leaves, vectors of 64, a key for each shape, Adam",
        {"hidden": hidden, "vocab": vocab, "kinds": kinds},
        "adam",
        _adam(0.002),
        batches,
        shapes,
        ("eager", "compile"),
    )


@_workload
def _transformer() -> Workload:
    width, vocab, layers = 256, 10_000, 4
    shapes: dict[str, tuple[int, ...]] = {
        "embed_weight": (vocab, width),
        "position_weight": (60, width),
    }
    for layer in range(layers):
        for name, rows, columns in (
            ("qkv", 3 * width, width),
            ("out", width, width),
            ("up", 4 * width, width),
            ("down", width, 4 * width),
        ):
            shapes.update(_linear(f"l{layer}_{name}", rows, columns))
        for name in ("before", "after"):
            shapes.update({f"l{layer}_{name}_gamma": (width,), f"l{layer}_{name}_beta": (width,)})
    shapes.update({"last_gamma": (width,), "last_beta": (width,)})
    shapes.update(_linear("pred", vocab, width))
    return Workload(
        "transformer",
        "Transformer: four layers of 256, 4 heads, 10,000 words, Adam",
        {"width": width, "vocab": vocab, "layers": layers, "heads": 4, "ignore": 1},
        "adam",
        _adam(0.0003),
        _text_batches(vocab, 320),
        shapes,
        ("eager", "rows", "compile"),
    )


@_workload
def _cnn() -> Workload:
    rng = _rng("cnn")
    batches = []
    for _ in range(8):
        label = rng.randint(0, 10, 32)
        data = rng.normal(0, 1, (32, 3, 32, 32)) + label[:, None, None, None] * 0.1
        arrays = {"data": data.astype(np.float32)}
        batches.append(Batch((32, 32), arrays, {"softmax_label": label.astype(np.int64)}))
    shapes: dict[str, tuple[int, ...]] = {}
    auxiliary: Arrays = {}
    channels = (3, 32, 64, 128)
    for i, (before, after) in enumerate(itertools.pairwise(channels)):
        shapes[f"conv{i}_weight"] = (after, before, 3, 3)
        shapes.update({f"norm{i}_gamma": (after,), f"norm{i}_beta": (after,)})
        auxiliary[f"norm{i}_moving_mean"] = np.zeros(after, np.float32)
        auxiliary[f"norm{i}_moving_var"] = np.ones(after, np.float32)
    shapes.update(_linear("pred", 10, 128 * 16))
    return Workload(
        "cnn",
        "three convolutions with BatchNorm and pooling, 32 pictures of 32 x 32, momentum",
        {"layers": 3},
        "sgd",
        {"learning_rate": 0.001, "momentum": 0.9},
        batches,
        shapes,
        ("eager", "channels-last", "compile"),
        auxiliary,
    )


@_workload
def _ctc() -> Workload:
    features, hidden, classes, rng = 40, 128, 30, _rng("ctc")
    batches = []
    for steps in (40, 80, 60) * 3:
        sound = rng.normal(0, 1, (16, steps, features)).astype(np.float32)
        label = rng.randint(1, classes, (16, steps // 5))
        batches.append(Batch(steps, {"data": sound}, {"label": label}))
    shapes: dict[str, tuple[int, ...]] = {}
    for side in ("left_", "right_"):
        shapes.update(_cell(side, 4, features, hidden))
    shapes.update(_linear("pred", classes, 2 * hidden))
    return Workload(
        "ctc",
        "CTC: LSTM of 128 in both directions, 30 classes, 40 to 80 steps, batch 16, Adam",
        {"hidden": hidden, "classes": classes},
        "adam",
        _adam(0.001),
        batches,
        shapes,
    )
