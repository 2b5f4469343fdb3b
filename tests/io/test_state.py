"""Iterators go on where they were, in another process too, and say if they cannot."""

import contextlib
import json
import logging
import re
from collections import Counter

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError, InvalidArgumentError, UnsupportedError

RNG = np.random.default_rng(0)
SENTENCES = [RNG.integers(1, 50, n).tolist() for n in RNG.integers(2, 13, 61)]
ROWS = np.arange(23, dtype=np.float32).reshape(23, 1)
KEYS = [("a", 1), ("b", 2)] * 9 + [("c", 3)] * 5


def text(batch_size=4, buckets=(6, 12), sentences=SENTENCES, **kwargs):
    return sb.rnn.BucketSentenceIter(sentences, batch_size, list(buckets), 0, **kwargs)


def steps(**kwargs):
    return sb.io.StepSentenceIter(SENTENCES, 4, [6, 12], [("c", (4, 2))], **kwargs)


def keyed(batch_size=3, **kwargs):
    data = [np.full((2,), i, np.float32) for i in range(len(KEYS))]
    return sb.io.KeyedIter(KEYS, data, batch_size=batch_size, **kwargs)


def arrays(batch_size=4, data=ROWS, **kwargs):
    return sb.io.NDArrayIter(data, data, batch_size, **kwargs)


def resized(**kwargs):
    return sb.io.ResizeIter(arrays(shuffle=True), 9, **kwargs)


MAKERS = {
    **{f"text {last}": (lambda last=last: text(last_batch=last)) for last in ("discard", "pad")},
    "text roll_over": lambda: text(last_batch="roll_over"),
    "text in order": lambda: text(shuffle=False),
    "steps": steps,
    **{f"keyed {k}": (lambda k=k: keyed(last_batch=k)) for k in ("discard", "pad", "keep")},
    "keyed sizes": lambda: keyed({("a", 1): 2, ("b", 2): 4, ("c", 3): 5}),
    "arrays": arrays,
    **{
        f"arrays {k}": (lambda k=k: arrays(shuffle=True, last_batch_handle=k))
        for k in ("pad", "discard", "roll_over")
    },
    "resized": resized,
    "parts": lambda: sb.io.PartIter(arrays(shuffle=True), 2, 1),
    "prefetched": lambda: sb.io.PrefetchingIter(text(last_batch="roll_over")),
    "prefetched from two": lambda: sb.io.PrefetchingIter(
        [arrays(shuffle=True), arrays(shuffle=True)],
        rename_data=[{"data": "a"}, {"data": "b"}],
        rename_label=[{"softmax_label": "c"}, {"softmax_label": "d"}],
    ),
    "resized on": lambda: resized(reset_internal=False),
}


def parts(batch):
    data = [np.asarray(a).tolist() for a in [*batch.data, *(batch.label or [])]]
    return batch.bucket_key, batch.pad, data


def run(iterator, epochs):
    """The batches of the rest of this epoch and of further ones."""
    batches = [list(map(parts, iterator))]
    for _ in range(epochs):
        iterator.reset()
        batches.append(list(map(parts, iterator)))
    return batches


def restored(iterator, state):
    iterator.restore(json.loads(json.dumps(state)))
    return iterator


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_restored_iterator_goes_on_with_the_same_batches(make, caplog):
    sb.random.seed(3)  # other iterators get another seed than this one
    original = make()
    for epoch in range(3):
        for taken in (0, 1, 3, 99):
            while taken and next(original, None) is not None:
                taken -= 1
            state = original.state()
            again = restored(make(), state)
            assert again.state() == state
            rest = run(restored(make(), state), 2)
            assert run(again, 2) == rest
            if taken == 0:  # the original has not run to its end yet
                assert run(restored(original, state), 2) == rest
                restored(original, state)
        original.reset()
        assert epoch == getattr(original, "epoch", epoch + 1) - 1
    assert "goes on in" not in caplog.text


def test_a_restored_iterator_is_the_original_and_not_just_like_itself():
    sb.random.seed(3)
    original = text()
    original.reset()
    first = [parts(next(original)) for _ in range(5)]
    state = original.state()
    rest = run(original, 1)
    assert run(restored(text(), state), 1) == rest
    assert first[0] not in rest[0]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_what_is_no_state_is_refused_and_changes_nothing(make):
    iterator = make()
    next(iterator)
    before = iterator.state()
    name = type(iterator).__name__
    for state in (None, "x", 3, [], {}, {"iterator": "Other"}):
        with pytest.raises(InvalidArgumentError, match=f"{name}.restore: the state is that of"):
            iterator.restore(state)
    for key in before:
        for damaged in ({k: v for k, v in before.items() if k != key}, {**before, key: object()}):
            with contextlib.suppress(InvalidArgumentError, DataError):
                iterator.restore(damaged)
                iterator.restore(before)  # it could do without
            assert iterator.state() == before
    damaged = {"iterator": name}
    with pytest.raises(InvalidArgumentError, match=rf"{name}.restore: the state is damaged \(KeyE"):
        iterator.restore(damaged)
    assert iterator.state() == before


