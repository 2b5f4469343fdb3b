"""Boundaries and batch sizes: exact, for pairs near the least cost; bad input is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError, InvalidArgumentError, MemoryLimitError
from symbucket.io import plan_buckets

SKEWED = np.minimum(np.random.default_rng(1).geometric(0.05, 5000) + 2, 120)


def _positions(lengths, boundaries):
    """The positions, padding included, of every sentence in the smallest bucket that holds it."""
    ends = np.sort(np.asarray(boundaries))
    return int(ends[np.searchsorted(ends, lengths)].sum())


@pytest.mark.parametrize("seed", range(30))
def test_no_other_boundaries_have_less_padding(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, int(rng.integers(5, 60)))
    count = int(rng.integers(1, 5))
    plan = plan_buckets(lengths, count, batch=1)
    sizes = np.unique(lengths)
    least = min(
        _positions(lengths, [*inner, sizes[-1]])
        for inner in itertools.combinations(sizes[:-1], min(count, len(sizes)) - 1)
    )
    assert sum(plan.positions) == _positions(lengths, plan.boundaries) == least
    assert sum(plan.sentences) == len(lengths)
    assert sum(plan.tokens) == lengths.sum()
    assert plan.padding == pytest.approx(1 - lengths.sum() / least)


@pytest.mark.parametrize("seed", range(10))
def test_no_other_boundaries_make_an_epoch_shorter_by_measured_step_times(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 25, 80)

    def seconds(key, batch_size):
        return 0.3 + 0.01 * key * batch_size + (0.5 if key > 12 else 0.0)

    def epoch(boundaries):
        place = np.searchsorted(boundaries, lengths)
        held = np.bincount(place, minlength=len(boundaries))
        return sum(-(-n // 8) * seconds(b, 8) for n, b in zip(held.tolist(), boundaries))

    plan = plan_buckets(lengths, 3, batch=8, cost=seconds, full_batches=False)
    sizes = np.unique(lengths).tolist()
    least = min(epoch([*inner, sizes[-1]]) for inner in itertools.combinations(sizes[:-1], 2))
    assert epoch(list(plan.boundaries)) == pytest.approx(least)


def test_pairs_are_near_the_least_cost():
    """Every choice of boxes whose corners are lengths that occur is tried out."""
    distances = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        points = np.unique(rng.integers(1, 30, (int(rng.integers(4, 7)), 2)), axis=0)
        counts = rng.integers(1, 9, len(points))
        number = int(rng.integers(1, 4))
        corners = list(itertools.product(np.unique(points[:, 0]), np.unique(points[:, 1])))
        fits = np.array([[(p <= c).all() for c in corners] for p in points])
        price = np.where(fits, np.sum(corners, axis=1), np.inf)
        least = min(
            price[:, list(chosen)].min(axis=1) @ counts
            for chosen in itertools.combinations(range(len(corners)), number)
        )
        plan = plan_buckets(np.repeat(points, counts, axis=0), number)
        assert len(plan) <= number
        assert sum(plan.sentences) == counts.sum()
        distances.append(sum(plan.positions) / least - 1)
    assert min(distances) >= 0
    assert np.mean(distances) < 0.01, distances
    assert max(distances) < 0.06, distances


def test_every_sample_of_pairs_and_triples_fits_its_bucket():
    rng = np.random.default_rng(3)
    for axes in (2, 3):
        lengths = rng.geometric(0.1, (1500, axes)) + 1
        plan = plan_buckets(lengths, 5, batch="tokens:400")
        boxes = np.array(plan.boundaries)
        assert (lengths[:, None] <= boxes).all(axis=2).any(axis=1).all()
        assert len(plan) == 5
        assert sum(plan.sentences) == 1500
        assert plan.batch_sizes == tuple(max(1, 400 // sum(key)) for key in plan.boundaries)
        assert plan.padding < plan_buckets(lengths, 1).padding * 0.8


def test_as_few_buckets_as_keep_the_padding():
    plan = plan_buckets(SKEWED, padding=0.1)
    assert plan.padding <= 0.1
    assert plan_buckets(SKEWED, len(plan) - 1).padding > 0.1
    pairs = np.stack([SKEWED, SKEWED[::-1]], 1)[:400]
    both = plan_buckets(pairs, padding=0.2)
    assert both.padding <= 0.2
    assert len(both) < len(np.unique(pairs, axis=0))


def test_without_a_number_buckets_are_added_while_they_are_worth_it():
    plan = plan_buckets(SKEWED)
    assert 4 <= len(plan) <= 24
    more = plan_buckets(SKEWED, len(plan) + 1)
    assert sum(more.positions) > 0.99 * sum(plan.positions)
    assert plan_buckets([7] * 50).boundaries == (7,)


def test_buckets_hold_a_full_batch_where_that_can_be():
    lengths = [5] * 100 + [6] * 3 + [50] * 10
    plan = plan_buckets(lengths, 3, batch=10)
    assert plan.boundaries == (6, 50)
    assert plan.sentences == (103, 10)
    assert plan_buckets(lengths, 3, batch=10, full_batches=False).boundaries == (5, 6, 50)
    assert plan_buckets(lengths, 3, batch=500).boundaries == (5, 6, 50)  # none has a full one


def test_boundaries_are_multiples():
    assert all(key % 8 == 0 for key in plan_buckets(SKEWED, 6, multiple_of=8).boundaries)
    keys = plan_buckets(np.stack([SKEWED, SKEWED], 1), 4, multiple_of=(4, 16)).boundaries
    assert all(a % 4 == 0 and b % 16 == 0 for a, b in keys)


def test_batch_sizes_by_tokens_and_by_memory():
    plan = plan_buckets(SKEWED, 6, batch="tokens:600")
    assert plan.batch_sizes == tuple(600 // key for key in plan.boundaries)
    assert plan.steps == sum(-(-n // b) for n, b in zip(plan.sentences, plan.batch_sizes))
    asked = []

    def memory(key, batch_size):
        asked.append((key, batch_size))
        return 5_000 + 70 * key * batch_size + (batch_size * batch_size) // 3

    plan = plan_buckets(SKEWED, 6, batch=64, memory_limit=150_000, memory=memory)
    for key, batch_size, need in zip(plan.boundaries, plan.batch_sizes, plan.memory):
        assert need == memory(key, batch_size) <= 150_000
        assert batch_size == 64 or memory(key, batch_size + 1) > 150_000
    assert len(asked) < 60
    assert "memory MB" in plan.table()
    with pytest.raises(MemoryLimitError, match=r"needs .* with a batch of one sentence"):
        plan_buckets(SKEWED, 6, memory_limit=5_050, memory=memory)


def test_a_plan_answers_for_its_buckets():
    plan = plan_buckets([3, 3, 4, 9, 9], 2, batch=2)
    assert (plan.boundaries, plan.sentences, plan.tokens) == ((4, 9), (3, 2), (10, 18))
    assert plan.batches == (2, 1)
    assert plan.steps == 3
    assert plan.batch_size(9) == 2
    assert plan.padding == pytest.approx(2 / 30)
    with pytest.raises(InvalidArgumentError, match=r"no bucket 5; it has"):
        plan.batch_size(5)
    assert str(plan).splitlines()[-1].split()[0] == "total"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (([],), DataError, "shape"),
        (([1.5, 2.0],), DataError, "float64"),
        (([3, 0],), DataError, r"lengths\[1\] is 0"),
        (([[1, 2], [3]],), DataError, "expected positive integers"),
        (([3], 0), InvalidArgumentError, "count is 0"),
        (([3], 2.5), InvalidArgumentError, "count is 2.5"),
    ],
)
def test_wrong_lengths_and_counts_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        plan_buckets(*arguments)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"count": 2, "padding": 0.1}, "give one"),
        ({"padding": 1.0}, "padding is 1.0"),
        ({"batch": "words:5"}, "expected 'sequences:32'"),
        ({"batch": "tokens:0"}, "expected 'sequences:32'"),
        ({"batch": True}, "expected 'sequences:32'"),
        ({"multiple_of": 0}, "multiple_of"),
        ({"multiple_of": (2, 2)}, "have 1 axes"),
        ({"memory_limit": 10}, "memory_limit needs memory"),
        ({"cost": lambda key, batch: 0.0}, r"cost\(3, 32\) is 0.0"),
        ({"padding": 0.0, "batch": 3}, "buckets have 0.3333"),
    ],
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(InvalidArgumentError, match=text):
        plan_buckets([3, 3, 6], **options)


def test_it_is_where_users_look_for_it():
    assert sb.io.plan_buckets is plan_buckets
