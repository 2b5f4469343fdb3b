"""StreamIter: every sample once, whatever the source; exact resume; clear errors.

Long, because every source and setting is held to one promise, with the same streams.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections import Counter
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import (
    DataError,
    InvalidArgumentError,
    NameConflictError,
    StateError,
    SymbucketError,
)
from symbucket.io import Field, StreamIter, plan_buckets

TOKENS = [Field("data", ("T",), "int32")]


def _corpus(count, seed=0):
    """Sentences that tell which they are: all tokens are the sentence's number, from 1."""
    lengths = np.minimum(np.random.default_rng(seed).geometric(0.15, count), 20)
    return [np.full(length, i + 1) for i, length in enumerate(lengths)]


CORPUS = _corpus(230)


def _stream(source=CORPUS, batch_size=4, buckets=(5, 10, 20), data=TOKENS, **options):
    options = {"window": 40, "seed": 3, **options}
    return StreamIter(source, batch_size, buckets, data, **options)


def _rows(batch):
    """What the rows of a batch hold, without padding rows; checks that each is one sentence."""
    rows = []
    data = np.asarray(batch.data[0])
    for row in data[: len(data) - batch.pad]:
        number = int(row[0])
        assert row.tolist() == [*CORPUS[number - 1], *[0] * (len(row) - len(CORPUS[number - 1]))]
        rows.append(number)
    return rows


def _epoch(it):
    rows = [number for batch in it for number in _rows(batch)]
    it.reset()
    return rows


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("window", [1, 7, 40, 230, 1000])
def test_every_sample_comes_once_an_epoch(shuffle, window):
    it = _stream(shuffle=shuffle, window=window, last_batch="pad")
    first, second = _epoch(it), _epoch(it)
    assert sorted(first) == sorted(second) == list(range(1, 231))
    assert (first != second) == shuffle


def test_batches_are_those_of_their_bucket():
    it = _stream(batch_size="tokens:40", last_batch="pad")
    assert it.batch_sizes == {5: 8, 10: 4, 20: 2}
    assert it.default_bucket_key == 20
    assert it.provide_data == [sb.io.DataDesc("data", (2, 20), "int32")]
    for batch in it:
        key = batch.bucket_key
        assert batch.data[0].shape == batch.provide_data[0].shape == (it.batch_sizes[key], key)
        smaller = {5: 0, 10: 5, 20: 10}[key]
        assert all(smaller < len(CORPUS[number - 1]) <= key for number in _rows(batch))


@pytest.mark.parametrize("last_batch", ["discard", "roll_over"])
def test_rests_wait_for_the_next_window_and_are_counted_at_the_end(last_batch):
    it = _stream(last_batch=last_batch, window=16)
    seen = Counter()
    for number in range(1, 7):
        rows = [n for batch in it for n in _rows(batch)]
        left = it.remainder
        assert left < 3 * 4
        seen.update(rows)
        if last_batch == "roll_over":
            assert sum(seen.values()) + left == 230 * number
            assert set(seen.values()) <= {number - 1, number}
        else:
            assert len(rows) + left == 230
        it.reset()


def test_no_more_than_a_window_and_rests_are_read():
    read = []

    def source():
        for i, sample in enumerate(CORPUS):
            read.append(i)
            yield sample

    it = _stream(source, window=30)
    it.next()
    assert len(read) == 30
    most = 0
    for _ in it:
        taken = it.state()
        most = max(most, len(taken["waiting"]))
    assert most < 3 * 4


# Exact resume --------------------------------------------------------------------------------


def _as_lists(batch):
    arrays = [np.asarray(a).tolist() for a in [*batch.data, *(batch.label or [])]]
    return batch.bucket_key, batch.pad, batch.index.tolist(), arrays


def _sources(tmp_path):
    lines = [" ".join(map(str, sentence)) for sentence in CORPUS]
    parts = [lines[:90], lines[90:91], [], lines[91:]]
    for i, part in enumerate(parts):
        (tmp_path / f"plain{i}.txt").write_text("".join(f"{line}\n" for line in part))
        with gzip.open(tmp_path / f"packed{i}.txt.gz", "wt") as file:
            file.write("".join(f"{line}\n" for line in part))

    def files(pattern):
        return [tmp_path / pattern.format(i) for i in range(len(parts))]

    def numbers(line):
        return [int(word) for word in line.split()]

    return {
        "list": (CORPUS, None),
        "function": (lambda: iter(CORPUS), None),
        "text": (files("plain{}.txt"), numbers),
        "gzip": (files("packed{}.txt.gz"), numbers),
    }


