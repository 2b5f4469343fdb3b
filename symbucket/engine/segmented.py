"""``SegmentedExecutor``: a network with operators in Python, run segment by segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from symbucket.compiler import CompilerOptions
from symbucket.context import Context
from symbucket.engine.bound_arrays import BoundArrays
from symbucket.engine.cut import PythonCall, Segment, Step, cut
from symbucket.engine.executor import Executor
from symbucket.engine.noise import NoiseClock, lone_clock
from symbucket.errors import (
    CustomOperatorError,
    InvalidArgumentError,
    ShapeError,
    SymbucketError,
    UnsupportedError,
)
from symbucket.metric import GraphMetric
from symbucket.ops.custom import Custom
from symbucket.runtime import RowSparse
from symbucket.runtime.buffers import Pool
from symbucket.runtime.ndarray import NDArray
from symbucket.symbol.infer import infer_shapes, infer_types
from symbucket.symbol.node import Entry
from symbucket.symbol.symbol import Symbol, entry_name


class SegmentedExecutor(BoundArrays):
    """Runs a symbol that is cut at its operators in Python; arguments are those of ``Executor``.

    Each segment has an executor. Its outputs are the arrays that later segments and operators
    read, so nothing is copied at a cut. Gradients go back the same way; values that several steps
    read have the sum of theirs.
    """

    def __init__(
        self,
        symbol: Symbol,
        context: Context,
        args: Mapping[str, NDArray],
        grads: Mapping[str, NDArray],
        grad_req: Mapping[str, str],
        aux: Mapping[str, NDArray],
        name: str = "executor",
        options: CompilerOptions | None = None,
        pool: Pool | None = None,
        checks_inputs: bool = True,
        noise_clock: NoiseClock | None = None,
    ) -> None:
        super().__init__(symbol, context, args, grads, grad_req, aux, name, options)
        self._checks_inputs = checks_inputs
        self._noise_clock = noise_clock or lone_clock(symbol)
        self._steps = cut(symbol)
        self._readers: Counter[Entry] = Counter(e for s in self._steps for e in _reads(s))
        self._values: dict[Entry, NDArray] = {
            (node, 0): self.arg_dict[node.name]
            for node in symbol.nodes()
            if node.op is None and node.name in self.arg_dict
        }
        self._slopes: dict[Entry, NDArray] = {
            (node, 0): self.grads[node.name]
            for node in symbol.nodes()
            if node.op is None and node.name in self.grads
        }
        shapes = infer_shapes(symbol.nodes(), {n: shape for n, (shape, _) in self.types.items()})
        types = infer_types(symbol.nodes(), {n: dtype for n, (_, dtype) in self.types.items()})
        self._executors: dict[int, Executor] = {}
        self._calls: dict[int, _Call] = {}
        for i, step in enumerate(self._steps):
            sloped = any(entry in self._slopes for entry in _reads(step))
            if isinstance(step, Segment):
                executor = self._segment_executor(i, step)
                self._executors[i] = executor
                self._values |= dict(zip(step.outputs, executor.outputs))
                outputs: Sequence[Entry] = step.outputs
            else:
                outputs = [(step.node, k) for k in range(step.node.num_outputs)]
                for entry in outputs:
                    shape = shapes.shape_of(entry) or ()
                    self._values[entry] = NDArray.zeros(shape, types[entry], context)
                self._calls[i] = _Call(step, self._values, self.aux_dict, context)
            if sloped:
                for entry in outputs:
                    value = self._values[entry]
                    if value.dtype.kind == "f":
                        self._slopes[entry] = NDArray.zeros(value.shape, value.dtype, context)
        self._ran = self._trained = False

    def _segment_executor(self, number: int, step: Segment) -> Executor:
        names = step.symbol.list_arguments()
        return Executor(
            step.symbol,
            self.context,
            {n: self._values[step.values[n]] for n in names},
            {n: self._slopes[step.values[n]] for n in names if step.values[n] in self._slopes},
            {n: self._request(step.values[n]) for n in names},
            {n: self.aux_dict[n] for n in step.symbol.list_auxiliary_states()},
            f"{self.name} segment {number}",
            self.options,
            checks_inputs=False,
        )

    def _request(self, entry: Entry) -> str:
        """Return how a step writes the gradient of a value that it reads."""
        if entry not in self._slopes:
            return "null"
        node, _ = entry
        asked = self.grad_req[node.name] if node.op is None else "write"
        return "add" if self._readers[entry] > 1 else asked

    @property
    def outputs(self) -> list[NDArray]:
        return [self._values[head] for head in self.symbol.heads]

    @property
    def outputs_by_context(self) -> list[list[NDArray]]:
        return [[output] for output in self.outputs]

    def forward(self, is_train: bool = False, **data: Any) -> list[NDArray]:
        if data:
            self.feed(data, is_train)
        if self._checks_inputs:
            self._check_bounds(is_train)
        self._ran = self._trained = False
        key = self._noise_clock.next_key(self.name, is_train)
        watchers = [watcher for watcher in self.watchers if watcher.activated]
        for i, step in enumerate(self._steps):
            if i in self._executors:
                executor = self._executors[i]
                executor.watchers = watchers
                executor.run(is_train, (*key, i))
                executor.tell_watchers(is_train)
                continue
            self._calls[i].forward(is_train)
            assert isinstance(step, PythonCall)
            for k in range(step.node.num_outputs):
                name = entry_name((step.node, k))
                for watcher in watchers:
                    if watcher.wants(name):
                        watcher.see(name, self._values[step.node, k])
        self._noise_clock.tick(is_train)
        self._ran, self._trained = True, is_train
        return self.outputs

    def backward(self, out_grads: Any = None, is_train: bool = True) -> None:
        if not self._ran:
            self.forward(is_train=True)
        head_of: dict[Entry, np.ndarray[Any, Any]] = {}
        for entry, head in zip(self.symbol.heads, self._head_list(out_grads)):
            if head is None:
                continue
            head = np.asarray(head)
            if head.shape != self._values[entry].shape:
                raise ShapeError(
                    f"{self.name}: the head gradient of {entry_name(entry)} has shape "
                    f"{head.shape}, the output {self._values[entry].shape}"
                )
            head_of[entry] = head_of[entry] + head if entry in head_of else head
        self._require_heads_of_variables(head_of)
        for entry, slope in self._slopes.items():
            node, _ = entry
            adds = node.op is None and self.grad_req[node.name] == "add"
            if self._readers[entry] > 1 and not adds:
                slope[...] = 0
        for i, step in reversed(list(enumerate(self._steps))):
            if isinstance(step, Segment):
                heads = [self._head(entry, head_of) for entry in step.outputs]
                self._executors[i].backward(heads)
            else:
                self._call_backward(i, step, head_of)
        self._add_heads_of_variables(head_of)

    def _require_heads_of_variables(self, head_of: Mapping[Entry, Any]) -> None:
        missing = [e for e in self.symbol.heads if e in self._variable_heads and e not in head_of]
        if missing:
            raise InvalidArgumentError(
                f"{self.name}: backward needs head gradients (out_grads) for outputs that are "
                f"variables: {', '.join(entry_name(entry) for entry in missing)}"
            )

    def _add_heads_of_variables(self, head_of: Mapping[Entry, Any]) -> None:
        """Add the head gradients of outputs that are variables to what the steps have computed."""
        for entry in self._variable_heads:
            slope = self._slopes[entry]
            computed = self._readers[entry] or self.grad_req[entry[0].name] == "add"
            slope[...] = slope.view() + head_of[entry] if computed else head_of[entry]

    @property
    def _variable_heads(self) -> set[Entry]:
        """The outputs that are variables with a gradient."""
        return {e for e in self.symbol.heads if e[0].op is None and e in self._slopes}

    def _head(self, entry: Entry, head_of: Mapping[Entry, Any]) -> Any:
        """Return the gradient of a value; None for an output whose head gradient is not given."""
        head = head_of.get(entry)
        if head is None and entry in self.symbol.heads:
            return None
        slope = self._slopes.get(entry) if self._readers[entry] else None
        if slope is not None:
            return slope.view() if head is None else slope.view() + head
        if head is None:
            return np.zeros(self._values[entry].shape, self._values[entry].dtype)
        return head

    def _call_backward(self, i: int, step: PythonCall, head_of: Mapping[Entry, Any]) -> None:
        requests = [self._request(entry) for entry in _reads(step)]
        if not any(request != "null" for request in requests):
            return
        heads = []
        for k in range(step.node.num_outputs):
            entry = (step.node, k)
            head = self._head(entry, head_of)
            if head is None and not self._calls[i].ignores_head:
                raise InvalidArgumentError(
                    f"{self.name}: backward needs the head gradient of {entry_name(entry)}; its "
                    "operator is no loss (need_top_grad=False)"
                )
            heads.append(head)
        slopes = [self._slopes.get(entry) for entry in _reads(step)]
        self._calls[i].backward(heads, requests, slopes)

    def measure(
        self, is_train: bool, metrics: Sequence[GraphMetric], row_sparse: Iterable[str] = ()
    ) -> dict[str, float]:
        raise UnsupportedError(f"{self.name}: a network with Python operators returns its outputs")

    @property
    def row_gradients(self) -> dict[str, RowSparse]:
        return {}

    def first_failure(self) -> str | None:
        return None

    @property
    def builds(self) -> Counter[str]:
        return sum((executor.builds for executor in self._executors.values()), Counter())

    @property
    def nbytes(self) -> int:
        own = [a for e, a in (*self._values.items(), *self._slopes.items()) if e[0].op is not None]
        inner = sum(executor.nbytes for executor in self._executors.values())
        return inner + sum(array.nbytes for array in own)


class _Call:
    """A Python operator over its arrays."""

    def __init__(
        self,
        step: PythonCall,
        values: Mapping[Entry, NDArray],
        states: Mapping[str, NDArray],
        context: Context,
    ) -> None:
        node = step.node
        record = node.op
        assert isinstance(record, Custom)
        count = len(record.arguments())
        self.ignores_head = record.ignores_head
        self._name = f"{node.name!r} (custom operator {record.op_type!r})"
        self._inputs = [values[entry] for entry in node.inputs[:count]]
        self._outputs = [values[node, k] for k in range(node.num_outputs)]
        self._states = [states[child.name] for child, _ in node.inputs[count:]]
        self._slopes = [NDArray.zeros(a.shape, a.dtype, context) for a in self._inputs]
        shapes = [list(a.shape) for a in self._inputs]
        dtypes = [a.dtype.type for a in self._inputs]
        self._operator = record.properties.create_operator(context, shapes, dtypes)

    def forward(self, is_train: bool) -> None:
        """Compute the outputs."""
        with _told_as(f"{self._name}: forward"):
            self._operator.forward(
                is_train=is_train,
                req=["write"] * len(self._outputs),
                in_data=self._inputs,
                out_data=self._outputs,
                aux=self._states,
            )

    def backward(
        self, heads: Sequence[Any], requests: Sequence[str], targets: Sequence[NDArray | None]
    ) -> None:
        """Compute the gradients of the inputs, and write or add them into ``targets``."""
        out_grads = []
        for head, output in zip(heads, self._outputs):
            array = NDArray.zeros(output.shape, output.dtype, output.context)
            if head is not None:
                array[...] = head
            out_grads.append(array)
        for slope in self._slopes:
            slope[...] = 0
        with _told_as(f"{self._name}: backward"):
            self._operator.backward(
                req=["null" if request == "null" else "write" for request in requests],
                out_grad=out_grads,
                in_data=self._inputs,
                out_data=self._outputs,
                in_grad=self._slopes,
                aux=self._states,
            )
        for request, target, slope in zip(requests, targets, self._slopes):
            if target is not None and request == "write":
                target[...] = slope
            elif target is not None and request == "add":
                target += slope


@contextmanager
def _told_as(call: str) -> Iterator[None]:
    """Let errors of the user's code be errors that ``except MXNetError`` catches."""
    try:
        yield
    except SymbucketError:
        raise
    except Exception as error:
        raise CustomOperatorError(f"{call} raised {type(error).__name__}: {error}") from error


def _reads(step: Step) -> list[Entry]:
    """Return the values that a step reads, each once for each use that has a gradient of its own.

    Auxiliary states are left out.
    """
    if isinstance(step, Segment):
        return [step.values[name] for name in step.symbol.list_arguments()]
    assert step.node.op is not None
    return list(step.node.inputs[: len(step.node.op.arguments())])
