"""The rows of a batch in the outputs of a network: without those that fill it up, by context.

Where the batch lies in an output, alone in some axis or in one with time, follows from the shapes
that are inferred for fewer rows. If they cannot be, as for a network with a fixed batch size, it
follows from the shape of the output (``Filling.cut``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from symbucket.context import cpu
from symbucket.engine.batch_split import Join, find_join
from symbucket.engine.bound_network import AnyExecutor
from symbucket.engine.data_parallel import ExecutorGroup
from symbucket.engine.network_interface import BatchShapes, Descs, NetworkInterface, Signature
from symbucket.errors import SymbucketError, UnsupportedError
from symbucket.module.filling import Filling
from symbucket.runtime import NDArray


class OutputRows:
    """Finds the rows of batches in the outputs of ``network``; what it found once, it keeps."""

    def __init__(self, network: NetworkInterface) -> None:
        self.network = network
        self._joins: dict[tuple[Signature, Filling], list[Join | None] | None] = {}

    def without_filling(
        self, shapes: BatchShapes, filling: Filling | None, outputs: Sequence[NDArray]
    ) -> list[NDArray]:
        """Return the outputs of a batch of ``shapes`` without the rows that fill it up."""
        if filling is None:
            return list(outputs)
        key = shapes.signature, filling
        if key not in self._joins:
            self._joins[key] = self._find(shapes, filling)
        joins = self._joins[key]
        if joins is None:
            return [NDArray.of(filling.cut(o.view()), cpu()) for o in outputs]
        return [
            o if join is None else NDArray.of(join.part(o.view(), 0), cpu())
            for join, o in zip(joins, outputs)
        ]

    def _find(self, shapes: BatchShapes, filling: Filling) -> list[Join | None] | None:
        """Return how each output splits into kept and other rows; None for one without rows."""
        sizes = filling.rows - filling.count, filling.count
        if not all(sizes):
            return None
        try:
            whole, *parts = (
                dict(self.network.output_shapes(with_rows(shapes, rows)))
                for rows in (filling.rows, *sizes)
            )
        except SymbucketError:
            return None
        joins: list[Join | None] = []
        for name, shape in whole.items():
            in_parts = [part[name] for part in parts]
            if all(part == shape for part in in_parts):
                joins.append(None)
                continue
            try:
                joins.append(find_join(name, shape, in_parts, sizes, filling.steps > 0))
            except UnsupportedError:
                return None
        return joins

    def by_context(
        self,
        executor: AnyExecutor,
        shapes: BatchShapes,
        labels: Mapping[str, NDArray],
        filling: Filling | None,
    ) -> Iterator[tuple[dict[str, NDArray], list[NDArray]]]:
        """Yield the labels and outputs of the last run of each context that has rows of use."""
        rows = _rows(shapes.data)
        splits = isinstance(executor, ExecutorGroup) and all(
            _has_rows(label, shapes.labels, name, rows) for name, label in labels.items()
        )
        if not splits:
            cut = (
                labels if filling is None else {n: filling.cut_label(a) for n, a in labels.items()}
            )
            yield dict(cut), self.without_filling(shapes, filling, executor.outputs)
            return
        assert isinstance(executor, ExecutorGroup)
        for start, end, outputs in executor.parts_of_batch():
            part, size = None, end - start
            unused = 0 if filling is None else min(end - rows + filling.count, size)
            if unused == size:
                continue
            if filling is not None and unused > 0:
                part = Filling(size, unused, filling.steps)
            own = {}
            for name, label in labels.items():
                axis = _axis(shapes.labels, name)
                of_part = label if axis < 0 else _take(label, axis, start, end)
                own[name] = of_part if part is None else part.cut(of_part)
            if part is not None:
                outputs = self.without_filling(with_rows(shapes, size), part, outputs)
            yield own, outputs


def with_rows(shapes: BatchShapes, rows: int) -> BatchShapes:
    """Return descriptions of a batch of so many rows."""

    def resized(descs: Descs) -> Descs:
        return [
            d.with_shape((*d.shape[: d.batch_axis], rows, *d.shape[d.batch_axis + 1 :]))
            if 0 <= d.batch_axis < len(d.shape)
            else d
            for d in descs
        ]

    return BatchShapes(resized(shapes.data), resized(shapes.labels))


def _rows(data: Descs) -> int:
    axis = data[0].batch_axis
    return int(data[0].shape[axis]) if 0 <= axis < len(data[0].shape) else 0


def _axis(labels: Descs, name: str) -> int:
    """Return the batch axis of a label; the first one of a label that is not described."""
    return next((d.batch_axis for d in labels if d.name == name), 0)


def _has_rows(label: NDArray, labels: Descs, name: str, rows: int) -> bool:
    axis = _axis(labels, name)
    return axis < 0 or (axis < len(label.shape) and label.shape[axis] == rows)


def _take(array: NDArray, axis: int, start: int, end: int) -> NDArray:
    return NDArray.of(array.view()[(slice(None),) * axis + (slice(start, end),)], cpu())
