"""``examples/ptb.py``: the recipe's numbers, texts in streams, and a run on tiny files."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.examples.example_runs import load, run

example = load("ptb")
LINES = ["the red dog ran home", "a <unk> cat sat on the mat", "we saw the sea"]
SMALL = "--num-hidden 12 --batch-size 4 --num-steps 5 --init 0.3 --dropout 0.2".split()


@pytest.fixture
def files(tmp_path):
    argv = []
    for name, count in (("train", 160), ("valid", 12), ("test", 12)):
        path = tmp_path / f"{name}.txt"
        path.write_text("".join(f"{LINES[i * i % 5 % 3]}\n\n" for i in range(count)))
        argv += [f"--data-{name}", path]
    return argv


def epochs(result):
    rows = re.findall(r"epoch (\d+): .* ([\d.]+), perplexity ([\d.]+) .* ([\d.]+) in v", result.out)
    return [tuple(map(float, row)) for row in rows]


def test_the_recipe_is_that_of_the_paper():
    args = example.parse_arguments("--data-train a --data-valid b --data-test c".split())
    assert (args.num_layers, args.num_hidden, args.num_steps, args.batch_size) == (2, 650, 35, 20)
    assert (args.dropout, args.init, args.clip, args.num_epochs) == (0.5, 0.05, 5.0, 39)
    rates = example.schedule(args, batches=100)
    # Asked before each update, from the first on.
    by_epoch = {}
    for update in range(1, 3901):
        by_epoch.setdefault((update - 1) // 100 + 1, set()).add(rates(update))
    assert all(len(rates) == 1 for rates in by_epoch.values())
    expected = {e: 1.2 ** -max(e - 6, 0) for e in by_epoch}
    assert {e: rates.pop() for e, rates in by_epoch.items()} == pytest.approx(expected)


def test_streams_hold_the_text_in_order():
    data = example.Segments(np.arange(30), rows=3, steps=4)
    batches = list(data)
    assert len(batches) == len(data) == 3
    assert [b.data[0].shape for b in batches] == [(3, 4), (3, 4), (3, 1)]
    rows = np.hstack([b.data[0] for b in batches])
    assert rows.tolist() == np.arange(27).reshape(3, 9).tolist()
    assert (np.hstack([b.label[0] for b in batches]) == rows + 1).all()


def test_tiny_files_are_learned_and_a_run_goes_on(files, tmp_path):
    whole = run(example, *files, *SMALL, "--num-epochs", 3, "--decay-after", 1)
    assert whole.code == 0, whole.err
    assert "published perplexities are not for it" in whole.out
    values = epochs(whole)
    assert [(e, rate) for e, rate, *_ in values] == [(1, 1), (2, 0.8333), (3, 0.6944)]
    assert values[-1][2] < values[0][2] / 1.5
    part = [*files, *SMALL, "--checkpoint", tmp_path / "run", "--decay-after", 1]
    run(example, *part, "--num-epochs", 2)
    rest = run(example, *part, "--num-epochs", 3)
    assert epochs(rest)[-1][2:] == values[-1][2:]
    assert re.search(r"test perplexity [\d.]+", rest.out)[0] in whole.out


def test_the_files_of_the_treebank_are_known():
    texts = {name: range(count) for name, count in example.PUBLISHED.items()}
    told = example.describe(texts, dict.fromkeys(range(10_000)))
    assert told.startswith("929,589 for training, 73,760 for validation, 82,430 for test")
    assert "these are the files" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ""}, "train.txt holds no words"),
        ({"train": "a b"}, "has not enough for 4 streams"),
        ({"train": "a b c d e f g h\n" * 9, "valid": "z"}, "valid.txt has 'z', which the training"),
        ({"test": None}, "cannot read"),
    ],
)
def test_mistakes_get_one_line(change, message, files, tmp_path):
    for name, text in change.items():
        path = tmp_path / f"{name}.txt"
        path.unlink() if text is None else path.write_text(text)
    result = run(example, *files, *SMALL, "--num-epochs", 1)
    assert result.code == 2
    assert result.err.startswith("ptb.py: error: ")
    assert message in result.err
