"""Data parallelism: every batch is split over executors, one a context, and joined again.

As in MXNet, rows go to contexts in their order, each computes outputs and gradients of its part,
and gradients are summed. What a network computes row by row is then the same as on one context.
What it computes over a batch is computed over each part: statistics of BatchNorm (the moving ones
become the mean of those of the contexts) and losses that are divided by a count
(``normalization="batch"`` or ``"valid"``, whose gradients are those of each part, summed).

On the CPU all contexts read the parameters in the same memory. On other devices there are copies,
which are written before each run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from symbucket.compiler import CompilerOptions
from symbucket.engine.batch_split import BatchSplit, Join, find_join
from symbucket.engine.bound_arrays import BoundArrays, ExecutorArrays
from symbucket.engine.contexts import ContextGroup
from symbucket.engine.make_executor import ExecutorOnContext, make_executor
from symbucket.errors import InvalidArgumentError, StateError, UnsupportedError
from symbucket.metric import GraphMetric
from symbucket.runtime import NDArray, RowSparse
from symbucket.runtime.buffers import Pool
from symbucket.symbol import Symbol
from symbucket.symbol.brief import brief
from symbucket.types import DType, Shape

Types = Mapping[str, tuple[Shape, DType]]


class ExecutorGroup(BoundArrays):
    """Executors of one network on several contexts, each with a part of the batch.

    What is in ``arg_dict`` is spread over the contexts before each run. Gradients are there after
    ``backward``.

    Args:
        symbol: the network.
        contexts: where it runs.
        arrays: for whole batches.
        split: how a batch is split. Arguments that it does not name are parameters, or states.
        parameters: the arguments that are shared by all contexts.
        types: (shape, dtype) of every argument on each context.
        name, options, pool: as for ``Executor``; the pool is that of the first context.
    """

    def __init__(
        self,
        symbol: Symbol,
        contexts: ContextGroup,
        arrays: ExecutorArrays,
        split: BatchSplit,
        parameters: Iterable[str],
        types: Sequence[Types],
        name: str,
        options: CompilerOptions,
        pool: Pool,
    ) -> None:
        for node in brief(symbol).nodes:
            if node.op is not None and node.op.whole_batch:
                raise UnsupportedError(
                    f"{name}: {node.name} ({node.op.op_name}) computes over the whole batch, but "
                    f"each of {len(contexts.contexts)} contexts has a part of it. Use one context, "
                    "or BatchNorm, whose statistics are those of each part"
                )
        super().__init__(
            symbol,
            contexts.contexts[0],
            arrays.args,
            arrays.grads,
            arrays.requests,
            arrays.aux,
            name,
            options,
        )
        self._contexts = contexts
        ends = np.cumsum(split.sizes).tolist()
        self.row_bounds = bounds = tuple(zip([0, *ends], ends))
        """(First row, row after the last one) of each context."""
        shared = set(parameters)
        self._splits = {
            key: Join(split.axes[key], bounds)
            if key in split.axes
            else find_join(
                f"{name}: the input {key!r}",
                array.shape,
                [part[key][0] for part in types],
                split.sizes,
                split.time_first,
            )
            for key, array in self.arg_dict.items()
            if key not in shared
        }
        self._joins = self._output_joins(types, split)
        self.parts = [
            self._part(i, part, pool if i == 0 else contexts.pools[i])
            for i, part in enumerate(types)
        ]
        """The executors, in the order of the contexts."""
        self._ran = False
        self._kind: Hashable = None  # of the last run
        self._joined: list[NDArray] | None = None
        self._warm: set[Hashable] = set()  # kinds of runs whose programs are compiled and bound

    def _output_joins(self, types: Sequence[Types], split: BatchSplit) -> list[Join]:
        def output_shapes(arguments: Mapping[str, Shape]) -> list[Shape]:
            return [tuple(s) for s in self.symbol.complete_shapes(**arguments)[1]]

        whole = output_shapes({n: a.shape for n, a in self.arg_dict.items()})
        parts = [output_shapes({n: shape for n, (shape, _) in part.items()}) for part in types]
        return [
            find_join(
                f"{self.name}: the output {name!r}",
                shape,
                [part[i] for part in parts],
                split.sizes,
                split.time_first,
            )
            for i, (name, shape) in enumerate(zip(self.symbol.list_outputs(), whole))
        ]

    def _part(self, number: int, types: Types, pool: Pool) -> ExecutorOnContext:
        contexts = self._contexts
        context = contexts.contexts[number]
        args, grads = {}, {}
        for key, (shape, dtype) in types.items():
            whole = self.arg_dict[key]
            if key in self._splits:
                args[key] = NDArray.zeros(shape, dtype, context)
            elif contexts.reads(number, whole):
                args[key] = whole
            else:
                args[key] = contexts.array("arg", number, key, whole)
            if self.grad_req[key] == "null":
                continue
            if key in self._splits:
                grads[key] = NDArray.zeros(shape, dtype, context)
            else:
                grads[key] = contexts.array("grad", number, key, whole)
        aux = {n: contexts.array("aux", number, n, a) for n, a in self.aux_dict.items()}
        return make_executor(
            self.symbol,
            context,
            args,
            grads,
            {n: r if r == "null" else "write" for n, r in self.grad_req.items()},
            aux,
            f"{self.name} part {number} {context}",  # with its own Dropout masks, by its name
            self.options,
            pool,
            checks_inputs=False,
            noise_clock=contexts.clocks[number],
        )

    @property
    def builds(self) -> Counter[str]:
        return sum((part.builds for part in self.parts), Counter())

    # Running ---------------------------------------------------------------------------------

    def _spread(self) -> None:
        """Bring inputs, parameters and states to all contexts."""
        wholes = {n: self.arg_dict[n].view() for n in self._splits}
        for i, part in enumerate(self.parts):
            for name, split in self._splits.items():
                part.arg_dict[name][...] = split.part(wholes[name], i)
            for name, array in part.arg_dict.items():
                if name not in self._splits and array is not self.arg_dict[name]:
                    array[...] = self.arg_dict[name]
            for name, state in part.aux_dict.items():
                state[...] = self.aux_dict[name]

    def _run(
        self, is_train: bool, kind: Hashable, run_part: Callable[[ExecutorOnContext], Any]
    ) -> list[Any]:
        """Run all parts; returns what ``run_part`` returns for each."""
        self._check_bounds(is_train)
        self._ran, self._joined = False, None
        self._spread()
        for part in self.parts:
            part.watchers = self.watchers
        results = self._each(kind, [partial(run_part, part) for part in self.parts])
        self._ran, self._kind, self._joined = True, kind, None
        return results

    def _each(self, kind: Hashable, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """Call all, at the same time if that helps and once programs are compiled and bound."""
        if kind not in self._warm or not self._contexts.at_once:
            results = [call() for call in calls]
            self._warm.add(kind)
            return results
        with ThreadPoolExecutor(len(calls)) as threads:
            futures = [threads.submit(call) for call in calls]
            return [future.result() for future in futures]

    def forward(self, is_train: bool = False, **data: Any) -> list[NDArray]:
        if data:
            self.feed(data, is_train)
        self._run(is_train, ("forward", is_train), lambda part: part.forward(is_train))
        return self.outputs

    def measure(
        self, is_train: bool, metrics: Sequence[GraphMetric], row_sparse: Iterable[str] = ()
    ) -> dict[str, float]:
        """Return the sums of all contexts together; gradients always come as whole arrays."""
        kind = "measure", is_train, tuple(metrics)
        sums = self._run(is_train, kind, lambda part: part.measure(is_train, metrics))
        return {name: sum(values[name] for values in sums) for name in sums[0]}

    @property
    def outputs(self) -> list[NDArray]:
        """The outputs of all contexts, joined along the batch; new arrays for each run."""
        if not self._ran:
            raise StateError(f"{self.name}: no outputs yet; call forward first")
        if self._joined is None:
            by_part = [[o.view() for o in part.outputs] for part in self.parts]
            self._joined = [
                NDArray.over(np.ascontiguousarray(join.whole(list(arrays))))
                for join, arrays in zip(self._joins, zip(*by_part))
            ]
        return self._joined

    @property
    def outputs_by_context(self) -> list[list[NDArray]]:
        if not self._ran:
            raise StateError(f"{self.name}: no outputs yet; call forward first")
        return [list(parts) for parts in zip(*(part.outputs for part in self.parts))]

    def parts_of_batch(self) -> list[tuple[int, int, list[NDArray]]]:
        """Return (first row, row after the last one, outputs) of each context's part."""
        outputs = zip(*self.outputs_by_context)
        return [(*bounds, list(parts)) for bounds, parts in zip(self.row_bounds, outputs)]

    @property
    def row_gradients(self) -> dict[str, RowSparse]:
        """Empty: gradients of several contexts come as whole arrays."""
        return {}

    def backward(self, out_grads: Any = None, is_train: bool = True) -> None:
        """Sum the gradients of all contexts into ``grad_dict``; states become the mean of theirs.

        ``out_grads`` are for the whole batch, as for ``Executor.backward``.
        """
        if not self._ran:
            self.forward(is_train=True)
        heads = self._part_heads(out_grads)
        kind = "backward", self._kind
        self._each(kind, [partial(p.backward, h) for p, h in zip(self.parts, heads)])
        for name, grad in self.grads.items():
            parts = [p.grads[name].view() for p in self.parts]
            split = self._splits.get(name)
            whole = (
                sum(parts[1:], parts[0]) if split is None or split.axis < 0 else split.whole(parts)
            )
            if self.grad_req[name] == "add":
                whole = grad.view() + whole
            grad[...] = whole
        for name, state in self.aux_dict.items():
            state[...] = sum(p.aux_dict[name].view() for p in self.parts) / len(self.parts)

    def first_failure(self) -> str | None:
        """As of ``Executor``; the first context that has one."""
        self._spread()
        failures = (part.first_failure() for part in self.parts)
        return next((failure for failure in failures if failure), None)

    def _part_heads(self, out_grads: Any) -> list[Any]:
        """Return the head gradients of each part."""
        if out_grads is None:
            return [None] * len(self.parts)
        heads = self._head_list(out_grads)
        for head, output in zip(heads, self.outputs):
            if head is not None and np.shape(head) != output.shape:
                raise InvalidArgumentError(
                    f"{self.name}: a head gradient has shape {np.shape(head)}, the output "
                    f"{output.shape}"
                )
        return [
            [None if h is None else j.part(np.asarray(h), i) for h, j in zip(heads, self._joins)]
            for i in range(len(self.parts))
        ]

    @property
    def nbytes(self) -> int:
        """As of ``Executor``, over all contexts, with the inputs of each."""
        arrays = [part.arg_dict[n] for part in self.parts for n in self._splits]
        return sum(part.nbytes for part in self.parts) + sum(a.nbytes for a in arrays)


def normalized_losses(symbol: Symbol) -> list[str]:
    """Return the names of losses whose gradient is divided by a count over the batch."""
    return [
        node.name
        for node in symbol.nodes()
        if node.op is not None and getattr(node.op, "normalization", "null") in ("batch", "valid")
    ]
