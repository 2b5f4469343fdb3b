"""Batches for networks that have one Variable per time step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from symbucket.errors import DataError
from symbucket.io.desc import DataDesc, normalize_descs
from symbucket.io.text_iter import BucketedTextIter, Buckets


class StepSentenceIter(BucketedTextIter):
    """Batches of sentences as one array per time step, with initial states.

    For bucket key T, data are ``data/0`` to ``data/T-1`` and labels ``label/0`` to ``label/T-1``,
    each of shape (batch_size,), followed in data by the initial states as zeros. Buckets, padding,
    labels and the order of an epoch are those of :class:`BucketSentenceIter`. This is the form of
    MXNet's first LSTM bucketing tutorial, whose networks are unrolled by hand.

    Args:
        sentences: encoded sentences: sequences of integers, none empty.
        batch_size: sentences of a batch; None if ``buckets`` is a plan, which has them.
        buckets: ascending lengths; or a number, for which the lengths of least padding are taken;
            or ``'auto'``, as many as are worth it; or a :class:`BucketPlan`. None or an empty list
            takes every length that at least ``batch_size`` sentences have, as MXNet does.
        init_states: ``(name, shape)`` tuples or DataDesc, batch axis included in the shape.
        invalid_label: the integer that pads data and labels.
        data_name: first part of the data names.
        label_name: first part of the label names.
        seed: fixes the order of every epoch; None draws one that follows ``sb.random.seed`` and
            differs from iterator to iterator, then readable as ``seed``.
        dtype: dtype of data and labels; states have that of their description.
        shuffle: False keeps sentences in input order, bucket after bucket, in every epoch.
        last_batch, too_long: as for :class:`BucketSentenceIter`.

    Raises:
        DataError: as :class:`BucketSentenceIter`, or a malformed initial state.
        NameConflictError: two arrays carry one name.
        InvalidArgumentError: another argument out of range.
    """

    def __init__(
        self,
        sentences: Iterable[Any],
        batch_size: int | None = None,
        buckets: Buckets = None,
        init_states: Sequence[Any] = (),
        invalid_label: int = 0,
        data_name: str = "data",
        label_name: str = "label",
        seed: int | None = None,
        *,
        dtype: DTypeLike = "float32",
        shuffle: bool = True,
        last_batch: str = "discard",
        too_long: str = "discard",
    ) -> None:
        self.data_name = data_name
        self.label_name = label_name
        self.init_states = normalize_descs(init_states, "init_states")
        for state in self.init_states:
            if not state.shape or 0 in state.shape:
                raise DataError(
                    f"init_states: {state.name!r} has shape {state.shape}; expected positive "
                    "sizes, batch axis included, as in ('l0_init_c', (32, 200))"
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
        )

    def _describe(self, key: int) -> tuple[list[DataDesc], list[DataDesc]]:
        data = self._steps(self.data_name, key) + self._states(key)
        label = self._steps(self.label_name, key)
        normalize_descs(data + label, "data, labels and init_states")
        return data, label

    def _arrays(
        self, tokens: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        # Fresh zeros each time: a batch belongs to who takes it.
        states = [np.zeros(s.shape, s.dtype) for s in self._states(tokens.shape[1])]
        return list(np.ascontiguousarray(tokens.T)) + states, list(np.ascontiguousarray(labels.T))

    def _steps(self, name: str, key: int) -> list[DataDesc]:
        size = self._batch_size(key)
        return [DataDesc(f"{name}/{t}", (size,), self.dtype, "N") for t in range(key)]

    def _states(self, key: int) -> list[DataDesc]:
        """The initial states of a batch, with the batch size of the key if keys differ in it."""
        if not self._plan_sizes:
            return self.init_states
        return [_resized(state, self._batch_size(key)) for state in self.init_states]


def _resized(desc: DataDesc, batch_size: int) -> DataDesc:
    shape = list(desc.shape)
    shape[desc.batch_axis] = batch_size
    return desc.with_shape(shape)
