"""``examples/seq2seq_attention.py``: the rules, that padding changes nothing, and a small run."""

import re

import numpy as np
import pytest

import symbucket as sb
from tests.examples.example_runs import load, run

example = load("seq2seq_attention")
WORDS = (7, 9)  # of the source and of the target language
PAIRS = [([3, 4, 5, 6], [4, 3, 8, 5]), ([6], [7]), ([5, 3], [8, 6, 4])]


@pytest.mark.parametrize(
    ("number", "source", "target"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (16, "sixteen", "sechzehn"),
        (21, "twenty one", "einundzwanzig"),
        (70, "seventy", "siebzig"),
        (101, "one hundred one", "einhunderteins"),
        (1000, "one thousand", "eintausend"),
        (21030, "twenty one thousand thirty", "einundzwanzigtausenddreißig"),
        (
            301717,
            "three hundred one thousand seven hundred seventeen",
            "dreihunderteintausendsiebenhundertsiebzehn",
        ),
    ],
)
def test_numbers_in_words(number, source, target):
    assert " ".join(example.english(number)) == source
    assert "".join(example.german(number)) == target


def _module(seed=4):
    sb.random.seed(seed)
    module = sb.mod.BucketingModule(example.Translator(*WORDS, 5, 6), (5, 6))
    batch = example.batch_of(PAIRS, (5, 6))
    module.bind(batch.provide_data, batch.provide_label)
    module.init_params(sb.init.Uniform(0.7))
    return module


def test_padding_changes_nothing():
    batch = example.batch_of(PAIRS, (5, 6))
    for longer in ((7, 8), (9, 6)):
        report = sb.check_padding(example.Translator(*WORDS, 5, 6), batch, longer)
        assert report.ok, report


def test_padded_rows_give_what_the_sentences_alone_give():
    module = _module()
    module.forward(example.batch_of(PAIRS, (9, 7)), is_train=True)
    together = module.get_outputs()[0].asnumpy().reshape(len(PAIRS), 7, WORDS[1]).copy()
    module.backward()
    grads = {n: g.asnumpy().copy() for n, g in module.gradients().items()}
    summed = {n: np.zeros_like(g) for n, g in grads.items()}
    count = sum(len(target) + 1 for _, target in PAIRS)
    for row, (source, target) in zip(together, PAIRS):
        key = len(source), len(target) + 1  # a network of just this pair's lengths, no padding
        module.forward(example.batch_of([(source, target)], key), is_train=True)
        alone = module.get_outputs()[0].asnumpy()
        np.testing.assert_allclose(row[: key[1]], alone, rtol=1e-4, atol=1e-6)
        module.backward()
        for name, grad in module.gradients().items():
            summed[name] += grad.asnumpy() * key[1] / count  # each is a mean over its words
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, summed[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_attention_that_saw_padding_would_be_found(monkeypatch):
    seen = sb.sym.softmax
    monkeypatch.setattr(sb.sym, "softmax", lambda scores, *lengths, **given: seen(scores))
    batch = example.batch_of(PAIRS, (4, 5))
    report = sb.check_padding(example.Translator(*WORDS, 3, 4), batch, (5, 5))
    assert report.operator is not None
    assert report.operator[1] == "softmax"


def test_writing_step_by_step_is_what_training_computes():
    module = _module()
    sources = [source for source, _ in PAIRS]
    written = example.translate(module, sources, 6)
    # Told the words that it wrote itself, the training network finds each of them most likely.
    ends = [(w.index(example.END) if example.END in w else len(w)) for w in written]
    steps = len(written[0])
    pairs = [(s, w[: steps - 1]) for s, w in zip(sources, written)]
    module.forward(example.batch_of(pairs, (4, steps)), is_train=False)
    likely = module.get_outputs()[0].asnumpy().reshape(len(PAIRS), steps, -1).argmax(axis=2)
    for row, words, end in zip(likely, written, ends):
        assert row[: end + 1].tolist() == words[: end + 1]


def test_iterator_puts_every_pair_where_it_fits():
    pairs = [([3] * (1 + i % 5), [4] * (1 + i % 3)) for i in range(60)]
    keys = example.keys_of(pairs, [2, 5], [2, 4])
    batches = example.batches(pairs, keys, 4, seed=1)
    assert batches.default_bucket_key == (5, 4)
    first = [batch.bucket_key for batch in batches]
    assert set(first) == {(2, 2), (2, 4), (5, 2), (5, 4)}
    batches.reset()
    for batch in batches:
        source, lengths, target = (array.asnumpy() for array in batch.data)
        assert source.shape == (4, batch.bucket_key[0])
        assert target.shape == (4, batch.bucket_key[1])
        assert np.array_equal((source != example.PAD).sum(axis=1), lengths)
        assert (target[:, 0] == example.BEGIN).all()
        assert ((batch.label[0].asnumpy() == example.END).sum(axis=1) == 1).all()


def test_small_run_learns():
    small = "--pairs 700 --digits 3 --num-hidden 32 --num-embed 16 --num-epochs 7 --buckets 2"
    result = run(example, *small.split(), "--batch-size", 16, "--tell", 7)
    assert (result.code, result.err) == (0, "")
    assert "Padding changes nothing" in result.out
    (share,) = re.findall(r"held-out translations without a mistake ([\d.]+)%", result.out)
    assert float(share) > 60
    assert "hundert" in result.out


def test_same_seed_repeats_exactly():
    small = "--pairs 60 --digits 2 --num-hidden 8 --num-embed 8 --num-epochs 1 --buckets 1"
    seen = [
        re.sub(r"[\d.]+ s,", "", run(example, *small.split(), "--batch-size", 8).out)
        for _ in range(2)
    ]
    assert "held-out" in seen[0]
    assert seen[0] == seen[1]


def test_wrong_arguments_are_explained():
    assert "7 is not from 2 to 6" in run(example, "--digits", 7).err
    result = run(example, "--pairs", 40, "--digits", 2, "--batch-size", 64)
    assert result.code == 2
    assert "seq2seq_attention.py: error: KeyedIter: no bucket yields a batch" in result.err