def _sentences(batches):
    """How often each sentence came, by its tokens."""
    rows = [tuple(t for t in row if t) for batch in batches for row in batch[2][0]]
    return Counter(row for row in rows if row)


@pytest.mark.parametrize("after", [1, 5, 9])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 3}, r"batch sizes \[4, 4\] is \[3, 3\] now"),
        ({"buckets": (4, 8, 12)}, r"buckets \[6, 12\] is \[4, 8, 12\] now"),
        ({"batch_size": 7, "buckets": (12,)}, "buckets .*; batch sizes"),
        ({"shuffle": False}, "shuffle True is False now"),
    ],
)
def test_other_batches_hold_every_remaining_sentence_once(after, change, message, caplog):
    distinct = [[i + 1, *s[1:]] for i, s in enumerate(SENTENCES)]
    original = text(sentences=distinct, last_batch="pad")
    before = [parts(next(original)) for _ in range(after)]
    changed = text(sentences=distinct, last_batch="pad", **change)
    restored(changed, original.state())
    assert [r.levelno for r in caplog.records if "goes on" in r.message] == [logging.WARNING]
    assert re.search(f"goes on in epoch 0 with .*{message}", caplog.text)
    # Again from the middle of what is left, after which nothing has changed.
    begun = [parts(next(changed))]
    caplog.clear()
    again = text(sentences=distinct, last_batch="pad", **change)
    restored(again, changed.state())
    assert "goes on in" not in caplog.text
    (rest,) = run(again, 0)
    together = _sentences([*before, *begun, *rest])
    assert together == Counter(map(tuple, distinct))
    # The next epoch is whole again.
    again.reset()
    assert _sentences(map(parts, again)) == Counter(map(tuple, distinct))


def test_rows_that_are_left_after_a_change_of_the_batch_size(caplog):
    original = arrays(shuffle=True)
    before = [row for _ in range(3) for row in next(original).index]
    other = restored(arrays(5, shuffle=True), original.state())
    after = [row for batch in other for row in batch.index[: 5 - batch.pad]]
    assert sorted([*before, *after]) == list(range(23))
    assert "batch size 4 is 5 now" in caplog.text


def test_keys_that_are_left_after_a_change_of_the_batch_size(caplog):
    original = keyed(last_batch="keep")
    before = [row for _ in range(3) for row in next(original).index]
    other = restored(keyed(2, last_batch="keep"), original.state())
    after = [row for batch in other for row in batch.index]
    assert sorted([*before, *after]) == list(range(len(KEYS)))


def test_other_data_are_refused_inside_an_epoch_and_said_at_its_ends(caplog):
    for make, other in (
        (text, lambda: text(sentences=SENTENCES[1:])),
        (arrays, lambda: arrays(data=ROWS + 1)),
    ):
        original = make()
        begin = original.state()
        next(original)
        iterator = other()
        before = iterator.state()
        with pytest.raises(DataError, match="in the middle of an epoch over other data"):
            restored(iterator, original.state())
        assert iterator.state() == before
        for state in (begin, {**begin, "epoch": 4}):
            caplog.clear()
            assert restored(iterator, state).epoch == state["epoch"]
            assert len(list(iterator)) > 0
            assert "the data are other ones" in caplog.text
        list(original)
        assert list(restored(iterator, original.state())) == []
        iterator.reset()
        assert iterator.epoch == 1
        assert len(list(iterator)) > 0


def test_states_of_other_iterators_are_refused():
    with pytest.raises(InvalidArgumentError, match="the state is that of NDArrayIter"):
        text().restore(arrays().state())
    with pytest.raises(InvalidArgumentError, match="that of no iterator"):
        arrays().restore({})
    with pytest.raises(UnsupportedError, match=r"DataIter does not define state\(\)"):
        sb.io.DataIter().state()

    class Own(sb.io.DataIter):
        provide_data = provide_label = ()

        def next(self):
            raise StopIteration

    with pytest.raises(UnsupportedError, match=r"Own does not define state\(\)"):
        sb.io.PrefetchingIter(Own()).state()
    one = sb.io.PrefetchingIter(arrays())
    two = sb.io.PrefetchingIter([arrays(), arrays(data=ROWS + 1)])
    with pytest.raises(DataError, match="the state is that of 2 iterators, here are 1"):
        one.restore(two.state())