@pytest.mark.parametrize("kind", ["list", "function", "text", "gzip"])
@pytest.mark.parametrize("last_batch", ["pad", "roll_over"])
def test_resumed_at_any_batch_the_rest_is_the_same(tmp_path, kind, last_batch):
    source, transform = _sources(tmp_path)[kind]

    def fresh(seed):
        return _stream(source, transform=transform, seed=seed, last_batch=last_batch)

    it = fresh(7)
    whole, states = [], [it.state()]
    for _ in range(2):
        for batch in it:
            whole.append(_as_lists(batch))
            states.append(it.state())
        it.reset()
    for position in (0, 1, 2, 9, 17, len(whole) // 2, len(whole) // 2 + 1, len(whole) - 1):
        state = json.loads(json.dumps(states[position]))
        again = fresh(8)
        again.restore(state)
        rest = []
        while len(rest) < len(whole) - position:
            rest += [_as_lists(batch) for batch in again]
            again.reset()
        assert rest == whole[position:], position


def test_a_state_of_another_stream_changes_nothing():
    it = _stream()
    state = it.state()
    other = _stream(window=41)
    before = _as_lists(other.next())
    with pytest.raises(StateError, match="window_size 40 is 41 now"):
        other.restore(state)
    with pytest.raises(InvalidArgumentError, match="the state is that of KeyedIter"):
        other.restore({"iterator": "KeyedIter"})
    state = other.state()
    for key in set(state) - {"iterator"}:
        with pytest.raises(SymbucketError):
            other.restore({k: v for k, v in state.items() if k != key})
    assert other.state() == state
    again = _stream(window=41)
    assert _as_lists(again.next()) == before
    assert _as_lists(again.next()) == _as_lists(other.next())


# Sources -------------------------------------------------------------------------------------


def _write(tmp_path, name, text):
    path = tmp_path / name
    opener = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


@pytest.mark.parametrize("packing", ["", ".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "jsonl"])
def test_files(tmp_path, kind, packing):
    rows = [("1 2 3", "0"), ("4 5", "1"), ("6", "0")]
    if kind == "txt":
        text, sample = "\ufeff" + "\n\n".join(a for a, _ in rows), str.split
    elif kind == "jsonl":
        text = "\n".join(json.dumps({"words": a.split(), "kind": int(b)}) for a, b in rows)

        def sample(row):
            return row["words"]
    else:
        comma = "," if kind == "csv" else "\t"
        text = "\n".join(comma.join(row) for row in [("words", "kind"), *rows])

        def sample(row):
            return row["words"].split()

    path = _write(tmp_path, f"data.{kind}{packing}", text)
    it = StreamIter(
        str(path), 1, [3], TOKENS, transform=lambda r: [int(w) for w in sample(r)], shuffle=False
    )
    assert [np.asarray(b.data[0])[0].tolist() for b in it] == [[1, 2, 3], [4, 5, 0], [6, 0, 0]]


def test_tables_of_record_batches():
    """The part of Arrow's interface that is used; the extra has the real thing."""

    class Batch:
        def __init__(self, rows):
            self.rows, self.num_rows = rows, len(rows)

        def slice(self, start):
            return Batch(self.rows[start:])

        def to_pylist(self):
            return self.rows

    rows = [{"data": sentence.tolist()} for sentence in CORPUS]
    table = SimpleNamespace(to_batches=lambda: [Batch(rows[:100]), Batch([]), Batch(rows[100:])])
    it = _stream(table, last_batch="pad")
    batches = [_as_lists(batch) for batch in it]
    assert sorted(i for b in batches for i in b[2] if i >= 0) == list(range(230))
    again = _stream(table, last_batch="pad")
    again.next()
    state = again.state()
    fresh = _stream(table, last_batch="pad")
    fresh.restore(state)
    assert [_as_lists(batch) for batch in fresh] == batches[1:]


def test_arrow_tables():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"data": [sentence.tolist() for sentence in CORPUS]})
    assert sorted(_epoch(_stream(table, last_batch="pad"))) == list(range(1, 231))


def test_a_generator_can_be_read_once():
    it = _stream((sample for sample in CORPUS), buckets="auto", last_batch="pad")
    assert sorted(number for batch in it for number in _rows(batch)) == list(range(1, 231))
    it.reset()
    with pytest.raises(DataError, match="can be read only once; give a function"):
        it.next()


@pytest.mark.parametrize("source", [5, None, object()])
def test_sources_that_are_none(source):
    with pytest.raises(DataError, match="the source of samples is"):
        _stream(source)


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        _stream(str(tmp_path / "none.txt"))
    bad = tmp_path / "bad.txt.gz"
    bad.write_bytes(gzip.compress(b"1 2\n" * 1000)[:-20])
    stream = _stream(bad, transform=lambda line: [1], window=2000)
    with pytest.raises(DataError, match=r"cannot read samples from .*bad\.txt\.gz"):
        stream.next()
    lines = tmp_path / "bad.jsonl"
    lines.write_text('{"data": [1]}\n{"data": [')
    with pytest.raises(DataError, match=r"cannot read samples from .*bad\.jsonl"):
        _stream(lines).next()


# Fields, buckets, options --------------------------------------------------------------------


def test_features_images_labels_and_lengths():
    rng = np.random.default_rng(0)
    samples = [
        {"frames": rng.normal(size=(n, 3)), "words": np.arange(1, m + 1), "kind": n % 2}
        for n, m in rng.integers(1, 9, (50, 2)).tolist()
    ]
    it = StreamIter(
        samples,
        "sequences:4",
        [(4, 8), (8, 4), (8, 8)],
        [Field("frames", ("T", 3), pad=-1.0), Field("words", ("U",), "int32", pad=0)],
        [Field("kind", ())],
        lengths="lengths",
        last_batch="pad",
    )
    assert [d.name for d in it.provide_data] == ["frames", "words", "lengths"]
    rows = 0
    for batch in it:
        frames, words, lengths = map(np.asarray, batch.data)
        assert frames.shape[1:] == (batch.bucket_key[0], 3)
        assert words.shape == (4, batch.bucket_key[1])
        for row in range(4 - batch.pad):
            sample = samples[batch.index[row]]
            n, m = len(sample["frames"]), len(sample["words"])
            assert lengths[row].tolist() == [n, m]
            np.testing.assert_array_equal(frames[row, :n], sample["frames"].astype(np.float32))
            assert (frames[row, n:] == -1).all()
            assert words[row].tolist() == [*range(1, m + 1), *[0] * (batch.bucket_key[1] - m)]
            assert float(np.asarray(batch.label[0])[row]) == n % 2
            rows += 1
        assert (lengths[4 - batch.pad :] == 1).all()
    assert rows == 50


def test_buckets_are_chosen_for_the_first_window():
    it = _stream(buckets=3, window=230, last_batch="pad")
    lengths = [len(sentence) for sentence in CORPUS]
    assert tuple(it.buckets) == plan_buckets(lengths, 3, batch=4, full_batches=False).boundaries
    assert sorted(_epoch(it)) == list(range(1, 231))
    plan = plan_buckets(lengths, 4, batch="tokens:50")
    planned = _stream(batch_size=None, buckets=plan)
    assert planned.batch_sizes == dict(zip(plan.boundaries, plan.batch_sizes))
    with pytest.raises(InvalidArgumentError, match="the plan has batch sizes"):
        _stream(buckets=plan)


def test_parts_share_the_samples():
    rows = [_epoch(_stream(num_parts=3, part_index=i, last_batch="pad")) for i in range(3)]
    assert sorted(chain.from_iterable(rows)) == list(range(1, 231))
    assert all(76 <= len(part) <= 77 for part in rows)
    with pytest.raises(InvalidArgumentError, match="part_index is 3; with num_parts=3"):
        _stream(num_parts=3, part_index=3)


def _negated(sample):
    return None if sample[0] % 5 == 0 else -sample


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"workers": 2, "processes": True}])
def test_transforms_keep_the_order_wherever_they_run(options):
    it = _stream(transform=_negated, shuffle=False, last_batch="pad", **options)
    rows = [-int(r[0]) for b in it for r in np.asarray(b.data[0])[: 4 - b.pad]]
    assert sorted(rows) == [n for n in range(1, 231) if n % 5]
    alone = _stream(transform=_negated, shuffle=False, last_batch="pad")
    assert rows == [-int(r[0]) for b in alone for r in np.asarray(b.data[0])[: 4 - b.pad]]


