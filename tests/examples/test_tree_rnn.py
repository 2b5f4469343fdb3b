"""``examples/tree_rnn.py`` at small size."""

from __future__ import annotations

import ast
import random
import re
from collections import Counter

import numpy as np
import pytest

import symbucket as sb
from tests.examples.example_runs import load, run

example = load("tree_rnn")
SMALL = [
    "--expressions", 600, "--leaves", 4, "--num-hidden", 16, "--num-epochs", 6, "--lr", 0.02,
    "--max-executors", 4,
]  # fmt: skip


def test_it_learns_what_python_does_and_larger_shapes_too():
    result = run(example, *SMALL)
    assert (result.code, result.err) == (0, "")
    assert re.search(r"\d+ expressions of 2 to 4 leaves to learn from, \d+ held out; 8 shapes, 4 "
                     r"canonical ones", result.out)  # fmt: skip
    rates = [float(r) for r in re.findall(r"held-out accuracy ([\d.]+)%", result.out)]
    assert len(rates) == 6
    assert rates[-1] > 80
    (larger,) = re.findall(r"of 9 shapes that it never saw: ([\d.]+)% of \d+ right", result.out)
    assert float(larger) > 60
    (kept,) = re.findall(r"Networks kept ready: (\d+) of 13", result.out)
    assert int(kept) <= 5


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a + a", "int"), ("a * b", "float"), ("c * a", "str"), ("a * d", "list"),
        ("c - c", "error"), ("a - a", "int"), ("c * b", "error"), ("(c + d) * a", "error"),
    ],
)  # fmt: skip
def test_python_gives_the_answers(text, kind):
    assert example.type_of(text) == kind


def test_expressions_are_different_and_balanced():
    texts = example.expressions(500, range(3, 6), random.Random(2))
    assert len(set(texts)) == len(texts) == 500
    assert set(Counter(map(example.type_of, texts)).values()) == {100}
    leaves = {sum(c in "abcd" for c in text) for text in texts}
    assert leaves == {3, 4, 5}


def rebuilt(tree):
    """The expression of a tree, operands in their old places."""
    stack, leaves, operators = [], iter(tree.leaves), iter(tree.operators)
    for character in tree.shape:
        if character == ".":
            stack.append("abcd"[next(leaves)])
        elif character == ")":
            right, left = stack.pop(), stack.pop()
            operator = next(operators)
            if operator >= 3:
                left, right, operator = right, left, operator - 3
            stack.append(f"({left} {'+-*'[operator]} {right})")
    (text,) = stack
    return text


def test_a_tree_keeps_all_of_its_expression():
    for text in example.expressions(200, range(2, 8), random.Random(3)):
        assert rebuilt(example.tree_of(text)) == text


def test_canonical_shapes_are_few():
    """The Wedderburn-Etherington numbers, where there are Catalan numbers of shapes."""

    def every(leaves):
        if leaves == 1:
            return ["a"]
        pairs = ((x, y) for n in range(1, leaves) for x in every(n) for y in every(leaves - n))
        return [f"({x} + {y})" for x, y in pairs]

    counts = [len({example.tree_of(text).shape for text in every(n)}) for n in range(2, 9)]
    assert counts == [1, 1, 2, 3, 6, 11, 23]
    assert [len(every(n)) for n in (6, 8)] == [42, 429]


def test_a_batch_gives_what_each_expression_gives_alone():
    texts = ["a + (b * c)", "(d - a) * c", "b * (a - d)"]
    assert len({example.tree_of(text).shape for text in texts}) == 1
    module = sb.mod.BucketingModule(example.tree_network(6), "((..).)")
    data = example.batches(texts, 3, 0)
    module.bind(data.provide_data, data.provide_label)
    module.init_params(sb.init.Normal(0.5))
    batch = data.next()
    module.forward(batch, is_train=False)
    together = {
        str(leaves): row for leaves, row in zip(batch.data[0], module.get_outputs()[0].asnumpy())
    }
    for text in texts:
        one = example.batches([text], 1, 0).next()
        module.forward(one, is_train=False)
        alone = module.get_outputs()[0].asnumpy()[0]
        np.testing.assert_allclose(alone, together[str(one.data[0][0])], rtol=1e-5)


def test_padded_rows_are_marked():
    data = example.batches(["a + b", "a - b", "(a + b) * c"], 4, 0)
    assert data.default_bucket_key == "((..).)"
    assert sorted((b.bucket_key, b.pad, len(b.label[0])) for b in data) == [
        ("((..).)", 3, 4), ("(..)", 2, 4)
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a / b", "e", "f(a)", "a + 1"])
def test_other_expressions_are_refused(text):
    wrong = {"a / b": "a / b", "a + 1": "1"}.get(text, text)
    with pytest.raises(
        sb.errors.DataError, match=f"'{re.escape(wrong)}' is not an expression of a"
    ):
        example.tree_of(ast.parse(text, mode="eval").body)


def test_a_mistake_gets_a_message():
    result = run(example, "--leaves", 1)
    assert result.code == 2
    assert "argument --leaves: 1 is not 2 or more" in result.err
