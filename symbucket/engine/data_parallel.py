"""Several contexts: every batch is split over executors, one a context, and put together again.

As in MXNet, rows go to contexts in their order, each computes outputs and gradients of its part,
and gradients are summed. What a network computes row by row is then the same as on one context.
What it computes over a batch is computed over each part: statistics of BatchNorm (the moving ones
become the mean of the contexts' own) and losses that are divided by a count
(``normalization="batch"`` or ``"valid"``, whose gradients are those of each part, summed).

On the CPU all contexts read the parameters in the same memory. On other devices there are copies,
which are written anew before each run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbucket.compiler import CompilerOptions
from symbucket.context import Context, cpu
from symbucket.engine import Executor
from symbucket.engine.executor import _Request
from symbucket.errors import DataError, InvalidArgumentError, StateError, UnsupportedError
from symbucket.io import DataDesc
from symbucket.metric import GraphMetric
from symbucket.runtime import NDArray, RowSparse
from symbucket.runtime.buffers import Pool
from symbucket.runtime.providers import provider_of
from symbucket.symbol import Symbol
from symbucket.types import Array, DType, Shape

Types = Mapping[str, tuple[Shape, DType]]


def contexts_of(context: Context | Sequence[Context] | None) -> list[Context]:
    """The contexts of a module as a list; the CPU where none is given."""
    found = [context] if isinstance(context, Context) else list(context or [cpu()])
    strange = [c for c in found if not isinstance(c, Context)]
    if strange:
        raise InvalidArgumentError(
            f"context has {strange[0]!r}; give symbucket.cpu(), symbucket.gpu(i), or a list of them"
        )
    return found


def one_context(context: Context | Sequence[Context] | None, who: str) -> Context:
    """The context of a class that does not take several."""
    found = contexts_of(context)
    if len(found) != 1:
        raise UnsupportedError(
            f"context={found}: {who} runs on one context; Module, BucketingModule and FeedForward "
            "take several"
        )
    return found[0]


class ContextGroup:
    """The contexts of a module and of all that share its parameters, with what lies on each."""

    def __init__(self, contexts: Sequence[Context], loads: Sequence[float] | None = None) -> None:
        self.contexts = list(contexts)
        self.loads = [1.0] * len(self.contexts) if loads is None else [float(v) for v in loads]
        if len(self.loads) != len(self.contexts) or not all(v > 0 for v in self.loads):
            raise InvalidArgumentError(
                f"work_load_list={loads!r} must hold a positive number for each of the "
                f"{len(self.contexts)} contexts"
            )
        self.pools = [Pool() for _ in self.contexts]
        self._arrays: dict[tuple[str, int, str], NDArray] = {}

    def __len__(self) -> int:
        return len(self.contexts)

    def array(self, kind: str, number: int, name: str, like: NDArray) -> NDArray:
        """The array of that kind and name on context ``number``; the same one for all keys."""
        key = kind, number, name
        found = self._arrays.get(key)
        if found is None or found.shape != like.shape or found.dtype != like.dtype:
            found = NDArray.zeros(like.shape, like.dtype, self.contexts[number])
            self._arrays[key] = found
        return found

    def reads(self, number: int, array: NDArray) -> bool:
        """Whether context ``number`` can use an array as it is; all CPU contexts are one memory."""
        context = self.contexts[number]
        return context == array.context or all(
            provider_of(c).host_memory for c in (context, array.context)
        )

    @property
    def at_once(self) -> bool:
        """Whether contexts run at the same time; those of the CPU take turns, on all cores."""
        return not all(provider_of(c).host_memory for c in self.contexts)

    def sizes(self, rows: int, name: str) -> list[int]:
        """How many rows each context takes: in proportion to its load, the last one the rest."""
        found = self._shares(rows)
        if min(found) < 1:
            raise DataError(
                f"{name}: a batch of {rows} rows cannot be split over {len(self)} contexts "
                f"({', '.join(map(str, self.contexts))}) with a row for each. Use larger batches "
                "(last_batch_handle='pad') or fewer contexts."
            )
        return found

    def batch_size(self, rows: int, limit: int) -> int:
        """The largest batch up to ``limit`` that cuts ``rows`` so that every batch can be split.

        The last batch has what is left. Where there is none such, ``limit``.
        """
        for size in range(limit, 0, -1):
            if all(not n or min(self._shares(n)) > 0 for n in (size, rows % size)):
                return size
        return limit

    def _shares(self, rows: int) -> list[int]:
        total = sum(self.loads)
        ends = [round(rows * sum(self.loads[: i + 1]) / total) for i in range(len(self))]
        return [end - start for start, end in zip([0, *ends], ends)]


def split_descs(
    descs: Sequence[DataDesc], devices: ContextGroup, name: str
) -> tuple[list[int], dict[str, int], list[list[DataDesc]]]:
    """Rows of each context, the batch axis of each array, and its descriptions on each context.

    An array whose layout has no N is given to every context as a whole, with axis -1.
    """
    axes = {d.name: DataDesc.get_batch_axis(d.layout) for d in descs}
    rows = {d.shape[axes[d.name]] for d in descs if 0 <= axes[d.name] < len(d.shape)}
    if len(rows) != 1:
        raise DataError(
            f"{name}: to split a batch over contexts its arrays must agree on the batch size; they "
            f"are {', '.join(f'{d.name} {d.shape} (batch axis {axes[d.name]})' for d in descs)}. "
            "Say with layout= of DataDesc which axis is N."
        )
    sizes = devices.sizes(rows.pop(), name)
    found = []
    for size in sizes:
        part = []
        for d in descs:
            axis = axes[d.name]
            shape = d.shape if axis < 0 else (*d.shape[:axis], size, *d.shape[axis + 1 :])
            part.append(DataDesc(d.name, shape, d.dtype, d.layout))
        found.append(part)
    return sizes, axes, found


@dataclass(frozen=True)
class Join:
    """How an array lies over the contexts: ``bounds`` along ``axis``.

    With ``steps`` above 1, the axis joins that many time steps with the rows of each.
    """

    axis: int
    bounds: tuple[tuple[int, int], ...]
    steps: int = 1

    def part(self, whole: Array, number: int) -> Array:
        """The part of one context."""
        if self.axis < 0:
            return whole
        start, end = self.bounds[number]
        before, after = whole.shape[: self.axis], whole.shape[self.axis + 1 :]
        split = whole.reshape(*before, self.steps, -1, *after)
        cut = split[(slice(None),) * (self.axis + 1) + (slice(start, end),)]
        return cut.reshape(*before, -1, *after)

    def whole(self, parts: Sequence[Array]) -> Array:
        """The array that the parts make up."""
        if self.axis < 0:
            return parts[0]
        before, after = parts[0].shape[: self.axis], parts[0].shape[self.axis + 1 :]
        split = [p.reshape(*before, self.steps, -1, *after) for p in parts]
        joined: Array = np.concatenate(split, axis=self.axis + 1)
        return joined.reshape(*before, -1, *after)


def find_join(
    what: str, whole: Shape, parts: Sequence[Shape], sizes: Sequence[int], time_first: bool
) -> Join:
    """Find the batch in an array from its shapes for the whole batch and for its parts.

    ``time_first``: where an axis joins time and batch, the rows of one step lie together.
    """
    rows = sum(sizes)
    axes = [i for i, d in enumerate(whole) if any(p[i : i + 1] != (d,) for p in parts)]
    fits = len(axes) == 1 and all(
        p[axes[0]] * rows == whole[axes[0]] * size for p, size in zip(parts, sizes)
    )
    if not fits or any(len(p) != len(whole) for p in parts):
        raise UnsupportedError(
            f"{what} has shape {whole} for {rows} rows and {', '.join(map(str, parts))} for the "
            "parts of several contexts. One axis must grow with the batch: give one number for "
            "each row in place of a sum or mean over the batch, or use one context."
        )
    (axis,) = axes
    each = whole[axis] // rows
    steps = each if time_first else 1
    ends = np.cumsum([p[axis] // steps for p in parts]).tolist()
    return Join(axis, tuple(zip([0, *ends], ends)), steps)


class ExecutorGroup(Executor):
    """An executor whose batch is computed in parts by executors of its own, one a context.

    What stands in ``arg_dict`` is spread over the contexts before each run. Gradients are there
    after ``backward``.

    Args:
        devices: the contexts. args, grads, grad_req, aux: as for ``Executor``, for whole batches.
        shared: which of the arguments are parameters; all others are split.
        batch: rows of each context, batch axes by name, and (shape, dtype) of every argument on
            each context.
        time_first: where an axis of an output joins time and batch, the rows of one step lie
            together.
    """

    def __init__(
        self,
        symbol: Symbol,
        devices: ContextGroup,
        args: Mapping[str, NDArray],
        grads: Mapping[str, NDArray],
        grad_req: Mapping[str, str],
        aux: Mapping[str, NDArray],
        shared: Collection[str],
        batch: tuple[Sequence[int], Mapping[str, int], Sequence[Types]],
        time_first: bool,
        name: str,
        options: CompilerOptions,
        pool: Pool,
    ) -> None:
        context = devices.contexts[0]
        super().__init__(symbol, context, args, grads, grad_req, aux, name, options, pool)
        self._devices = devices
        sizes, axes, parts = batch
        ends = np.cumsum(sizes).tolist()
        bounds = tuple(zip([0, *ends], ends))
        self._splits = {
            key: Join(axes[key], bounds)
            if key in axes
            else find_join(
                f"{name}: the input {key!r}",
                array.shape,
                [p[key][0] for p in parts],
                sizes,
                time_first,
            )
            for key, array in self.arg_dict.items()
            if key not in shared
        }
        self._joins = self._output_joins(parts, sizes, time_first)
        self.parts = [self._part(i, p, pool if i == 0 else None) for i, p in enumerate(parts)]
        """The executors, in the order of the contexts."""
        self._merged: list[NDArray] | None = None
        self._warm: set[tuple[str, _Request]] = set()

    def _output_joins(
        self, parts: Sequence[Types], sizes: Sequence[int], time_first: bool
    ) -> list[Join]:
        def shapes(types: Mapping[str, Shape]) -> list[Shape]:
            return [tuple(s) for s in self.symbol.infer_shape(**types)[1]]

        whole = shapes({n: a.shape for n, a in self.arg_dict.items()})
        each = [shapes({n: shape for n, (shape, _) in p.items()}) for p in parts]
        return [
            find_join(f"{self.name}: the output {n!r}", w, [e[i] for e in each], sizes, time_first)
            for i, (n, w) in enumerate(zip(self.symbol.list_outputs(), whole))
        ]

    def _part(self, number: int, types: Types, pool: Pool | None) -> Executor:
        devices = self._devices
        context = devices.contexts[number]
        args, grads = {}, {}
        for key, (shape, dtype) in types.items():
            whole = self.arg_dict[key]
            if key in self._splits:
                args[key] = NDArray.zeros(shape, dtype, context)
            else:
                here = devices.reads(number, whole)
                args[key] = whole if here else devices.array("arg", number, key, whole)
            if self.grad_req[key] == "null":
                continue
            if key in self._splits:
                grads[key] = NDArray.zeros(shape, dtype, context)
            else:
                grads[key] = devices.array("grad", number, key, whole)
        aux = {n: devices.array("aux", number, n, a) for n, a in self.aux_dict.items()}
        written = {n: r if r == "null" else "write" for n, r in self.grad_req.items()}
        part = Executor(
            self.symbol,
            context,
            args,
            grads,
            written,
            aux,
            f"{self.name} part {number} {context}",  # also gives its Dropout masks of its own
            self.options,
            pool or devices.pools[number],
        )
        part.builds = self.builds
        return part

    # Running ---------------------------------------------------------------------------------

    def _spread(self) -> None:
        """Bring inputs, parameters and states to all contexts."""
        wholes = {n: self.arg_dict[n].view() for n in self._splits}
        for i, part in enumerate(self.parts):
            for name, split in self._splits.items():
                part.arg_dict[name][...] = split.part(wholes[name], i)
            part._checked.update(self._splits)  # the whole was checked
            for name, array in part.arg_dict.items():
                if name not in self._splits and array is not self.arg_dict[name]:
                    array[...] = self.arg_dict[name]
            for name, state in part.aux_dict.items():
                state[...] = self.aux_dict[name]

    def _run(self, is_train: bool, request: _Request) -> None:
        request = replace(request, row_sparse=frozenset())
        self._check_bounds()
        self._spread()
        self._merged = None
        self._each(
            f"run {is_train}", request, [lambda p=p: p._run(is_train, request) for p in self.parts]
        )
        if is_train:
            for name, state in self.aux_dict.items():
                state[...] = sum(p.aux_dict[name].view() for p in self.parts) / len(self.parts)
        self._ran = "training" if is_train else "inference"
        self._request = request

    def _each(self, what: str, request: _Request, calls: Sequence[Any]) -> None:
        """Call all, at the same time where that helps and once models and sessions are made."""
        if (what, request) not in self._warm or not self._devices.at_once:
            for call in calls:
                call()
            self._warm.add((what, request))
            return
        with ThreadPoolExecutor(len(calls)) as threads:
            for future in [threads.submit(call) for call in calls]:
                future.result()

    def measure(
        self, is_train: bool, metrics: Sequence[GraphMetric], row_sparse: Iterable[str] = ()
    ) -> dict[str, float]:
        """The sums of all contexts together; gradients always come as whole arrays."""
        self._run(is_train, _Request(tuple(metrics)))
        names = [name for m in metrics for name in (m.total_name, m.count_name)]
        return {n: sum(float(p._buffers[n].asscalar()) for p in self.parts) for n in names}

    @property
    def outputs(self) -> list[NDArray]:
        """The outputs of all contexts, put together along the batch; new arrays for each run."""
        if not self._ran:
            raise StateError(f"{self.name}: no outputs yet; call forward first")
        if self._merged is None:
            each = [[o.view() for o in part.outputs] for part in self.parts]
            self._merged = [
                NDArray.over(np.ascontiguousarray(join.whole(list(parts))))
                for join, parts in zip(self._joins, zip(*each))
            ]
        return self._merged

    @property
    def row_gradients(self) -> dict[str, RowSparse]:
        """None: gradients of several contexts come as whole arrays."""
        return {}

    def backward(self, out_grads: Any = None) -> None:
        """Sum the gradients of all contexts into ``grad_dict``.

        ``out_grads`` are for the whole batch, as for ``Executor.backward``.
        """
        if self._ran != "training":
            raise StateError(f"{self.name}: backward needs forward(is_train=True) before it")
        heads = self._heads(out_grads)
        self._each(
            "backward",
            self._request,
            [lambda p=p, h=h: p.backward(h) for p, h in zip(self.parts, heads)],
        )
        for name, grad in self.grad_dict.items():
            found = [p.grad_dict[name].view() for p in self.parts]
            split = self._splits.get(name)
            new = (
                sum(found[1:], found[0]) if split is None or split.axis < 0 else split.whole(found)
            )
            if self.grad_req[name] == "add":
                new = grad.view() + new
            grad[...] = new

    def _heads(self, out_grads: Any) -> list[Any]:
        if out_grads is None:
            return [None] * len(self.parts)
        given = list(out_grads) if isinstance(out_grads, (list, tuple)) else [out_grads]
        if len(given) != len(self._joins):
            raise InvalidArgumentError(
                f"{self.name}: {len(given)} head gradients for {len(self._joins)} outputs; give "
                "None for outputs that are losses"
            )
        for head, output in zip(given, self.outputs):
            if head is not None and np.shape(head) != output.shape:
                raise InvalidArgumentError(
                    f"{self.name}: a head gradient has shape {np.shape(head)}, the output "
                    f"{output.shape}"
                )
        return [
            [None if h is None else j.part(np.asarray(h), i) for h, j in zip(given, self._joins)]
            for i in range(len(self.parts))
        ]

    @property
    def nbytes(self) -> int:
        """As of ``Executor``, over all contexts, with the parts' own arrays."""
        arrays = [part.arg_dict[n] for part in self.parts for n in self._splits]
        return sum(part.nbytes for part in self.parts) + sum(a.nbytes for a in arrays)


def normalized_losses(symbol: Symbol) -> list[str]:
    """Names of losses whose gradient is divided by a count over the batch."""
    return [
        node.name
        for node in symbol.nodes()
        if node.op is not None and getattr(node.op, "normalization", "null") in ("batch", "valid")
    ]
