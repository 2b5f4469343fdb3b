"""``RecurrentModule``: a recurrence over sequences of any length, scheduled step by step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.checks import check_integer
from symbucket.context import Context
from symbucket.engine.contexts import one_context
from symbucket.engine.frames import Frame, FrameExecutor
from symbucket.engine.network_interface import Descs, GradientRequest
from symbucket.engine.ownership import exclusive
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import InvalidArgumentError, ShapeError, StateError, UnsupportedError
from symbucket.io import DataBatch
from symbucket.io.desc import batch_size_of, normalize_descs
from symbucket.metric import EvalMetric
from symbucket.module.batches import read_batch
from symbucket.module.binding import require_bound
from symbucket.module.compiled import CompiledModule
from symbucket.module.optimization import apply_gradients, make_optimizer
from symbucket.module.recurrence import Recurrence, RecurrentBinding, Segment, bind_segment
from symbucket.module.segments import (
    join_segments,
    segment_descs,
    segment_lengths,
    sequence_length,
    slice_steps,
)
from symbucket.optimizer import get_updater
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.types import Array, Shape


class RecurrentModule(CompiledModule):
    """Trains a recurrence with the network of a few steps, whatever the length of a sequence.

    A batch of T steps runs as T / ``unroll`` segments one after the other. Each begins with the
    states that the previous one ended with. Then they run backwards in the opposite order: each
    passes the gradient of its initial states to the previous segment, and adds its gradients of
    parameters to the sum. Outputs and gradients are those of one network unrolled over all T
    steps; only two or three small networks are ever compiled.

    Args:
        sym_gen: ``sym_gen(steps)`` gives ``(symbol, data_names, label_names)`` for that many
            steps. The last outputs of the symbol are the states after them, in the order of
            ``state_names``; all other outputs must be losses.
        state_names: arguments that are the states before the first step, each (batch, ...).
        unroll: steps of a segment. The rest of a sequence runs as one shorter segment.
        layout: of data and labels, as in the cells: "NTC" (batch, time, ...) or "TNC".
        carry_states: begin a batch with the states that the previous batch ended with (truncated
            backpropagation through time); otherwise every batch begins with zeros.
        logger, fixed_param_names: as in ``Module``.
        context: one context.

    The loss must be a sum over steps: ``SoftmaxOutput(normalization="null")``, its default, not
    "valid" or "batch", which divide by what one segment holds; divide with ``rescale_grad``.
    """

    def __init__(
        self,
        sym_gen: Callable[[int], tuple[Symbol, Sequence[str], Sequence[str]]],
        state_names: Sequence[str],
        unroll: int = 1,
        layout: str = "NTC",
        carry_states: bool = False,
        logger: Any = logging,
        context: Context | Sequence[Context] | None = None,
        fixed_param_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(logger)
        self._differentiates_inference = False
        if layout not in ("NTC", "TNC"):
            raise InvalidArgumentError(f'RecurrentModule: layout={layout!r} must be "NTC" or "TNC"')
        if isinstance(state_names, str) or not state_names:
            raise InvalidArgumentError(
                f"RecurrentModule: state_names={state_names!r} must list the arguments that are "
                "the states before the first step, as from cell.begin_state(sym.Variable)"
            )
        self._unroll = check_integer(unroll, "RecurrentModule: unroll", 1)
        self._carry_states = carry_states
        self._context = one_context(context, "RecurrentModule")
        self._recurrence = Recurrence(
            sym_gen, list(state_names), layout.index("T"), fixed_param_names
        )
        self._binding: RecurrentBinding | None = None
        self._begin: dict[str, Array] = {}  # the states to begin with; none: zeros
        self._began: dict[str, Array] = {}  # those of the last forward

    # Descriptions ----------------------------------------------------------------------------

    @property
    def _bound(self) -> RecurrentBinding:
        return require_bound(self._binding)

    @property
    def unroll(self) -> int:
        """Steps of a segment."""
        return self._unroll

    @property
    def symbol(self) -> Symbol:
        """The network of ``unroll`` steps."""
        if self._binding is None:
            return self._recurrence.generate(self._unroll).symbol
        return self._binding.network.network.symbol

    @property
    def data_names(self) -> list[str]:
        if self._binding is None:
            return list(self._recurrence.generate(self._unroll).data_names or [])
        return self._binding.network.network.data_names

    @property
    def label_names(self) -> list[str]:
        return self._bound.network.network.label_names

    @property
    def state_names(self) -> list[str]:
        """Names of the states before the first step."""
        return self._recurrence.state_names

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, without the states."""
        return self.symbol.list_outputs()[: -len(self.state_names)]

    @property
    def data_shapes(self) -> Descs:
        """Descriptions of the data of a segment of ``unroll`` steps."""
        return self._bound.network.shapes.data

    @property
    def label_shapes(self) -> Descs:
        """Descriptions of the labels of a segment of ``unroll`` steps."""
        return self._bound.network.shapes.labels

    @property
    def output_shapes(self) -> list[tuple[str, Shape]]:
        """(name, shape) of the outputs over a segment of ``unroll`` steps, without the states."""
        bound = self._bound.network
        return bound.network.output_shapes(bound.shapes)[: -len(self.state_names)]

    @property
    def executors(self) -> list[FrameExecutor]:
        """What was compiled: one for each length of a segment (and batch size) that came."""
        return [] if self._binding is None else self._binding.executors

    # Binding and optimizer -------------------------------------------------------------------

    def _bind(
        self,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None,
        request: GradientRequest,
        shared_module: Any,
    ) -> RecurrentBinding:
        if request.inputs_need_grad:
            raise UnsupportedError("RecurrentModule: inputs_need_grad is not supported")
        axis, steps = self._recurrence.time_axis, self._unroll
        data = segment_descs(normalize_descs(data_shapes, "data_shapes"), axis, steps)
        labels = segment_descs(normalize_descs(label_shapes or [], "label_shapes"), axis, steps)
        source = shared_module or (self if self.binded else None)
        store, updater = ParameterStore(self._context), None
        if source is not None:
            store = source.store
            updater = source.updater if source.optimizer_initialized else None
        interface = self._recurrence.interface(steps)
        network = bind_segment(
            interface,
            interface.select(data, labels),
            request,
            store,
            self._context,
            check_names=source is None,
        )
        return RecurrentBinding(
            request,
            store,
            updater,
            self._recurrence,
            {steps: network},
            self._context,
        )

    def _init_optimizer(self, optimizer: Any, optimizer_params: dict[str, Any]) -> None:
        bound = self._bound
        names, batch_size = list(bound.store.grads), batch_size_of(self.data_shapes)
        optimizer = make_optimizer(optimizer, optimizer_params, self.symbol, names, batch_size)
        bound.updater = get_updater(optimizer)

    def _update(self) -> None:
        apply_gradients(self.updater, self.store, self.gradients(), {}, self.data_shapes)

    def gradients(self) -> Mapping[str, NDArray]:
        bound = self._bound
        if bound.ran:  # the networks of short sequences may lack parameters
            return {n: a for segment in bound.segments_ran() for n, a in segment.gradients.items()}
        network, grads = bound.network, self.store.grads
        return {n: grads[n] for n in network.network.param_names if network.requests[n] != "null"}

    def auxiliary(self) -> Mapping[str, NDArray]:
        return self.store.aux

    def monitored(self, select: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        # Without data and labels: they come in segments.
        names = self.output_names
        outputs = zip(names, self.get_outputs()) if any(map(select, names)) else ()
        gradients = ((f"{name}_grad", array) for name, array in self.gradients().items())
        return [*outputs, *self.store.args.items(), *gradients, *self.auxiliary().items()]

    # States ----------------------------------------------------------------------------------

    @exclusive
    def reset_states(self) -> None:
        """Begin the next batch with zeros: another text, a new epoch, validation."""
        self._begin = {}

    @exclusive
    def set_states(self, states: Sequence[Any] | None = None, value: float | None = None) -> None:
        """Begin the next batch with these arrays (in the order of ``state_names``)."""
        self._require()
        if value is not None or states is None:
            raise InvalidArgumentError(
                "RecurrentModule.set_states takes arrays, one for each state; reset_states() sets "
                "zeros"
            )
        if len(states) != len(self.state_names):
            raise InvalidArgumentError(
                f"set_states: {len(states)} arrays for {len(self.state_names)} states "
                f"({', '.join(self.state_names)})"
            )
        self._begin = {n: np.array(s) for n, s in zip(self.state_names, states)}

    @exclusive
    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        """Return the states after the last step of the last forward."""
        segment, frame = self._require_run().ran[-1]
        return [frame.outputs[n].copy() for n in segment.state_outputs]

    def carried_arrays(self) -> dict[str, Array]:
        return dict(self._begin)

    def set_carried_arrays(self, arrays: Mapping[str, Array]) -> None:
        self._begin = dict(arrays)

    def _initial_states(self, executor: FrameExecutor) -> dict[str, Array]:
        """Return the states to begin with, checked."""
        states = {}
        for name in self.state_names:
            shape = executor.inputs[name][0]
            values = self._begin.get(name, np.zeros(shape, np.float32))
            if values.shape != shape:
                raise ShapeError(
                    f"RecurrentModule: the state {name!r} to begin with has shape "
                    f"{values.shape}, this batch needs {shape}. After a batch of another size, "
                    "call reset_states() or set_states(...)."
                )
            states[name] = values
        return states

    def _require_run(self) -> RecurrentBinding:
        self._require_own("outputs and states")
        if not self._bound.ran:
            raise StateError("RecurrentModule: call forward first")
        return self._bound

    # Running ---------------------------------------------------------------------------------

    def _forward(self, batch: DataBatch, training: bool, metric: EvalMetric | None) -> None:
        """Run the segments of a batch one after the other."""
        bound, axis = self._bound, self._recurrence.time_axis
        read = read_batch(self._name, batch, bound.network.shapes)
        data, labels = read.shapes.data, read.shapes.labels
        if training:
            bound.network.network.require_labels(read.arrays)
        counts = segment_lengths(sequence_length([*data, *labels], axis), self._unroll)
        segments = [bound.segment(steps, data, labels) for steps in counts]
        first = segments[0].executor
        begin = self._initial_states(first)
        arrays = {n: np.asarray(a) for n, a in read.arrays.items() if n in first.inputs}
        for bounds in first.bounds:
            if bounds.name in arrays:
                lenient = not training or first.options.out_of_range == "mxnet"
                bounds.check(arrays[bounds.name], "RecurrentModule", lenient)
        # From here on buffers of the last batch are written.
        bound.ran, bound.outputs, self._trained = [], None, None
        self._began = self._begin
        ran: list[tuple[Segment, Frame]] = []
        states: dict[str, NDArray] = {}
        start = 0
        for position, (steps, segment) in enumerate(zip(counts, segments)):
            frame = bound.frame(segment, position, states)
            for name in self.state_names if position == 0 else ():
                frame.inputs[name][...] = begin[name]
            for name, array in arrays.items():
                frame.inputs[name][...] = slice_steps(array, axis, start, steps)
            segment.executor.forward(frame, training)
            outputs = [frame.outputs[n] for n in segment.state_outputs]
            states = dict(zip(self.state_names, outputs))
            ran.append((segment, frame))
            start += steps
        bound.ran = ran
        if self._carry_states:
            self._begin = {n: a.asnumpy() for n, a in states.items()}
        if batch.label:
            self._metric_names = [d.name for d in labels]

    def _undo(self) -> None:
        super()._undo()
        self._begin = self._began

    def _backward(self, out_grads: Any) -> None:
        """Run the segments of the last forward backwards and sum the gradients of parameters."""
        if out_grads is not None:
            raise UnsupportedError(
                "RecurrentModule: backward takes no out_grads; end the network in a loss"
            )
        bound = self._bound
        # Nothing flows back into the last step. Two sets of buffers take turns.
        heads, spare = bound.state_gradients()
        for array in heads.values():
            array[...] = 0
        first_sums, last = bound.ran[-1][0].sums, bound.ran[-1][1]
        for segment in bound.segments_ran():
            for name, array in segment.sums.items():
                if name not in first_sums:  # the frame that begins the sums lacks this parameter
                    array[...] = 0
        for segment, frame in reversed(bound.ran):
            by_output = {o: heads[n] for o, n in zip(segment.state_outputs, self.state_names)}
            segment.executor.backward(frame, by_output, spare, first=frame is last)
            heads, spare = spare, heads

    @exclusive
    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        bound = self._require_run()
        if bound.outputs is None:
            axes = bound.time_axes()
            by_segment = [
                [frame.outputs[n].view() for n in list(frame.outputs)[: len(axes)]]
                for _, frame in bound.ran
            ]
            bound.outputs = [
                NDArray.of(join_segments(axis, parts), self._context)
                for axis, parts in zip(axes, zip(*by_segment))
            ]
        if merge_multi_context:
            return bound.outputs
        return [[output] for output in bound.outputs]

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        raise UnsupportedError("RecurrentModule computes no gradients of its data")
