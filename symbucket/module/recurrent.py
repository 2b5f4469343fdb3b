"""``RecurrentModule``: a recurrence over sequences of any length, scheduled step by step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.compiler import output_names
from symbucket.context import Context
from symbucket.engine.data_parallel import one_context
from symbucket.engine.frames import Frame, FrameExecutor
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import (
    DataError,
    InvalidArgumentError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from symbucket.initializer import Initializer
from symbucket.io import DataBatch, DataDesc
from symbucket.io.desc import normalize_descs
from symbucket.module.base import BaseModule
from symbucket.module.bucketing import BucketingModule
from symbucket.module.lifecycle import Pairs
from symbucket.module.time_slices import (
    TimeAxis,
    cut,
    find_time_axes,
    length_of,
    merge,
    piece_of,
    read,
)
from symbucket.optimizer import Updater
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.types import Array

Descs = list[DataDesc]


class RecurrentModule(BaseModule):
    """Trains a recurrence with the network of a few steps, whatever the length of a sequence.

    A batch of T steps runs as T / ``unroll`` pieces one after the other, each of which begins with
    the states that the one before ended with. Then they run backwards in the opposite order: each
    gives the gradient of the states that it began with to the piece before it, and adds its
    gradients of parameters to theirs. Outputs and gradients are those of one network unrolled over
    all T steps; only the two or three small networks are ever compiled.

    Args:
        sym_gen: ``sym_gen(steps)`` gives ``(symbol, data_names, label_names)`` for that many
            steps. The last outputs of the symbol are the states after them, in the order of
            ``state_names``; all outputs before those must be losses.
        state_names: arguments that are the states before the first step, each (batch, ...).
        unroll: steps of a piece. The rest of a sequence runs as one shorter piece.
        layout: of data and labels, as in the cells: "NTC" (batch, time, ...) or "TNC".
        carry_states: begin a batch with the states that the batch before ended with (truncated
            backpropagation through time); otherwise every batch begins with zeros.
        logger, fixed_param_names: as in ``Module``. context: one context.

    The loss must be a sum over steps: ``SoftmaxOutput(normalization="null")``, its default, not
    "valid" or "batch", which divide by what one piece holds; divide with ``rescale_grad``.
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
        if isinstance(unroll, bool) or not isinstance(unroll, int) or unroll < 1:
            raise InvalidArgumentError(
                f"RecurrentModule: unroll={unroll!r} must be a whole number of steps, 1 or more"
            )
        if layout not in ("NTC", "TNC"):
            raise InvalidArgumentError(f'RecurrentModule: layout={layout!r} must be "NTC" or "TNC"')
        if isinstance(state_names, str) or not state_names:
            raise InvalidArgumentError(
                f"RecurrentModule: state_names={state_names!r} must list the arguments that are "
                "the states before the first step, as from cell.begin_state(sym.Variable)"
            )
        self._sym_gen = sym_gen
        self._states = list(state_names)
        self._unroll = unroll
        self._time = layout.index("T")
        self._carry = carry_states
        self._inner = BucketingModule(
            self._checked,
            unroll,
            logger,
            one_context(context, "RecurrentModule"),
            None,
            fixed_param_names,
            self._states,
        )
        self._executors: dict[Any, tuple[int, FrameExecutor]] = {}
        self._frames: dict[tuple[int, int], Frame] = {}
        self._gradients: list[dict[str, NDArray]] = []
        self._axes: dict[int, list[TimeAxis]] = {}
        self._labels: Descs = []
        self._begin: dict[str, Array] = {}  # the states to begin with; none: zeros
        self._ran: list[tuple[FrameExecutor, Frame]] = []
        self._merged: list[NDArray] | None = None

    def _checked(self, steps: int) -> tuple[Symbol, Sequence[str], Sequence[str]]:
        """``sym_gen(steps)`` after a look at its outputs and losses."""
        made = self._sym_gen(steps)
        if not (isinstance(made, tuple) and len(made) == 3 and isinstance(made[0], Symbol)):
            raise InvalidArgumentError(
                f"sym_gen({steps}) must give (symbol, data_names, label_names), not {made!r}"
            )
        symbol = made[0]
        if len(symbol) <= len(self._states):
            raise InvalidArgumentError(
                f"sym_gen({steps}): the network has {len(symbol)} outputs "
                f"({', '.join(symbol.list_outputs())}) for {len(self._states)} states "
                f"({', '.join(self._states)}). Its outputs must be the losses and then one output "
                "for each state: sym.Group([loss, *states])."
            )
        for node, attrs in symbol.attr_dict().items():
            if attrs.get("normalization", "null") != "null":
                raise InvalidArgumentError(
                    f"sym_gen({steps}): {node!r} has normalization={attrs['normalization']!r}, "
                    "which divides by what one piece of a sequence holds, so that gradients would "
                    'depend on unroll. Leave it at "null", a sum over steps, and divide with '
                    "rescale_grad of the optimizer."
                )
        return made

    # Descriptions ----------------------------------------------------------------------------

    @property
    def unroll(self) -> int:
        """Steps of a piece."""
        return self._unroll

    @property
    def symbol(self) -> Symbol:
        """The network of ``unroll`` steps."""
        return self._inner.default_module.symbol if self.binded else self._checked(self._unroll)[0]

    @property
    def data_names(self) -> list[str]:
        return self._inner.data_names

    @property
    def label_names(self) -> list[str]:
        self._require()
        return self._inner.default_module.label_names

    @property
    def state_names(self) -> list[str]:
        """Names of the states before the first step."""
        return self._states

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, without the states."""
        return self.symbol.list_outputs()[: -len(self._states)]

    @property
    def store(self) -> ParameterStore:
        return self._inner.store

    @property
    def updater(self) -> Updater:
        return self._inner.updater

    @property
    def executors(self) -> list[FrameExecutor]:
        """What was compiled: one for each length of a piece (and batch size) that came."""
        return [executor for _, executor in self._executors.values()]

    # Binding, parameters, optimizer ----------------------------------------------------------

    def _bind(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None, shared_module: Any
    ) -> None:
        if self.inputs_need_grad:
            raise UnsupportedError("RecurrentModule: inputs_need_grad is not supported")
        data = piece_of(normalize_descs(data_shapes, "data_shapes"), self._time, self._unroll)
        labels = normalize_descs(label_shapes or [], "label_shapes")
        labels = piece_of(labels, self._time, self._unroll)
        self._inner.bind(
            data, labels, self.for_training, False, True, shared_module, self._grad_req
        )
        self._executors, self._frames, self._gradients, self._axes = {}, {}, [], {}
        self._ran, self._merged, self._labels = [], None, labels
        self.params_initialized = self._inner.params_initialized
        self.optimizer_initialized = self._inner.optimizer_initialized

    def _init_params(
        self,
        initializer: Initializer | None,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool,
        allow_extra: bool,
    ) -> None:
        self._inner.init_params(
            initializer, arg_params, aux_params, allow_missing, True, allow_extra
        )

    def _init_optimizer(self, optimizer: Any, optimizer_params: Pairs) -> None:
        self._inner.init_optimizer("local", optimizer, optimizer_params, force_init=True)

    def _update(self) -> None:
        self._inner.switch_bucket(self._unroll, None)
        self._inner.update()

    def gradients(self) -> Mapping[str, NDArray]:
        return self._inner.default_module.gradients()

    def auxiliary(self) -> Mapping[str, NDArray]:
        return self._inner.auxiliary()

    def monitored(self, wanted: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        # Without data and labels: they come in pieces.
        names = self.output_names
        outputs = zip(names, self.get_outputs()) if any(map(wanted, names)) else ()
        gradients = ((f"{name}_grad", array) for name, array in self.gradients().items())
        return [*outputs, *self.store.args.items(), *gradients, *self.auxiliary().items()]

    # States ----------------------------------------------------------------------------------

    def reset_states(self) -> None:
        """Begin the next batch with zeros: another text, a new epoch, validation."""
        self._begin = {}

    def set_states(self, states: Sequence[Any] | None = None, value: float | None = None) -> None:
        """Begin the next batch with these arrays (in the order of ``state_names``)."""
        self._require()
        if value is not None or states is None:
            raise InvalidArgumentError(
                "RecurrentModule.set_states takes arrays, one for each state; reset_states() sets "
                "zeros"
            )
        if len(states) != len(self._states):
            raise InvalidArgumentError(
                f"set_states: {len(states)} arrays for {len(self._states)} states "
                f"({', '.join(self._states)})"
            )
        self._begin = {n: np.array(s) for n, s in zip(self._states, states)}

    def get_states(self, merge_multi_context: bool = True) -> list[NDArray]:
        """The states after the last step of the last forward."""
        self._require_run()
        executor, frame = self._ran[-1]
        return [frame.outputs[n].copy() for n in self._state_outputs(executor)]

    def _state_outputs(self, executor: FrameExecutor) -> list[str]:
        return output_names(executor.symbol)[-len(self._states) :]

    def _require_run(self) -> None:
        self._require(params=True)
        if not self._ran:
            raise StateError("RecurrentModule: call forward first")

    # Running ---------------------------------------------------------------------------------

    def _forward(self, batch: DataBatch, training: bool) -> None:
        """Run the pieces of a batch one after the other."""
        bound = self._inner.default_module.data_shapes
        data, labels, arrays = read(batch, bound, self._labels)
        absent = [n for n in self.label_names if n not in arrays]
        if training and absent:
            raise DataError(
                f"RecurrentModule: the batch has no label {', '.join(map(repr, absent))}, and "
                "training needs it (label= and provide_label= of DataBatch)"
            )
        length = length_of([*data, *labels], self._time)
        counts = [self._unroll] * (length // self._unroll)
        if length % self._unroll:
            counts.append(length % self._unroll)
        plan = [self._executor(steps, data, labels) for steps in counts]
        begin = self._beginning(plan[0][1])
        for name, array in arrays.items():
            for bounds in plan[0][1].bounds:
                if bounds.name == name:
                    bounds.check(array, "RecurrentModule")
        self._ran, self._merged, self._trained = [], None, False
        ran: list[tuple[FrameExecutor, Frame]] = []
        before: dict[str, NDArray] = {}
        start = 0
        for i, (steps, (number, executor)) in enumerate(zip(counts, plan)):
            frame = self._frames.get((number, i))
            if frame is None:
                frame = self._frames[number, i] = executor.frame(before)
            for name in self._states if i == 0 else ():
                frame.inputs[name][...] = begin[name]
            for name, array in arrays.items():
                frame.inputs[name][...] = cut(array, self._time, start, steps)
            executor.forward(frame, training)
            after = [frame.outputs[n] for n in self._state_outputs(executor)]
            before = dict(zip(self._states, after))
            ran.append((executor, frame))
            start += steps
        self._ran = ran
        if self._carry:
            self._begin = {n: a.asnumpy() for n, a in before.items()}
        if batch.label:
            self._metric_names = [d.name for d in labels]

    def _backward(self, out_grads: Any) -> None:
        """Run the pieces of the last forward backwards and add up the gradients of parameters."""
        if out_grads is not None:
            raise UnsupportedError(
                "RecurrentModule: backward takes no out_grads; end the network in a loss"
            )
        # Nothing flows back from behind the last step. Two sets of buffers take turns.
        heads, spare = self._head_buffers()
        for array in heads.values():
            array[...] = 0
        for executor, frame in reversed(self._ran):
            given = {o: heads[n] for o, n in zip(self._state_outputs(executor), self._states)}
            executor.backward(frame, given, spare, first=frame is self._ran[-1][1])
            heads, spare = spare, heads

    def _head_buffers(self) -> list[dict[str, NDArray]]:
        inputs = self._ran[0][1].inputs
        shapes = {n: inputs[n].shape for n in self._states}
        if not self._gradients or any(self._gradients[0][n].shape != shapes[n] for n in shapes):
            self._gradients = [
                {n: NDArray.zeros(s, inputs[n].dtype, inputs[n].context) for n, s in shapes.items()}
                for _ in range(2)
            ]
        return self._gradients

    def get_outputs(self, merge_multi_context: bool = True) -> list[NDArray]:
        self._require_run()
        if self._merged is None:
            axes = self._time_axes()
            lists = [
                [frame.outputs[n].view() for n in output_names(executor.symbol)[: len(axes)]]
                for executor, frame in self._ran
            ]
            self._merged = [NDArray(merge(axis, parts)) for axis, parts in zip(axes, zip(*lists))]
        return self._merged

    # Building --------------------------------------------------------------------------------

    def _executor(self, steps: int, data: Descs, labels: Descs) -> tuple[int, FrameExecutor]:
        """The executor for a piece of so many steps, with its number."""
        piece, answers = (piece_of(d, self._time, steps) for d in (data, labels))
        if not answers:  # their values do not matter; without shapes many networks are unknown
            axis = 1 - self._time
            rows = piece[0].shape[axis]
            for desc in piece_of(self._labels, self._time, steps):
                shape = list(desc.shape)
                shape[axis] = rows
                answers.append(DataDesc(desc.name, shape, desc.dtype, desc.layout))
        key = tuple((d.name, d.shape, d.dtype.name) for d in [*piece, *answers])
        if key not in self._executors:
            self._executors[key] = len(self._executors), self._build(steps, piece, answers)
        return self._executors[key]

    def _build(self, steps: int, data: Descs, labels: Descs) -> FrameExecutor:
        self._inner.switch_bucket(steps, data, labels)
        module = self._inner.module_of(steps)
        module.reshape(data, labels)
        bound, store = module.executor, self.store
        inputs = {n: (a.shape, a.dtype) for n, a in bound.arg_dict.items() if n not in store.args}
        shared = {n: a for n, a in bound.arg_dict.items() if n in store.args}
        made = FrameExecutor(
            bound.symbol,
            bound.context,
            {**shared, **bound.aux_dict},
            inputs,
            bound.grad_dict,
            self._states,
            [n for n, request in bound.grad_req.items() if request == "add"],
            f"pieces of {steps} steps",
            bound.options,
        )
        outputs = self._state_outputs(made)
        for name, output in zip(self._states, outputs):
            before, after = made.inputs[name][0], made.outputs[output][0]
            if before != after:
                raise ShapeError(
                    f"sym_gen({steps}): the state {name!r} has shape {before}, the output "
                    f"{output!r} that becomes the next one has {after}. The last outputs must be "
                    f"the states in the order of state_names ({', '.join(self._states)})."
                )
        if self.for_training:
            heads = [n for n in made.programs.heads if n not in outputs]
            if heads:
                raise InvalidArgumentError(
                    f"sym_gen({steps}): {', '.join(heads)} is no loss. Outputs before the states "
                    "must be losses (SoftmaxOutput, MakeLoss) or have no gradient (BlockGrad)."
                )
        return made

    def _beginning(self, executor: FrameExecutor) -> dict[str, Array]:
        """The states to begin with, checked."""
        found = {}
        for name in self._states:
            shape = executor.inputs[name][0]
            values = self._begin.get(name, np.zeros(shape, np.float32))
            if values.shape != shape:
                raise ShapeError(
                    f"RecurrentModule: the state {name!r} to begin with has shape "
                    f"{values.shape}, this batch needs {shape}. After a batch of another size, "
                    "call reset_states() or set_states(...)."
                )
            found[name] = values
        return found

    def _time_axes(self) -> list[TimeAxis]:
        """Where time lies in the outputs, for the batch size of the last forward."""
        inputs = {n: shape for n, (shape, _) in self._ran[0][0].inputs.items()}
        inputs = {n: shape for n, shape in inputs.items() if n not in self._states}
        rows = next(iter(inputs.values()))[1 - self._time]
        if rows not in self._axes:
            one, two = (self._output_shapes(steps, inputs) for steps in (1, 2))
            self._axes[rows] = find_time_axes(self.output_names, one, two, self._time == 1)
        return self._axes[rows]

    def _output_shapes(
        self, steps: int, inputs: Mapping[str, tuple[int, ...]]
    ) -> list[tuple[int, ...]]:
        given = {n: (*s[: self._time], steps, *s[self._time + 1 :]) for n, s in inputs.items()}
        shapes = self._checked(steps)[0].infer_shape(**given)[1]
        return shapes[: -len(self._states)]
