"""``examples/step_scheduler.py`` at small size."""

from __future__ import annotations

import re

import numpy as np
import pytest

import symbucket as sb
from tests.examples.example_runs import load, run

example = load("step_scheduler")
SMALL = [
    "--max-characters", 6000, "--num-hidden", 16, "--num-embed", 8, "--batch-size", 8,
    "--segment", 20, "--lr", 0.02,
]  # fmt: skip


def bits(result):
    """Held-out bits a character of each epoch."""
    return [float(b) for b in re.findall(r"held-out text ([\d.]+) bits a character", result.out)]


def test_it_learns_and_the_unroll_does_not_matter():
    results = [
        run(example, *SMALL, "--num-epochs", 3, "--table-runs", 0, "--unroll", k) for k in (1, 7)
    ]
    for result in results:
        assert (result.code, result.err) == (0, "")
        assert "5,400 characters to learn from, 600 held out" in result.out
    one, seven = map(bits, results)
    assert len(one) == 3
    assert one[0] > one[2] < 5
    np.testing.assert_allclose(one, seven, atol=0.01)


def test_segments_follow_each_other_in_every_stream():
    text = np.arange(61)
    batches = list(example.Segments(text, 2, 12))
    assert [b.data[0].shape for b in batches] == [(2, 12), (2, 12), (2, 6)]
    data = np.concatenate([b.data[0] for b in batches], axis=1)
    label = np.concatenate([b.label[0] for b in batches], axis=1)
    np.testing.assert_array_equal(data, [np.arange(30), np.arange(30, 60)])
    np.testing.assert_array_equal(label, data + 1)


def test_carried_states_are_forgotten_where_a_text_begins():
    args = example.parse_arguments([*map(str, SMALL), "--num-epochs", "1"])
    module = example.train(args)
    text, _, _ = example.load_text(args)
    module.reset_states()
    losses = []
    for _ in range(2):
        data = example.Segments(text, 8, 20)
        losses.append(module.score(data, sb.metric.Perplexity(None))[0][1])
        module.reset_states()
    assert losses[0] == losses[1]
    module.score(example.Segments(text, 8, 20), sb.metric.Perplexity(None))
    carried = module.score(example.Segments(text, 8, 20), sb.metric.Perplexity(None))[0][1]
    assert carried != losses[0]


def test_the_table_shows_equal_gradients():
    result = run(example, *SMALL, "--num-epochs", 0, "--table-runs", 1)
    assert result.code == 0
    rows = re.findall(r"^ +(\d+) +[\d.]+ s +[\d.]+ ms +[\d,]+ +(\S+)$", result.out, re.MULTILINE)
    assert [int(k) for k, _ in rows] == [1, 2, 4, 8, 16, 20]
    assert all(float(difference) < 1e-4 for _, difference in rows)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--unroll", "0"], "unroll is 0; expected an integer of 1 or more"),
        (["--batch-size", "0"], "argument --batch-size: 0 is not 1 or more"),
        (["--num-epochs", "-1"], "argument --num-epochs: -1 is not 0 or more"),
    ],
)
def test_a_mistake_gets_a_message(argv, message):
    result = run(example, *SMALL, *argv)
    assert result.code == 2
    assert message in result.err
