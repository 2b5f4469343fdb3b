"""Batches of samples that each say which network they are for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbucket.checks import check_integer
from symbucket.errors import DataError, InvalidArgumentError, NameConflictError
from symbucket.io.arrays import as_array, float32, in_batch
from symbucket.io.batch import DataBatch
from symbucket.io.bucket_plan import BucketPlan
from symbucket.io.bucketed_iter import BucketedIter
from symbucket.io.buckets import order_samples
from symbucket.io.desc import DataDesc, normalize_descs

Named = dict[str, NDArray[Any]]


class KeyedIter(BucketedIter):
    """Batches of one bucket key each, from samples that come with their keys.

    For data that are no sentences: pictures of many sizes, pairs of a source and a target, trees,
    samples of several tasks. What the key means is the program's business; here it only says
    which samples can share a batch. Those of one key have arrays of the same names and shapes, so
    what is to be padded is padded already. An epoch yields the batches of all keys in random
    order, and samples share batches anew in each epoch.

    Args:
        keys: the bucket key of each sample; any hashable object but None.
        data: one entry for each sample: an array (or number), or a dict from names to arrays where
            a network has several inputs or their names depend on the key. A batch stacks them
            along a new axis 0: samples of shape (3, 5) give (batch_size, 3, 5), float32.
        label: likewise, or None.
        batch_size: samples of a batch; or a dict from key to that, or a :class:`BucketPlan`, which
            has one for each key.
        data_name: name of the data that come without one.
        label_name: name of the labels that come without one.
        shuffle: False keeps samples in the order given, key after key, in every epoch.
        seed: fixes the order of every epoch; None draws one that follows ``sb.random.seed`` and
            differs from iterator to iterator, then readable as ``seed``.
        last_batch: what becomes of a key's samples that fill no batch: ``'discard'`` leaves them
            out of the epoch, ``'pad'`` fills the batch up with samples of the same key (its
            ``pad`` counts them), ``'keep'`` makes a smaller batch, which is a shape more to compile
            for a module, ``'roll_over'`` keeps them for the next epoch, which begins with them.
        default_bucket_key: key of the network that has all parameters; by default the one with the
            largest samples, the first of several.
        provide_data: descriptions of a batch of the default key, where that key has no samples.
        provide_label: likewise of its labels.

    Attributes:
        buckets: the keys in the order in which they first came.
        num_data: number of samples.
        default_bucket_key: as given or chosen.
        batch_sizes: samples of a batch of each key.
        remainder: samples that are in no batch of this epoch because they fill none.
        short_buckets: key -> number of samples of keys that yield no batch.
        seed: the seed in use.
        epoch: 0 at first, one more with each reset.

    Raises:
        DataError: no samples, another number of keys than of samples or labels, a key that is None
            or not hashable, samples of one key that differ in names or shapes, values that are no
            numbers or integers that float32 cannot hold, or no key that yields a batch.
        NameConflictError: data and labels of a key carry one name.
        InvalidArgumentError: an option out of range, or a default key that nothing describes.
    """

    _last_batches = "discard", "pad", "keep", "roll_over"

    def __init__(
        self,
        keys: Iterable[Hashable],
        data: Iterable[Any],
        label: Iterable[Any] | None = None,
        batch_size: int | Mapping[Any, int] | BucketPlan = 1,
        *,
        data_name: str = "data",
        label_name: str = "softmax_label",
        shuffle: bool = True,
        seed: int | None = None,
        last_batch: str = "discard",
        default_bucket_key: Hashable = None,
        provide_data: Iterable[Any] | None = None,
        provide_label: Iterable[Any] | None = None,
    ) -> None:
        listed = _checked_keys(_listed(keys, "keys"))
        self._sizes = _sizes_by_key(batch_size, listed)
        size = max(self._sizes.values()) if self._sizes else batch_size
        super().__init__(size, seed=seed, shuffle=shuffle, last_batch=last_batch)  # type: ignore[arg-type]
        self.data_name, self.label_name = data_name, label_name
        samples = _samples_of(len(listed), data, label)
        self.num_data = len(listed)
        numbers: dict[Hashable, int] = {}
        assigned = np.array([numbers.setdefault(key, len(numbers)) for key in listed], np.int64)
        self._hold(list(numbers), assigned)
        members = order_samples(assigned, len(numbers), None)
        self._place = np.empty(self.num_data, np.int64)  # of a sample in its key's arrays
        for rows in members:
            self._place[rows] = np.arange(len(rows))
        names = {"data": data_name, "label": label_name}
        self._data, self._label = (
            [
                _stacked(what, key, samples[what], rows, names[what]) if what in samples else {}
                for key, rows in zip(self.buckets, members)
            ]
            for what in ("data", "label")
        )
        for key, inputs, labels in zip(self.buckets, self._data, self._label):
            _check_names(key, inputs, labels)
        self._describe_default(default_bucket_key, provide_data, provide_label)
        if not self._num_batches:
            raise DataError(
                f"KeyedIter: {self._no_batch_text()}. Use a batch_size of at most "
                f"{max(self._counts)}, fewer keys, or last_batch='pad'"
            )
        self._warn_of_short_buckets()
        self._tell_remainder()
        self.reset()

    def _bucket_names(self) -> None:
        return None  # samples come with their keys

    def _assigned_to(self, names: None) -> NDArray[np.int64]:
        return self._assigned

    def _hashed_data(self) -> tuple[Any, ...]:
        named = [pair for d in (*self._data, *self._label) for pair in d.items()]
        arrays = [self._assigned, *(array for _, array in named)]
        return arrays, self.buckets, [name for name, _ in named]

    def _batch_size(self, key: Hashable) -> int:
        return self._sizes.get(key, self.batch_size)

    def _describe_default(
        self, key: Hashable, data: Iterable[Any] | None, label: Iterable[Any] | None
    ) -> None:
        key = _checked_key(key, "default_bucket_key")
        if key is None:
            sizes = [sum(a[0].size for a in arrays.values()) for arrays in self._data]
            key = self.buckets[int(np.argmax(sizes))]
        held = key in self.buckets
        if held and (data is not None or label is not None):
            raise InvalidArgumentError(
                f"KeyedIter: provide_data and provide_label are for a default_bucket_key without "
                f"samples, but {key!r} has some, which describe it; leave them out"
            )
        if not held and data is None:
            raise InvalidArgumentError(
                f"KeyedIter: no sample has the default_bucket_key {key!r}; say what a batch of it "
                "looks like with provide_data (and provide_label), or choose one of the keys "
                f"{', '.join(map(repr, self.buckets[:10]))}"
            )
        self.default_bucket_key = key
        if held:
            bucket = self.buckets.index(key)
            size = self.batch_sizes[key]
            self.provide_data = _descs(self._data[bucket], size)
            self.provide_label = _descs(self._label[bucket], size)
        else:
            self.provide_data = normalize_descs(data or (), "provide_data")
            self.provide_label = normalize_descs(label or (), "provide_label")

    def _batch(self, bucket: int, offset: int) -> DataBatch:
        order = self._order[bucket]
        size = self.batch_sizes[self.buckets[bucket]]
        rows = order[offset : offset + size]
        pad = size - len(rows) if self.last_batch == "pad" else 0
        if pad:
            # From the start of the key's order, more than once where it has too few.
            rows = np.concatenate([rows, np.resize(order, pad)])
        places = self._place[rows]
        inputs, labels = self._data[bucket], self._label[bucket]
        return DataBatch(
            in_batch(array[places] for array in inputs.values()),
            in_batch(array[places] for array in labels.values()),
            pad,
            rows,
            self.buckets[bucket],
            _descs(inputs, len(rows)),
            _descs(labels, len(rows)),
        )


def _listed(source: Iterable[Any], what: str) -> list[Any]:
    if isinstance(source, (str, bytes, Mapping)) or not isinstance(source, Iterable):
        raise DataError(
            f"KeyedIter: {what} is a {type(source).__name__}; expected a list with one entry for "
            "each sample"
        )
    return list(source)


def _samples_of(
    count: int, data: Iterable[Any], label: Iterable[Any] | None
) -> dict[str, list[Any]]:
    """Return data and labels, if there are any, each a list with one entry for every key."""
    samples = {"data": _listed(data, "data")}
    if label is not None:
        samples["label"] = _listed(label, "label")
    for what, arrays in samples.items():
        if len(arrays) != count:
            raise DataError(
                f"KeyedIter: {what} has {len(arrays)} samples, but there are {count} keys; give "
                "one of each for every sample"
            )
    return samples


def _check_names(key: Hashable, inputs: Named, labels: Named) -> None:
    if not inputs:
        raise DataError(f"KeyedIter: samples of bucket key {key!r} hold no data array")
    if shared := inputs.keys() & labels.keys():
        raise NameConflictError(
            f"KeyedIter: data and label of bucket key {key!r} both have an array named "
            f"{min(shared)!r}; change data_name or label_name"
        )


def _checked_keys(keys: list[Any]) -> list[Hashable]:
    if not keys:
        raise DataError("KeyedIter: keys is empty; give at least one sample")
    checked = [_checked_key(key, f"keys[{i}]") for i, key in enumerate(keys)]
    if None in checked:
        raise DataError(
            f"KeyedIter: keys[{checked.index(None)}] is None, which stands for no bucket; use "
            "NDArrayIter for data without buckets"
        )
    return checked


def _sizes_by_key(
    batch_size: int | Mapping[Any, int] | BucketPlan, keys: list[Hashable]
) -> dict[Hashable, int]:
    """Return the batch size of each key if they have their own; nothing if all have one."""
    if isinstance(batch_size, BucketPlan):
        batch_size = dict(zip(batch_size.boundaries, batch_size.batch_sizes))
    if not isinstance(batch_size, Mapping):
        return {}
    sizes = {}
    for key in dict.fromkeys(keys):
        if key not in batch_size:
            raise InvalidArgumentError(
                f"KeyedIter: batch_size has no entry for the bucket key {key!r}; give one for "
                "every key that samples have"
            )
        sizes[key] = check_integer(batch_size[key], f"KeyedIter: batch_size[{key!r}]", 1)
    return sizes


def _checked_key(key: Any, what: str) -> Hashable:
    if isinstance(key, np.generic):  # of an array of keys
        key = key.item()
    try:
        hash(key)
    except TypeError:
        raise DataError(
            f"KeyedIter: {what} is {key!r}, which is not hashable; use an int, a string or a tuple "
            "of them"
        ) from None
    return key  # type: ignore[no-any-return]


def _stacked(
    what: str, key: Hashable, samples: Sequence[Any], rows: NDArray[np.int64], name: str
) -> Named:
    """The arrays of one key's samples by name, each (samples, ...) float32."""
    named = [s if isinstance(s, Mapping) else {name: s} for s in (samples[i] for i in rows)]
    for position, sample in zip(rows, named):
        if sample.keys() != named[0].keys():
            raise DataError(
                f"KeyedIter: {what}[{position}] has the arrays {_names(sample)}, but "
                f"{what}[{rows[0]}] of the same bucket key {key!r} has {_names(named[0])}; samples "
                "of one key need the same ones"
            )
    by_name = {}
    for name_ in named[0]:
        arrays = [
            as_array(f"KeyedIter: {what}[{position}], array {name_!r}", sample[name_])
            for position, sample in zip(rows, named)
        ]
        for position, array in zip(rows, arrays):
            if array.shape != arrays[0].shape:
                raise DataError(
                    f"KeyedIter: {what}[{position}], array {name_!r}, has shape {array.shape}, but "
                    f"{what}[{rows[0]}] of the same bucket key {key!r} has {arrays[0].shape}; pad "
                    "them to one shape, or give them keys of their own"
                )
        # Each by itself: integers that are stacked with floats would be rounded before the check.
        where = f"KeyedIter: {what} array {name_!r} of bucket key {key!r}"
        if len({array.dtype for array in arrays}) > 1:
            arrays = [float32(where, array) for array in arrays]
        by_name[name_] = float32(where, np.stack(arrays))
    return by_name


def _names(sample: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, sample)) or "none"


def _descs(arrays: Named, rows: int) -> list[DataDesc]:
    return [DataDesc(name, (rows, *array.shape[1:]), array.dtype) for name, array in arrays.items()]
