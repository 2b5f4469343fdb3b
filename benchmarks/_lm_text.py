"""Batches of real text: Python's documentation, or a file with a sentence a line."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from _lm_data import Batch, Setup

from symbucket.apps.corpus import python_sentences, read_sentences

END, UNKNOWN = 1, 2  # 0 is padding


def read_text(source: str) -> list[list[str]]:
    """The sentences of a file as the Penn Treebank's are, or of "python", its documentation."""
    return python_sentences() if source == "python" else read_sentences(source)


def text_batches(
    setup: Setup, sentences: Sequence[Sequence[str]], count: int, seed: int
) -> list[Batch]:
    """Whole batches of about ``count`` sentences in one random order, which every epoch repeats.

    Words beyond the vocabulary's most frequent ones are one; every sentence ends with a mark;
    those longer than the largest bucket are left out.
    """
    words = Counter(word for sentence in sentences for word in sentence)
    frequent = [word for word, _ in words.most_common(setup.vocab - 3)]
    number = {word: i for i, word in enumerate(frequent, start=3)}
    rng = np.random.RandomState(seed)
    waiting: defaultdict[int, list[list[int]]] = defaultdict(list)
    batches: list[Batch] = []
    for place in rng.permutation(len(sentences)):
        ids = [*(number.get(word, UNKNOWN) for word in sentences[place]), END]
        key = next((bucket for bucket in setup.buckets if bucket >= len(ids)), None)
        if key is None or len(ids) < 2:
            continue
        waiting[key].append(ids)
        if len(waiting[key]) == setup.batch:
            batches.append(_batch(key, waiting.pop(key)))
            if len(batches) * setup.batch >= count:
                break
    if not batches:
        raise SystemExit(
            f"{len(sentences)} sentences fill no batch of {setup.batch} in the buckets "
            f"{setup.buckets}"
        )
    return batches


def _batch(key: int, rows: Sequence[Sequence[int]]) -> Batch:
    data = np.zeros((len(rows), key), dtype=np.int64)
    for row, ids in zip(data, rows):
        row[: len(ids)] = ids
    label = np.zeros_like(data)
    label[:, :-1] = data[:, 1:]
    return Batch(key, data, label)
