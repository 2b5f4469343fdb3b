"""Data that iterators must not lose, share or change silently."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError
from symbucket.io import Field

MASKED = np.ma.masked_array([[1, 2], [3, 4]], mask=[[True, False], [False, False]])


@pytest.mark.parametrize(
    "make",
    [
        lambda values: sb.io.NDArrayIter(values, None, 2),
        lambda values: sb.io.NDArrayIter(np.ones(2), values, 2),
        lambda values: sb.io.KeyedIter([1, 1], list(values), batch_size=2),
    ],
)
def test_values_that_float32_cannot_hold_and_masked_ones(make):
    with pytest.raises(DataError, match=r"masked|numbers"):
        make(MASKED)
    with pytest.raises(DataError, match="1e\\+300, which float32 cannot hold"):
        make(np.array([[1.0, 2], [3, 1e300]]))
    make(np.array([[1.0, np.nan], [3, np.inf]]))


def test_sentences_with_masked_tokens():
    with pytest.raises(DataError, match="sentence 0 has the token None"):
        sb.io.BucketSentenceIter(list(MASKED), 2, [2])


def test_rows_roll_over_if_the_end_of_the_epoch_was_not_asked_for():
    batches = sb.io.NDArrayIter(
        np.arange(10.0).reshape(5, 2), None, 2, last_batch_handle="roll_over"
    )
    assert [next(batches).index.tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    batches.reset()
    assert [batch.index.tolist() for batch in batches] == [[4, 0], [1, 2], [3, 4]]
    batches.reset()
    next(batches)  # in the middle, the rest of an epoch is not carried on
    batches.reset()
    assert next(batches).index.tolist() == [0, 1]


@pytest.mark.parametrize("transform", [None, lambda item: item])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_may_write_every_sample_to_the_same_memory(transform, workers):
    memory = np.zeros(2, np.float32)

    class Source:
        def __iter__(self):
            for i in range(6):
                memory[:] = i
                yield memory

    fields = [Field("data", ("T",))]
    options = {"transform": transform, "workers": workers, "shuffle": False}
    batches = sb.io.StreamIter(Source(), 2, [2], fields, **options)
    assert [b.data[0].asnumpy()[:, 0].tolist() for b in batches] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("dtype", "values", "text"),
    [
        ("float32", [1e300, 1.0], "beyond its range, such as 1e\\+300"),
        ("float16", np.array([1e6, 1], np.float32), "beyond its range"),
        ("bool", [0.5, 1.0], "fractions, such as 0.5"),
        ("int32", [0.5, 1.0], "fractions"),
        ("float64", [2**53 + 1, 1], "cannot hold its integers exactly"),
        ("float32", MASKED[0], "masked"),
    ],
)
def test_fields_refuse_what_their_dtype_cannot_hold(dtype, values, text):
    with pytest.raises(DataError, match=text):
        Field("x", ("T",), dtype).array(values, 0, {})


class Failing(sb.io.DataIter):
    """Four batches; the first try to get the second one fails."""

    provide_label = []

    def __init__(self, name, fails):
        super().__init__(1)
        self.provide_data = [(name, (1,))]
        self.fails = fails
        self.reset()

    def reset(self):
        self.count = 0

    def next(self):
        if self.fails and self.count == 1:
            self.fails = False
            raise OSError("the disk is away")
        if self.count == 4:
            raise StopIteration
        self.count += 1
        return sb.io.DataBatch([np.array([self.count])], pad=0)


def _rows(batch):
    return [int(array[0]) for array in batch.data]


def test_a_failure_of_one_iterator_loses_no_batch_of_the_others():
    batches = sb.io.PrefetchingIter([Failing("a", False), Failing("b", True)])
    assert _rows(batches.next()) == [1, 1]
    with pytest.raises(OSError, match="disk"):
        batches.next()
    assert [_rows(batch) for batch in batches] == [[2, 2], [3, 3], [4, 4]]


def test_reset_forgets_a_failure():
    batches = sb.io.PrefetchingIter(Failing("a", True))
    assert _rows(batches.next()) == [1]
    batches.reset()
    assert [_rows(batch) for batch in batches] == [[1], [2], [3], [4]]


def test_batches_of_different_keys_do_not_belong_together():
    sentences = [[1] * 3] * 4 + [[2] * 5] * 4
    one, other = (
        sb.io.BucketSentenceIter(sentences, 2, [3, 5], data_name=n, label_name=f"{n}_label", seed=s)
        for n, s in (("a", 1), ("b", 3))
    )
    with pytest.raises(DataError, match="bucket keys"):
        list(sb.io.PrefetchingIter([one, other]))


@pytest.mark.parametrize("sentence", [{3, 1}, {3: 1, 1: 7}, frozenset([2, 1])])
def test_sentences_without_order(sentence):
    with pytest.raises(DataError, match=f"sentence 1 is a {type(sentence).__name__}, whose items"):
        sb.io.BucketSentenceIter([[1, 2], sentence], 2, [2])


def test_integers_beside_floats_are_not_rounded():
    with pytest.raises(DataError, match="float32 is exact only up to 16777216"):
        sb.io.KeyedIter([1, 1], [np.array([2**24 + 1]), np.array([0.5])], batch_size=2)
    batches = sb.io.KeyedIter([1, 1], [np.array([2]), np.array([0.5])], batch_size=2, shuffle=False)
    assert next(batches).data[0].asnumpy().tolist() == [[2], [0.5]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_window_that_an_error_broke_off_is_read_again(workers):
    broken = [5, 13]

    def transform(item):
        if item in broken:
            broken.remove(item)
            raise OSError("the network is away")
        return np.full(1 + item % 2, item, np.float32)

    def stream():
        fields = [Field("data", ("T",))]
        options = {"transform": transform, "workers": workers, "window": 4, "seed": 1}
        return sb.io.StreamIter(range(16), 2, [1, 2], fields, **options)

    batches, seen = stream(), []
    while True:
        try:
            seen.append(next(batches).index.tolist())
        except StopIteration:
            break
        except OSError:
            state = batches.state()
    assert not broken
    assert sorted(i for index in seen for i in index) == list(range(16))
    again = stream()
    assert [batch.index.tolist() for batch in again] == seen
    again.restore(state)  # of the second error
    rest = [batch.index.tolist() for batch in again]
    assert rest == seen[-len(rest) :]
    assert 0 < len(rest) < len(seen)


def test_samples_that_are_too_long_break_a_window_off_each_time():
    fields = [Field("data", ("T",))]
    rows = [[1], [1, 2], [1]]
    batches = sb.io.StreamIter(rows, 1, [1], fields, too_long="error", window=3)
    for _ in range(2):
        with pytest.raises(DataError, match="sample 1 has the size"):
            next(batches)


@pytest.mark.parametrize("kind", [sb.io.BucketSentenceIter, sb.io.StepSentenceIter])
def test_words_that_look_like_padding(kind, caplog):
    kind([[0, 1, 2], [2, 1, 0]], 2, [3], invalid_label=-1)
    assert not caplog.text
    kind([[0, 1, 2], [2, 1, 0]], 2, [3], invalid_label=0)
    (record,) = caplog.records
    assert "invalid_label=0, which pads, is also the token of 2 words" in record.getMessage()