def test_samples_that_are_too_long(caplog):
    it = _stream(buckets=[5, 10], last_batch="pad")
    short = [i + 1 for i, sentence in enumerate(CORPUS) if len(sentence) <= 10]
    assert sorted(number for batch in it for number in _rows(batch)) == short
    assert it.discarded == 230 - len(short)
    assert "larger than every bucket; the first is sample" in caplog.text
    cut = _stream(buckets=[5, 10], last_batch="pad", too_long="cut")
    assert sum(4 - batch.pad for batch in cut) == 230
    with pytest.raises(DataError, match=r"has the size \(\d+,\), larger than every bucket"):
        _epoch(_stream(buckets=[5, 10], too_long="error"))


@pytest.mark.parametrize(
    ("sample", "fields", "text"),
    [
        ({"x": [1]}, TOKENS, "sample 0 has no 'data'; it has 'x'"),
        ([[1, 2]], TOKENS, r"sample 0, 'data': shape \(1, 2\) and dtype int64; expected numbers"),
        ("words", TOKENS, "expected numbers of shape"),
        ([], TOKENS, "it is empty"),
        ([1.5], TOKENS, "it holds fractions"),
        ([2**40], TOKENS, "cannot hold its integers exactly"),
        (([1, 2], [1]), [*TOKENS, Field("b", ("T",))], r"'b': shape \(1,\) .* with T = 2"),
        (([1, 2],), [*TOKENS, Field("b", ("T",))], "sample 0 has 1 arrays; expected 2: data, b"),
        ([[1, 2]], [Field("data", ("T", 3))], r"shape \(1, 2\) does not fit \('T', 3\)"),
    ],
)
def test_samples_that_do_not_fit_their_fields(sample, fields, text):
    with pytest.raises(DataError, match=text):
        StreamIter(lambda: iter([sample]), 1, [5], fields).next()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"batch_size": 0}, InvalidArgumentError, "batch is 0"),
        ({"batch_size": None}, InvalidArgumentError, "batch_size is None"),
        ({"buckets": [5, 5]}, DataError, "expected different keys"),
        ({"buckets": [(5, 6)]}, DataError, "expected 1 positive sizes"),
        ({"buckets": "many"}, DataError, "buckets is 'many'"),
        ({"data": []}, NameConflictError, "at least one input"),
        ({"data": [Field("a"), Field("a")]}, NameConflictError, "'a', 'a'"),
        ({"data": [Field("a", (3,))]}, InvalidArgumentError, "nothing to bucket"),
        ({"lengths": "data"}, NameConflictError, "'data', 'data'"),
        ({"last_batch": "keep"}, InvalidArgumentError, "last_batch is 'keep'"),
        ({"too_long": "split"}, InvalidArgumentError, "too_long is 'split'"),
        ({"window": 0}, InvalidArgumentError, "window is 0"),
        ({"workers": -1}, InvalidArgumentError, "workers is -1"),
        ({"source": [], "buckets": 3}, DataError, "no samples to choose buckets for"),
    ],
)
def test_bad_arguments(options, error, text):
    with pytest.raises(error, match=text):
        _stream(**options)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("x", (0,)), "shape has 0"),
        (("x", ("",)), "shape has ''"),
        (("x", ("T",), "str"), "dtype is 'str'"),
        (("x", ("T",), "uint8", -1), "cannot hold pad=-1"),
    ],
)
def test_bad_fields(arguments, text):
    with pytest.raises(SymbucketError, match=text):
        Field(*arguments)


