"""``examples/terminals.py`` at small size."""

from __future__ import annotations

import re

import numpy as np

from tests.examples.example_runs import load, run

example = load("terminals")
SMALL = ["--names", 1500, "--longest", 6, "--num-hidden", 16, "--batch-size", 16, "--lr", 0.01]


def test_it_learns_and_the_memory_is_that_of_the_largest_terminal():
    result = run(example, *SMALL, "--num-epochs", 3)
    assert (result.code, result.err) == (0, "")
    (always,) = re.findall(r"most frequent category: ([\d.]+)% right", result.out)
    rates = [float(r) for r in re.findall(r"held-out accuracy ([\d.]+)%", result.out)]
    assert len(rates) == 3
    assert rates[-1] > float(always) + 20
    terminals, together, alone, apart = re.search(
        r"Activations of (\d) terminals: ([\d.]+) MB, as the largest alone \(([\d.]+) MB\); kept "
        r"apart they would be ([\d.]+) MB",
        result.out,
    ).groups()
    assert terminals == "5"
    assert together == alone
    assert float(apart) > 2 * float(together)
    nodes = re.search(r"(\d+) nodes and 5 terminals; a step runs (\d+) to (\d+) ", result.out)
    assert int(nodes[2]) < int(nodes[3]) < int(nodes[1])


def test_batches_name_their_data_and_one_terminal():
    data = example.Data(
        {2: np.arange(10).reshape(5, 2), 3: np.arange(21).reshape(7, 3)},
        {2: np.arange(5), 3: np.arange(7)},
    )
    batches = list(example.batches(data, 4, 0, "keep"))
    seen = sorted((b.bucket_key, len(b.label[0])) for b in batches)
    assert seen == [(2, 1), (2, 4), (3, 3), (3, 4)]
    for batch in batches:
        key = batch.bucket_key
        assert [d.name for d in batch.provide_data] == [f"words{key}"]
        assert [d.name for d in batch.provide_label] == [f"label{key}"]
        np.testing.assert_array_equal(batch.data[0][:, 0], batch.label[0] * key)
    assert len(list(example.batches(data, 4, 0, "discard"))) == 2


def test_names_of_the_same_seed_are_the_same():
    args = example.parse_arguments(["--names", "50"])
    names, categories = example.unicode_names(args)
    assert names == example.unicode_names(args)[0]
    assert len(names) == 50
    assert {"Ll", "Lu", "So"} <= set(categories)
    assert all(2 <= len(words) <= 9 for words, _ in names)


def test_parameters_are_shared_and_inputs_are_not():
    group = example.all_terminals([2, 4], 9, 3, 5)
    inputs = {"words2", "label2", "words4", "label4"}
    shared = set(group.list_arguments()) - inputs
    for length in (2, 4):
        own = set(group[f"category{length}_output"].list_arguments())
        assert own == shared | {f"words{length}", f"label{length}"}


def test_a_mistake_gets_a_message():
    result = run(example, "--shortest", 5, "--longest", 3)
    assert result.code == 2
    assert "--shortest 5 is more than --longest 3" in result.err
