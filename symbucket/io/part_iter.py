"""One worker's part of every batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbucket.checks import check_part
from symbucket.errors import DataError
from symbucket.io.batch import DataBatch
from symbucket.io.desc import DataDesc
from symbucket.io.iterator import DataIter
from symbucket.io.state import State, restores
from symbucket.io.whole_batch_iter import WholeBatchIter


class PartIter(WholeBatchIter):
    """The rows of one worker of each batch of another iterator.

    All workers run the same iterator with one seed, so they are in the same bucket at every step
    without a message, and together they train on its batches: worker ``i`` of ``n`` takes the
    ``i``-th n-th of the rows.

    Args:
        data_iter: the iterator of the joint batches. Its ``default_bucket_key`` becomes that of
            this one.
        num_parts: workers, as ``kv.num_workers``.
        part_index: this worker, as ``kv.rank``.

    Raises:
        DataError: ``data_iter`` is no DataIter, or a batch cannot be divided among the workers.
        InvalidArgumentError: ``part_index`` is no number of a worker.
    """

    def __init__(self, data_iter: DataIter, num_parts: int, part_index: int) -> None:
        if not isinstance(data_iter, DataIter):
            raise DataError(
                f"PartIter: data_iter is {data_iter!r}; expected a DataIter, as NDArrayIter or "
                "BucketSentenceIter"
            )
        self.num_parts, self.part_index = check_part(num_parts, part_index)
        super().__init__(data_iter.batch_size // self.num_parts)
        self.data_iter = data_iter
        self.provide_data = self._part_descs(data_iter.provide_data)
        self.provide_label = self._part_descs(data_iter.provide_label)
        self.default_bucket_key = data_iter.default_bucket_key
        sizes = getattr(data_iter, "batch_sizes", None)
        if isinstance(sizes, dict):
            self.batch_sizes = {key: size // self.num_parts for key, size in sizes.items()}

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.data_iter)  # type: ignore[arg-type]

    def reset(self) -> None:
        """Begin the next epoch."""
        self._current = None
        self.data_iter.reset()

    def state(self) -> State:
        """Return the state of ``data_iter``."""
        return {"iterator": type(self).__name__, "inner": self.data_iter.state()}

    @restores
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go where ``state()`` was, see ``data_iter``."""
        self.data_iter.restore(state["inner"])
        self._current = None

    def _following(self) -> DataBatch | None:
        try:
            joint = DataBatch.of(self.data_iter.next())
        except StopIteration:
            return None
        data_descs = joint.provide_data or self.data_iter.provide_data
        label_descs = joint.provide_label or self.data_iter.provide_label
        rows = data_descs[0].shape[data_descs[0].batch_axis]
        size = rows // self.num_parts
        start = self.part_index * size
        part = slice(start, start + size)
        pad = joint.pad
        if pad:
            pad = min(size, max(0, start + size - (rows - pad)))
        return DataBatch(
            [_rows(a, d, part) for a, d in zip(joint.data, data_descs)],
            [_rows(a, d, part) for a, d in zip(joint.label or (), label_descs)],
            pad,
            None if joint.index is None else joint.index[part],
            joint.bucket_key,
            self._part_descs(data_descs),
            self._part_descs(label_descs),
        )

    def _part_descs(self, descs: list[DataDesc]) -> list[DataDesc]:
        return [self._part_desc(desc) for desc in descs]

    def _part_desc(self, desc: DataDesc) -> DataDesc:
        shape, axis = list(desc.shape), desc.batch_axis
        if axis < 0 or shape[axis] % self.num_parts:
            raise DataError(
                f"PartIter: {desc.name!r} of shape {desc.shape} cannot be divided among "
                f"{self.num_parts} workers; give the iterator a batch_size that is a multiple"
            )
        shape[axis] //= self.num_parts
        return desc.with_shape(shape)


def _rows(array: Any, desc: DataDesc, part: slice) -> Any:
    return array[(slice(None),) * desc.batch_axis + (part,)]
