"""Reading label sequences from the scores of a network that was trained with ``sym.ctc_loss``.

The two classic decoders on the host, in numpy: the best path, and a beam search over label
sequences (Graves et al., 2006; Hannun et al., 2014); and ``edit_distance`` to measure them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.checks import check_choice, check_integer
from symbucket.errors import InvalidArgumentError
from symbucket.types import Array

__all__ = ["Hypothesis", "beam_search", "edit_distance", "greedy_decode"]

_NEVER = -np.inf  # the logarithm of 0


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of labels, without blanks.

    Attributes:
        labels: class numbers.
        score: the logarithm of a probability: of one path (``greedy_decode``), or of all paths of
            the beam that read as these labels (``beam_search``).
    """

    labels: tuple[int, ...]
    score: float


def greedy_decode(
    data: Any,
    lengths: Any = None,
    blank_label: str = "first",
    merge_repeats: bool = True,
) -> list[Hypothesis]:
    """Return for each sequence the labels of its most probable path.

    Args:
        data: (steps, n, classes), scores before the softmax as ``ctc_loss`` takes them, or
            logarithms of probabilities.
        lengths: (n,), how many steps of each sequence count; None: all.
        blank_label: "first" if class 0 is the blank, "last" if it is the last class.
        merge_repeats: whether the same label at neighbouring steps is read once. ``ctc_loss``
            assumes so.

    Raises:
        InvalidArgumentError: shapes or lengths do not fit, or data are not finite.
    """
    logs, sizes, blank = _checked(data, lengths, blank_label)
    best = logs.argmax(axis=2)
    hypotheses = []
    for i, size in enumerate(sizes):
        path = best[:size, i]
        score = float(logs[np.arange(size), i, path].sum())
        counts = path != blank
        if merge_repeats:
            counts[1:] &= path[1:] != path[:-1]
        hypotheses.append(Hypothesis(tuple(map(int, path[counts])), score))
    return hypotheses


def beam_search(
    data: Any,
    lengths: Any = None,
    blank_label: str = "first",
    merge_repeats: bool = True,
    beam_width: int = 10,
    top_paths: int = 1,
) -> list[list[Hypothesis]]:
    """Return for each sequence its most probable sequences of labels, the best one first.

    Probabilities of paths that read the same are added. With a beam as wide as there are sequences
    of labels, the score is exactly minus the ``ctc_loss``; a narrower beam loses paths, so a score
    is never too high.

    Args:
        data, lengths, blank_label, merge_repeats: as of ``greedy_decode``.
        beam_width: how many sequences of labels are kept after each step.
        top_paths: how many are returned, fewer if there are not as many.

    Raises:
        InvalidArgumentError: as ``greedy_decode``, or ``top_paths`` is more than ``beam_width``.
    """
    logs, sizes, blank = _checked(data, lengths, blank_label)
    beam_width = check_integer(beam_width, "beam_width", 1)
    top_paths = check_integer(top_paths, "top_paths", 1)
    if top_paths > beam_width:
        raise InvalidArgumentError(
            f"top_paths={top_paths} is more than beam_width={beam_width}; widen the beam"
        )
    results = []
    for i, size in enumerate(sizes):
        beam = _Beam(blank, beam_width, merge_repeats)
        for step in logs[:size, i]:
            beam.advance(step)
        results.append(beam.best(top_paths))
    return results


class _Beam:
    """The most probable sequences of labels so far.

    For each of them the probability of the paths that end in a blank, and of those that end in its
    last label: only after a blank is the same label read again.
    """

    def __init__(self, blank: int, width: int, merge_repeats: bool) -> None:
        self._blank, self._width, self._merge = blank, width, merge_repeats
        self._labels: list[tuple[int, ...]] = [()]
        self._in_blank: Array = np.zeros(1)
        self._in_label: Array = np.full(1, _NEVER)

    def advance(self, step: Array) -> None:
        """Go on by one step, whose classes have these logarithms of probabilities."""
        labels, total = self._labels, np.logaddexp(self._in_blank, self._in_label)
        rows = np.arange(len(labels))
        last = np.array([one[-1] if one else self._blank for one in labels])
        in_blank = total + step[self._blank]
        in_label: Array = np.full(len(labels), _NEVER)
        longer = total[:, None] + step
        if self._merge:
            in_label = np.where(last == self._blank, _NEVER, self._in_label + step[last])
            longer[rows, last] = self._in_blank + step[last]
        longer[:, self._blank] = _NEVER
        place = {one: i for i, one in enumerate(labels)}
        for i, one in enumerate(labels):  # a longer one that is in the beam already
            shorter = place.get(one[:-1]) if one else None
            if shorter is not None:
                in_label[i] = np.logaddexp(in_label[i], longer[shorter, one[-1]])
                longer[shorter, one[-1]] = _NEVER
        scores = np.concatenate([np.logaddexp(in_blank, in_label), longer.ravel()])
        order = np.argsort(-scores, kind="stable")[: self._width]
        order = order[scores[order] > _NEVER]
        stay = [i for i in order if i < len(labels)]
        added = [divmod(int(i) - len(labels), len(step)) for i in order if i >= len(labels)]
        self._labels = [labels[i] for i in stay] + [(*labels[i], c) for i, c in added]
        self._in_blank = np.concatenate([in_blank[stay], np.full(len(added), _NEVER)])
        self._in_label = np.concatenate([in_label[stay], [longer[i, c] for i, c in added]])

    def best(self, count: int) -> list[Hypothesis]:
        """Return the most probable ones, the best first."""
        scores = np.logaddexp(self._in_blank, self._in_label)
        order = np.argsort(-scores, kind="stable")[:count]
        return [Hypothesis(self._labels[i], float(scores[i])) for i in order]


def edit_distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Return how many insertions, deletions and substitutions make ``second`` of ``first``.

    The method is that of Wagner and Fischer (1974).
    """
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            substituted = diagonal + (a != b)
            diagonal = row[j]
            row[j] = min(substituted, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def _checked(data: Any, lengths: Any, blank_label: str) -> tuple[Array, list[int], int]:
    """Return logarithms of probabilities (steps, n, classes), lengths, and the blank's number."""
    check_choice(blank_label, "blank_label", ("first", "last"))
    scores = np.asarray(data, dtype=np.float64)
    if scores.ndim != 3 or scores.shape[2] < 2:
        raise InvalidArgumentError(
            f"data has shape {scores.shape}; expected (steps, n, classes), of 2 or more classes"
        )
    steps, count, classes = scores.shape
    sizes = np.full(count, steps) if lengths is None else np.asarray(lengths)
    if sizes.shape != (count,) or not np.array_equal(sizes, np.clip(sizes.astype(int), 0, steps)):
        raise InvalidArgumentError(
            f"lengths is {lengths!r}; expected {count} whole numbers from 0 to {steps}"
        )
    if np.isnan(scores).any() or (steps and np.isneginf(scores).all(axis=2).any()):
        raise InvalidArgumentError(
            "data holds NaN, or a step of which all classes are impossible; look for the "
            "layer that made it"
        )
    logs = scores
    if scores.size:
        logs = scores - scores.max(axis=2, keepdims=True)
        logs = logs - np.log(np.exp(logs).sum(axis=2, keepdims=True))
    return logs, [int(size) for size in sizes], 0 if blank_label == "first" else classes - 1
