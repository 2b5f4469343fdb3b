"""Decoders of CTC scores against the sum over all paths, on small cases."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError
from symbucket.types import Array


def _log_softmax(x: Array) -> Array:
    x = x.astype(np.float64)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _read(path: tuple[int, ...], blank: int, merge: bool) -> tuple[int, ...]:
    if merge:
        path = tuple(c for c, _ in itertools.groupby(path))
    return tuple(c for c in path if c != blank)


def _probabilities(logs: Array, blank: int, merge: bool) -> dict[tuple[int, ...], float]:
    """The probability of every sequence of labels: the sum over all paths."""
    steps, classes = logs.shape
    total: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(classes), repeat=steps):
        total[_read(path, blank, merge)] += float(np.exp(logs[np.arange(steps), path].sum()))
    return total


@pytest.mark.parametrize("blank_label", ["first", "last"])
@pytest.mark.parametrize("merge_repeats", [True, False])
def test_a_wide_beam_is_exact(blank_label: str, merge_repeats: bool) -> None:
    rng = np.random.default_rng(1)
    data = rng.normal(size=(4, 3, 3)) * 2
    lengths = [4, 2, 0]
    blank = 0 if blank_label == "first" else 2
    results = sb.ctc.beam_search(data, lengths, blank_label, merge_repeats, 300, 300)
    for i, size in enumerate(lengths):
        expected = _probabilities(_log_softmax(data[:size, i]), blank, merge_repeats)
        assert {h.labels for h in results[i]} == set(expected)
        for one in results[i]:
            assert one.score == pytest.approx(np.log(expected[one.labels]), abs=1e-9)
        scores = [one.score for one in results[i]]
        assert scores == sorted(scores, reverse=True)


def test_the_score_of_a_wide_beam_is_minus_the_loss() -> None:
    data = np.random.default_rng(2).normal(size=(5, 1, 3)).astype(np.float32)
    (best,) = sb.ctc.beam_search(data, beam_width=500)[0]
    label = np.array([[*best.labels, 0, 0, 0, 0, 0][:5]], np.float32)
    loss = sb.sym.ctc_loss(sb.sym.Variable("data"), sb.sym.Variable("label"))
    (value,) = loss.eval(data=sb.nd.array(data), label=sb.nd.array(label))
    assert best.score == pytest.approx(-value.asnumpy()[0], abs=1e-5)


def test_a_narrow_beam_never_scores_too_high() -> None:
    data = np.random.default_rng(3).normal(size=(5, 4, 3))
    exact = sb.ctc.beam_search(data, beam_width=500, top_paths=500)
    for width in (1, 2, 5):
        for narrow, all_of_them in zip(sb.ctc.beam_search(data, beam_width=width), exact):
            scores = {h.labels: h.score for h in all_of_them}
            assert narrow[0].score <= scores[narrow[0].labels] + 1e-12


def test_greedy_reads_the_best_path() -> None:
    path = np.array([[0, 2], [1, 2], [1, 0], [0, 2], [1, 2]])  # (steps, n)
    data = np.where(np.arange(3) == path[..., None], 4.0, 0.0)
    first, second = sb.ctc.greedy_decode(data)
    assert first.labels == (1, 1)
    assert second.labels == (2, 2)
    each = 4.0 - np.log(np.exp(4.0) + 2.0)
    assert first.score == pytest.approx(5 * each)
    assert sb.ctc.greedy_decode(data, [3, 1])[0].labels == (1,)
    assert sb.ctc.greedy_decode(data, merge_repeats=False)[0].labels == (1, 1, 1)
    assert sb.ctc.greedy_decode(data, blank_label="last")[0].labels == (0, 1, 0, 1)


def test_the_beam_beats_the_best_path_where_many_paths_read_the_same() -> None:
    # "blank, blank" is the best path, but three paths read as label 1.
    data = np.log(np.array([[[0.6, 0.4]], [[0.6, 0.4]]]))
    assert sb.ctc.greedy_decode(data)[0].labels == ()
    assert sb.ctc.beam_search(data)[0][0].labels == (1,)
    assert sb.ctc.beam_search(data)[0][0].score == pytest.approx(np.log(0.64))


def test_impossible_classes_are_allowed() -> None:
    data = np.array([[[0.0, -np.inf, 0.0]], [[-np.inf, -np.inf, 0.0]]])
    assert sb.ctc.greedy_decode(data)[0].labels == (2,)
    assert [h.labels for h in sb.ctc.beam_search(data, beam_width=9, top_paths=9)[0]] == [(2,)]


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("flaw", "lawn", 2), ("a", "a", 0)],
)
def test_edit_distance(first: str, second: str, distance: int) -> None:
    assert sb.ctc.edit_distance(first, second) == distance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": np.zeros((2, 3))}, r"data has shape \(2, 3\); expected \(steps, n, classes\)"),
        ({"data": np.zeros((2, 1, 1))}, "of 2 or more classes"),
        ({"lengths": [4]}, "expected 1 whole numbers from 0 to 3"),
        ({"lengths": [1, 2]}, "expected 1 whole numbers"),
        ({"lengths": [1.5]}, "whole numbers"),
        ({"blank_label": "fist"}, "blank_label is 'fist'.* Did you mean 'first'"),
        ({"data": np.full((3, 1, 2), np.nan)}, "data holds NaN"),
        ({"data": np.full((3, 1, 2), -np.inf)}, "all classes are impossible"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    arguments = {"data": np.zeros((3, 1, 2)), **arguments}
    for decode in (sb.ctc.greedy_decode, sb.ctc.beam_search):
        with pytest.raises(InvalidArgumentError, match=message):
            decode(**arguments)  # type: ignore[operator]


def test_bad_beams() -> None:
    with pytest.raises(InvalidArgumentError, match="top_paths=3 is more than beam_width=2"):
        sb.ctc.beam_search(np.zeros((3, 1, 2)), beam_width=2, top_paths=3)
    with pytest.raises(InvalidArgumentError, match="beam_width is 0"):
        sb.ctc.beam_search(np.zeros((3, 1, 2)), beam_width=0)
