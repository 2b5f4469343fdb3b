"""Bucketed batches from streams: corpora larger than memory, read once an epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.checks import check_choice, check_integer, is_integer
from symbucket.errors import DataError, InvalidArgumentError, NameConflictError, StateError
from symbucket.io.arrays import in_batch
from symbucket.io.batch import DataBatch
from symbucket.io.boxes import assign_boxes
from symbucket.io.bucket_choice import batch_rule, plan_buckets
from symbucket.io.bucket_plan import BucketPlan
from symbucket.io.buckets import plan_epoch
from symbucket.io.desc import DataDesc
from symbucket.io.epoch_seed import resolve_seed
from symbucket.io.field import Field, Sizes
from symbucket.io.samples import Sample, SampleReader
from symbucket.io.sources import Cursor, as_source
from symbucket.io.state import restores
from symbucket.io.whole_batch_iter import WholeBatchIter

logger = logging.getLogger("symbucket.io")


class StreamIter(WholeBatchIter):
    """Batches of one bucket each, from samples that are read as they come.

    Samples are read a window at a time. A window's samples go to their buckets and are shuffled
    there; full batches come in random order; what fills no batch waits for the next window. So no
    more than a window and less than a batch for each bucket is in memory, whatever the source.

    Args:
        source: files (a path or a list: lines of text, ``.csv``, ``.tsv``, ``.jsonl``, also
            compressed), an Arrow table or dataset, a HuggingFace dataset or anything else with
            ``len`` and positions, or a function that returns an iterable, called once an epoch.
        batch_size: samples of a batch; ``'tokens:2000'`` as for ``plan_buckets``; None if
            ``buckets`` is a plan.
        buckets: keys, each a size for each named axis (a number if there is one axis); or a number
            of buckets, or ``'auto'``, chosen for the first window; or a :class:`BucketPlan`.
        data: fields of the network's inputs.
        label: fields of its labels.
        transform: ``transform(item)`` turns what the source has into a sample: a dict by field
            name, a tuple in the order of the fields, or an array if there is one field. It may
            return None to leave the item out. After an error in it, the next batch begins with
            the same window: no sample is lost.
        lengths: name of a further input, after the others: the sizes of each sample's axes,
            float32, of shape (batch_size,), or (batch_size, axes) if there are several. Rows that
            only fill a batch have the length 1.
        window: samples read at a time.
        shuffle: False keeps the order of the source; True shuffles files or rows, and each window.
        seed: fixes the order of every epoch.
        last_batch: ``'discard'``, ``'pad'`` (with rows of padding), or ``'roll_over'``, which keeps
            what fills no batch for the next epoch.
        too_long: what becomes of samples larger than every bucket: ``'discard'``, ``'cut'``, or
            ``'error'``.
        workers: ``transform`` runs on so many threads; 0 runs it in between.
        processes: ``transform`` runs in processes, not threads; it must be importable then.
        num_parts, part_index: this iterator takes each ``num_parts``-th sample, from
            ``part_index`` on.

    Attributes:
        buckets: the keys, ascending.
        batch_sizes: samples of a batch of each bucket, by key.
        epoch: 0 at first, one more with each reset.
        discarded: samples of this epoch so far that were too large.
        remainder: samples of this epoch that filled no batch; known at its end.

    Raises:
        DataError: the source is none, or has no samples, or a sample does not fit the fields (said
            when it is read, with its number).
        NameConflictError: two fields carry one name.
        InvalidArgumentError: another argument out of range.
    """

    def __init__(
        self,
        source: Any,
        batch_size: int | str | None = None,
        buckets: Any = "auto",
        data: Sequence[Field] = (Field("data"),),
        label: Sequence[Field] = (),
        *,
        transform: Callable[[Any], Any] | None = None,
        lengths: str | None = None,
        window: int = 10_000,
        shuffle: bool = True,
        seed: int | None = None,
        last_batch: str = "discard",
        too_long: str = "discard",
        workers: int = 0,
        processes: bool = False,
        num_parts: int = 1,
        part_index: int = 0,
    ) -> None:
        self._data, self._label, self._lengths = list(data), list(label), lengths
        self._fields = [*self._data, *self._label]
        names = [field.name for field in self._fields] + ([lengths] if lengths else [])
        if len({*names}) != len(names) or not self._data:
            raise NameConflictError(
                f"StreamIter: fields are named {', '.join(map(repr, names))}; expected at least "
                "one input, and a name of its own for each"
            )
        self._reader = SampleReader(
            as_source(source),
            self._fields,
            transform,
            window,
            workers,
            processes,
            num_parts,
            part_index,
        )
        self._axes = self._reader.axes
        if not self._axes:
            raise InvalidArgumentError(
                "StreamIter: no field has an axis whose size differs, so there is nothing to "
                "bucket; name one, as in Field('data', ('T',))"
            )
        self.shuffle = bool(shuffle)
        self.seed = resolve_seed(seed)
        self.last_batch = check_choice(last_batch, "last_batch", ("discard", "pad", "roll_over"))
        self._too_long = check_choice(too_long, "too_long", ("discard", "cut", "error"))
        self.epoch = -1
        self._rest: list[Sample] = []
        self.reset()
        self._set_buckets(buckets, batch_size)
        super().__init__(max(self.batch_sizes.values()))
        self.default_bucket_key = self.buckets[-1]
        self.provide_data, self.provide_label = self._descs(self.default_bucket_key)

    # Buckets -----------------------------------------------------------------------------------

    def _set_buckets(self, buckets: Any, batch_size: int | str | None) -> None:
        if isinstance(buckets, BucketPlan):
            if batch_size is not None:
                raise InvalidArgumentError(
                    f"batch_size is {batch_size!r}, but the plan has batch sizes; leave it out"
                )
            sizes = dict(zip(buckets.boundaries, buckets.batch_sizes))
        elif is_integer(buckets) or (isinstance(buckets, str) and buckets == "auto"):
            window = self._reader.peek()
            if not window:
                raise DataError("StreamIter: the source has no samples to choose buckets for")
            count = int(buckets) if is_integer(buckets) else None
            batch = check_integer(batch_size, "batch_size", 1) if batch_size is None else batch_size
            plan = plan_buckets([s.sizes for s in window], count, batch=batch, full_batches=False)
            sizes = dict(zip(plan.boundaries, plan.batch_sizes))
        else:
            rule = batch_rule(
                check_integer(batch_size, "batch_size", 1) if batch_size is None else batch_size
            )
            sizes = {key: rule(key) for key in _checked_keys(buckets, len(self._axes))}
        boxes = {key: key if isinstance(key, tuple) else (key,) for key in sizes}
        if {len(box) for box in boxes.values()} != {len(self._axes)}:
            raise InvalidArgumentError(
                f"StreamIter: bucket {next(iter(boxes))!r} does not fit the axes "
                f"{', '.join(self._axes)}; expected a size for each"
            )
        self.buckets = sorted(boxes, key=lambda key: (sum(boxes[key]), boxes[key]))
        self.batch_sizes = {key: sizes[key] for key in self.buckets}
        self._boxes = np.array([boxes[key] for key in self.buckets])

    def _sizes(self, key: Any) -> Sizes:
        return dict(zip(self._axes, key if isinstance(key, tuple) else (key,)))

    def _descs(self, key: Any) -> tuple[list[DataDesc], list[DataDesc]]:
        rows, sizes = self.batch_sizes[key], self._sizes(key)
        data = [field.desc(rows, sizes) for field in self._data]
        if self._lengths:
            shape = (rows,) if len(self._axes) == 1 else (rows, len(self._axes))
            data.append(DataDesc(self._lengths, shape, "float32"))
        return data, [field.desc(rows, sizes) for field in self._label]

    # Epochs ------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Begin the next epoch at the beginning of the source."""
        self._begin(self.epoch + 1, 0, None, self._rest)

    def _begin(self, epoch: int, window: int, cursor: Cursor | None, waiting: list[Sample]) -> None:
        """Go to the beginning of a window, with samples that wait since the one before it."""
        self.epoch, self._number = epoch, window
        self._open(cursor)
        self._waiting, self._rest = waiting, []
        self._start = self._reader.cursor, waiting
        self._batches: list[tuple[int, list[Sample]]] = []
        self._taken = self.discarded = self.remainder = 0
        self._begun = False  # whether the batches of a window are laid out
        self._current = None

    def _open(self, cursor: Cursor | None) -> None:
        """Read on from the beginning of the window that is next."""
        order = np.random.default_rng([self.seed, self.epoch]) if self.shuffle else None
        self._reader.begin(order, self._number, cursor)
        self._broken: tuple[Cursor, int] | None = None

    def _following(self) -> DataBatch | None:
        while self._taken == len(self._batches):
            if self._reader.ended and self._broken is None:
                return None
            self._next_window()
        bucket, samples = self._batches[self._taken]
        batch = self._batch(self.buckets[bucket], samples)
        self._taken += 1
        return batch

    def _next_window(self) -> None:
        """Read a window and lay out its batches; one that an error broke off is read again."""
        if self._broken is not None:
            cursor, self.discarded = self._broken
            self._open(cursor)
        start = self._reader.cursor, self._waiting
        self._broken = start[0], self.discarded
        samples = self._waiting + self._reader.read()
        ended = self._reader.ended
        generator = np.random.default_rng([self.seed, self.epoch, 1 + self._number])
        if self.shuffle:
            samples = [samples[i] for i in generator.permutation(len(samples))]
        held = self._into_buckets(samples)
        sizes = list(self.batch_sizes.values())
        last = "pad" if ended and self.last_batch == "pad" else "discard"
        plan = plan_epoch(
            [len(bucket) for bucket in held], sizes, last, generator if self.shuffle else None
        )
        self._batches = [(b, held[b][at : at + sizes[b]]) for b, at in plan]
        self._start, self._taken, self._begun, self._broken = start, 0, True, None
        self._number += 1
        rest = [
            s for bucket, size in zip(held, sizes) for s in bucket[len(bucket) // size * size :]
        ]
        self._waiting = [] if ended else rest
        if ended and last != "pad":
            self.remainder = len(rest)
            self._rest = rest if self.last_batch == "roll_over" else []

    def _into_buckets(self, samples: list[Sample]) -> list[list[Sample]]:
        held: list[list[Sample]] = [[] for _ in self.buckets]
        if not samples:
            return held
        sizes = np.array([sample.sizes for sample in samples])
        cost = self._boxes.sum(axis=1).astype(float)
        assigned = assign_boxes(sizes, self._boxes, cost)
        if self._too_long == "cut":
            longest = np.minimum(sizes, self._boxes[-1])
            assigned = np.where(
                assigned == len(held), assign_boxes(longest, self._boxes, cost), assigned
            )
        for sample, bucket in zip(samples, assigned.tolist()):
            if bucket < len(held):
                held[bucket].append(sample)
            elif self._too_long == "error":
                raise DataError(
                    f"sample {sample.number} has the size {sample.sizes}, larger than every bucket "
                    f"(the largest is {self.buckets[-1]!r}); give a larger one, or "
                    "too_long='discard' or 'cut'"
                )
            else:
                self.discarded += 1
                if self.discarded == 1:
                    logger.warning(
                        "StreamIter: leaves out samples larger than every bucket; the first is "
                        "sample %d of size %s; see the attribute discarded",
                        sample.number,
                        sample.sizes,
                    )
        return held

    def _batch(self, key: Any, samples: list[Sample]) -> DataBatch:
        rows, sizes = self.batch_sizes[key], self._sizes(key)
        arrays = [
            field.batch([sample.arrays[i] for sample in samples], rows, sizes)
            for i, field in enumerate(self._fields)
        ]
        data, label = arrays[: len(self._data)], arrays[len(self._data) :]
        if self._lengths:
            lengths = np.ones((rows, len(self._axes)), np.float32)
            lengths[: len(samples)] = np.minimum([s.sizes for s in samples], list(sizes.values()))
            data.append(lengths[:, 0].copy() if len(self._axes) == 1 else lengths)
        index = np.full(rows, -1, np.int64)
        index[: len(samples)] = [sample.number for sample in samples]
        provide_data, provide_label = self._descs(key)
        pad = rows - len(samples)
        held = in_batch(data), in_batch(label)
        return DataBatch(*held, pad, index, key, provide_data, provide_label)

    # Where the iterator is ---------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return epoch, window, batch and the samples that waited then, as JSON values."""
        cursor, waiting = self._start
        return {
            "iterator": type(self).__name__,
            "epoch": self.epoch,
            "window": self._number - self._begun,
            "cursor": cursor,
            "waiting": [sample.packed() for sample in waiting],
            "begun": self._begun,
            "taken": self._taken,
            "discarded": self.discarded,
            **self._layout(),
        }

    @restores
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go where ``state()`` was: the next batch is the one that followed then.

        At most one window is read again.

        Raises:
            StateError: seed apart, an argument on which the order depends is another one now;
                nothing is changed then.
        """
        layout = {**self._layout(), "seed": state.get("seed")}
        changed = [
            f"{k} {state.get(k)!r} is {v!r} now" for k, v in layout.items() if state.get(k) != v
        ]
        if changed:
            raise StateError(
                "StreamIter.restore: the state is that of another stream, so nobody can tell which "
                f"samples had their turn: {'; '.join(changed)}. Use the arguments of that time, or "
                "begin anew"
            )
        self.seed = int(state["seed"])
        waiting = [Sample.unpacked(packed, self._fields) for packed in state["waiting"]]
        self._begin(int(state["epoch"]), int(state["window"]), state["cursor"], waiting)
        if state["begun"]:
            self._next_window()
            self._taken = int(state["taken"])
        self.discarded = int(state["discarded"])

    def _layout(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "shuffle": self.shuffle,
            "last_batch": self.last_batch,
            "window_size": self._reader.window,
            "parts": [self._reader.num_parts, self._reader.part_index],
            "buckets": [[*box] for box in self._boxes.tolist()],
            "batch_sizes": list(self.batch_sizes.values()),
        }


def _checked_keys(buckets: Any, axes: int) -> list[Any]:
    if isinstance(buckets, (str, bytes)) or not isinstance(buckets, Iterable):
        raise DataError(
            f"buckets is {buckets!r}; expected a list of keys, a number, 'auto' or a BucketPlan"
        )
    keys = [key if isinstance(key, tuple) else (key,) for key in buckets]
    for key in keys:
        if len(key) != axes or not all(is_integer(size) and size > 0 for size in key):
            raise DataError(
                f"buckets holds {key if axes > 1 else key[0]!r}; expected {axes} positive sizes"
            )
    if not keys or len({*keys}) != len(keys):
        raise DataError(f"buckets is {buckets!r}; expected different keys, at least one")
    return [int(key[0]) if axes == 1 else tuple(map(int, key)) for key in keys]
