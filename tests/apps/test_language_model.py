"""The lengths that plans and pictures count are those that training has."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from symbucket.apps.corpus import Vocabulary
from symbucket.apps.language_model import bucketed, length_of
from symbucket.visualization.bucket_picture import bucket_shares

BUCKETS = [5, 8, 12]


def test_pictures_of_buckets_have_the_numbers_of_the_training():
    rng = np.random.default_rng(0)
    sentences = [[f"w{i}" for i in range(n)] for n in rng.integers(1, 11, 300)]
    args = argparse.Namespace(buckets=BUCKETS, batch_size=4, seed=1)
    trained = bucketed(sentences, Vocabulary(sentences), args).bucket_table()
    shares, discarded = bucket_shares([length_of(s) for s in sentences], BUCKETS)
    assert discarded == 0
    assert [(s.key, s.count) for s in shares] == [(row.key, row.sentences) for row in trained]
    assert [s.padding for s in shares] == pytest.approx([row.padding_share for row in trained])