def test_a_module_trains_from_a_stream():
    def sym_gen(key):
        x, label = sb.sym.Variable("data"), sb.sym.Variable("softmax_label")
        total = sb.sym.sum(sb.sym.Embedding(x, input_dim=240, output_dim=4, name="e"), axis=1)
        scores = sb.sym.FullyConnected(total, num_hidden=2, name="fc")
        return sb.sym.SoftmaxOutput(scores, label, name="softmax"), ("data",), ("softmax_label",)

    samples = [(sentence, int(sentence[0] > 115)) for sentence in CORPUS]
    it = StreamIter(
        samples, 8, 3, [Field("data")], [Field("softmax_label", ())], last_batch="pad", seed=0
    )
    module = sb.mod.BucketingModule(sym_gen, it.default_bucket_key)
    sb.random.seed(0)
    metric = sb.metric.Accuracy()
    module.fit(
        it,
        num_epoch=25,
        eval_metric=metric,
        optimizer="adam",
        optimizer_params={"learning_rate": 0.05},
    )
    assert metric.get()[1] > 0.95


def test_files_are_read_on_at_their_offset(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(" ".join(map(str, s)) + "\r\n" for s in CORPUS), newline="")
    it = _stream(path, transform=lambda line: [int(w) for w in line.split()], shuffle=False)
    while it.state()["window"] < 3:
        it.next()
    cursor = it.state()["cursor"]
    assert 0 < cursor["position"] < os.path.getsize(path)
    with open(path, "rb") as file:
        file.seek(cursor["position"])
        assert int(file.readline().split()[0]) == 3 * 40 + 1
