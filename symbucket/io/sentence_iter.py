"""Words to integers, and batches of whole sentences bucket by bucket."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from symbucket.checks import check_choice, check_integer
from symbucket.errors import DataError, NameConflictError
from symbucket.io.desc import LENGTHS, DataDesc
from symbucket.io.text_iter import BucketedTextIter, Buckets


def encode_sentences(
    sentences: Iterable[Iterable[Any]],
    vocab: dict[Any, int] | None = None,
    invalid_label: int = -1,
    invalid_key: Hashable = "\n",
    start_label: int = 0,
    unknown_token: Hashable | None = None,
) -> tuple[list[list[int]], dict[Any, int]]:
    """Replace the words of sentences by integers, as ``mx.rnn.encode_sentences`` does.

    Args:
        sentences: each a sequence of words (any hashable objects; a string is taken letter by
            letter).
        vocab: word -> integer. None builds one: words are numbered from ``start_label`` as they
            come, leaving out ``invalid_label``.
        invalid_label: the integer of ``invalid_key``, kept free for padding.
        invalid_key: the word that gets ``invalid_label`` in a new vocabulary.
        start_label: first integer in a new vocabulary.
        unknown_token: with a given vocabulary, the word that stands for all that it lacks. If
            the vocabulary lacks it too, it is added, under the integer after the largest. (MXNet
            gives it a new integer at every use; here it has one.)

    Returns:
        The encoded sentences and the vocabulary: the given one, or the new one.

    Raises:
        DataError: a word is not in the given vocabulary and no ``unknown_token`` is given. The
            vocabulary is then unchanged.
        InvalidArgumentError: a label is no integer.
    """
    invalid = check_integer(invalid_label, "invalid_label")
    start = check_integer(start_label, "start_label")
    if vocab is None:
        return _encode_new(sentences, invalid, invalid_key, start)
    return _encode_known(sentences, vocab, invalid, start, unknown_token), vocab


def _encode_new(
    sentences: Iterable[Iterable[Any]], invalid: int, invalid_key: Hashable, start: int
) -> tuple[list[list[int]], dict[Any, int]]:
    vocab: dict[Any, int] = {invalid_key: invalid}
    following = start
    encoded = []
    for sentence in sentences:
        codes = []
        for word in sentence:
            code = vocab.get(word)
            if code is None:
                if following == invalid:
                    following += 1
                code = vocab[word] = following
                following += 1
            codes.append(code)
        encoded.append(codes)
    return encoded, vocab


def _encode_known(
    sentences: Iterable[Iterable[Any]],
    vocab: dict[Any, int],
    invalid: int,
    start: int,
    unknown_token: Hashable | None,
) -> list[list[int]]:
    unknown = None if unknown_token is None else vocab.get(unknown_token)
    added = False
    encoded = []
    for position, sentence in enumerate(sentences):
        codes = []
        for word in sentence:
            code = vocab.get(word)
            if code is None:
                if unknown_token is None:
                    raise DataError(
                        f"sentence {position} has the word {word!r}, which is not among the "
                        f"{len(vocab)} of vocab; pass unknown_token='<unk>' to map such words to "
                        "one token, or vocab=None to build a new vocabulary"
                    )
                if unknown is None:
                    unknown = max(start, max(vocab.values(), default=start - 1) + 1)
                    unknown += unknown == invalid
                    added = True
                code = unknown
            codes.append(code)
        encoded.append(codes)
    if added and unknown is not None:
        vocab[unknown_token] = unknown
    return encoded


class BucketSentenceIter(BucketedTextIter):
    """Batches of sentences for language models, each padded to its bucket's length.

    A sentence goes to the smallest bucket that holds it. A batch's data are sentences padded with
    ``invalid_label``; its labels are the same rows shifted left by one, ``invalid_label`` last.
    An epoch yields every full batch of every bucket once, in random order over all of them, so that
    a bucket comes up in proportion to its size. Which sentences share a batch changes with each
    epoch. After ``mx.rnn.BucketSentenceIter``.

    Args:
        sentences: encoded sentences: sequences of integers, none empty.
        batch_size: sentences of a batch; None if ``buckets`` is a plan, which has them.
        buckets: ascending lengths; or a number, for which the lengths of least padding are taken;
            or ``'auto'``, as many as are worth it; or a :class:`BucketPlan`. None or an empty list
            takes every length that at least ``batch_size`` sentences have, as MXNet does.
        invalid_label: the integer that pads data and labels.
        data_name: name of the data.
        label_name: name of the labels.
        dtype: dtype of data and labels; must hold every token exactly.
        layout: ``'NT'`` for arrays of shape (batch_size, key), ``'TN'`` for (key, batch_size).
        seed: fixes the order of every epoch; None draws one that follows ``sb.random.seed`` and
            differs from iterator to iterator, then readable as ``seed``.
        shuffle: False keeps sentences in input order, bucket after bucket, in every epoch.
        last_batch: ``'discard'`` leaves out sentences that fill no batch, ``'pad'`` fills the batch
            up with rows of ``invalid_label`` in data and labels and counts them in its ``pad``,
            ``'roll_over'`` keeps them for the next epoch, which begins with them. With ``'pad'``
            every sentence comes exactly once an epoch.
        too_long: what becomes of sentences longer than every bucket: ``'discard'``, ``'cut'`` (the
            end is lost), ``'split'`` into parts that each begin with the last token of the part
            before, so that no pair of neighbours is lost or comes twice, or ``'error'``.
        lengths: whether data have a second array ``valid_length`` (batch_size,), float32: how many
            tokens of each row are no padding, as ``cell.unroll(valid_length=)`` takes them.

    Attributes:
        buckets: keys of the buckets that hold sentences, ascending.
        default_bucket_key: the largest bucket given or chosen.
        batch_sizes: sentences of a batch of each bucket, by key.
        discarded: sentences longer than every bucket, which are dropped.
        remainder: sentences that are in no batch of this epoch because they fill none.
        short_buckets: key -> number of sentences of buckets that yield no batch.

    Raises:
        DataError: no sentences, an empty one, a token that is no integer or does not fit ``dtype``;
            buckets not positive and ascending, or none that yields a batch.
        NameConflictError: data and labels carry one name.
        InvalidArgumentError: another argument out of range.
    """

    def __init__(
        self,
        sentences: Iterable[Any],
        batch_size: int | None = None,
        buckets: Buckets = None,
        invalid_label: int = -1,
        data_name: str = "data",
        label_name: str = "softmax_label",
        dtype: DTypeLike = "float32",
        layout: str = "NT",
        *,
        seed: int | None = None,
        shuffle: bool = True,
        last_batch: str = "discard",
        too_long: str = "discard",
        lengths: bool = False,
    ) -> None:
        self.data_name = data_name
        self.label_name = label_name
        self.layout = check_choice(layout, "layout", ("NT", "TN"))
        if data_name == label_name:
            raise NameConflictError(
                f"BucketSentenceIter: data_name and label_name are both {data_name!r}; "
                "give each its own"
            )
        if lengths and LENGTHS in (data_name, label_name):
            raise NameConflictError(
                f"BucketSentenceIter: with lengths=True an array is named {LENGTHS!r}; give data "
                "and labels other names"
            )
        super().__init__(
            sentences,
            batch_size,
            buckets,
            invalid_label=invalid_label,
            dtype=dtype,
            seed=seed,
            shuffle=shuffle,
            last_batch=last_batch,
            too_long=too_long,
            lengths=lengths,
        )

    @property
    def major_axis(self) -> int:
        """The axis of data and labels that counts sentences."""
        return self.layout.find("N")

    def _describe(self, key: int) -> tuple[list[DataDesc], list[DataDesc]]:
        size = self._batch_size(key)
        shape = (size, key) if self.layout == "NT" else (key, size)
        return (
            [DataDesc(self.data_name, shape, self.dtype, self.layout)],
            [DataDesc(self.label_name, shape, self.dtype, self.layout)],
        )

    def _arrays(
        self, tokens: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        if self.layout == "NT":
            return [tokens], [labels]
        return [np.ascontiguousarray(tokens.T)], [np.ascontiguousarray(labels.T)]
