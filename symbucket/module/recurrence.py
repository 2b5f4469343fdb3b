"""The compiled segments of a recurrence, and the buffers that are reused from batch to batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from symbucket.compiler import CompilerOptions, output_names
from symbucket.context import Context
from symbucket.engine.bound_network import BoundNetwork
from symbucket.engine.contexts import ContextGroup
from symbucket.engine.frames import Frame, FrameExecutor
from symbucket.engine.network_interface import (
    BatchShapes,
    Descs,
    GradientRequest,
    NetworkInterface,
    Signature,
)
from symbucket.engine.noise import NoiseClock
from symbucket.engine.ownership import Runs
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.module.binding import Binding
from symbucket.module.segments import TimeAxis, find_time_axes, segment_descs
from symbucket.module.sym_gen import GeneratedNetwork, SymGen, generate
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.types import Shape


@dataclass(frozen=True)
class Recurrence:
    """The networks of a recurrence, one for each number of steps.

    Attributes:
        sym_gen: see RecurrentModule.
        state_names: arguments that are the states before the first step.
        time_axis: axis of time in data and labels, 0 or 1; the other one is the batch.
        fixed_param_names: parameters that are not trained.
    """

    sym_gen: SymGen
    state_names: list[str]
    time_axis: int
    fixed_param_names: Sequence[str] | None = None

    def generate(self, steps: int) -> GeneratedNetwork:
        """Return ``sym_gen(steps)``, with its outputs and losses checked."""
        network = generate(self.sym_gen, steps)
        if network.data_names is None:
            raise InvalidArgumentError(
                f"sym_gen({steps}) must give (symbol, data_names, label_names), not "
                f"{network.symbol!r}"
            )
        symbol = network.symbol
        if len(symbol) <= len(self.state_names):
            raise InvalidArgumentError(
                f"sym_gen({steps}): the network has {len(symbol)} outputs "
                f"({', '.join(symbol.list_outputs())}) for {len(self.state_names)} states "
                f"({', '.join(self.state_names)}). Its outputs must be the losses and then one "
                "output for each state: sym.Group([loss, *states])."
            )
        for node, attrs in symbol.attr_dict().items():
            if attrs.get("normalization", "null") != "null":
                raise InvalidArgumentError(
                    f"sym_gen({steps}): {node!r} has normalization={attrs['normalization']!r}, "
                    "which divides by what one segment of a sequence holds, so that gradients "
                    'would depend on unroll. Leave it at "null", a sum over steps, and divide with '
                    "rescale_grad of the optimizer."
                )
        return network

    def interface(self, steps: int) -> NetworkInterface:
        """Return what the arguments of the network of ``steps`` steps are for."""
        network = self.generate(steps)
        return NetworkInterface(
            network.symbol,
            f"RecurrentModule over {steps} steps",
            network.data_names,
            network.label_names,
            self.state_names,
            self.fixed_param_names,
        )

    def state_outputs(self, symbol: Symbol) -> list[str]:
        """Return the names of the outputs that are the states after the last step."""
        return output_names(symbol)[-len(self.state_names) :]

    def output_shapes(self, steps: int, inputs: dict[str, Any]) -> list[Shape]:
        """Return the shapes of the outputs before the states.

        ``inputs``: shapes of data and labels by name, over any number of steps.
        """
        axis = self.time_axis
        shapes = {n: (*s[:axis], steps, *s[axis + 1 :]) for n, s in inputs.items()}
        outputs: list[Shape] = self.generate(steps).symbol.complete_shapes(**shapes)[1]
        return outputs[: -len(self.state_names)]


@dataclass(frozen=True, eq=False)
class Segment:
    """A network of some steps, compiled for one batch size.

    Attributes:
        executor: runs it.
        state_outputs: the outputs that are the states after the last step.
        gradients: of the parameters that the network has, by name.
        sums: those of them that every backward begins anew.
    """

    executor: FrameExecutor
    state_outputs: list[str]
    gradients: dict[str, NDArray]
    sums: dict[str, NDArray]


@dataclass
class RecurrentBinding(Binding):
    """What a RecurrentModule has from ``bind`` on.

    Attributes:
        recurrence: the networks.
        networks: the networks over the parameters, by number of steps; the first one is that of
            ``unroll`` steps.
        context: where they run.
        ran: segments of the last forward with their frames, in the order of time.
        begin: the states that the next batch begins with, by name; zeros if there are none.
        outputs: the joined outputs of the last forward, once they were asked for.
        noise_clock: counts the runs of segments.
    """

    recurrence: Recurrence
    networks: dict[int, BoundNetwork]
    context: Context
    ran: list[tuple[Segment, Frame]] = field(default_factory=list)
    outputs: list[NDArray] | None = None
    noise_clock: NoiseClock = field(default_factory=NoiseClock)
    _runs: Runs = field(default_factory=Runs)
    _segments: dict[Signature, Segment] = field(default_factory=dict)
    _frames: dict[tuple[Segment, int], Frame] = field(default_factory=dict)
    _state_gradients: list[dict[str, NDArray]] = field(default_factory=list)
    _time_axes: dict[int, list[TimeAxis]] = field(default_factory=dict)

    @property
    def runs(self) -> Runs:
        """Which thread's results the last forward left."""
        return self._runs

    @property
    def clocks(self) -> list[NoiseClock]:
        """The clock of all segments."""
        return [self.noise_clock]

    def _part_outputs(self) -> None:
        """Do nothing: joined outputs are new arrays."""

    @property
    def network(self) -> BoundNetwork:
        """The network of ``unroll`` steps."""
        return next(iter(self.networks.values()))

    @property
    def executors(self) -> list[FrameExecutor]:
        """One executor for each length of a segment (and batch size) that came."""
        return [segment.executor for segment in self._segments.values()]

    def segment(self, steps: int, data: Descs, labels: Descs) -> Segment:
        """Return the segment of ``steps`` steps of these sequences; it is built if it is new."""
        axis = self.recurrence.time_axis
        segment_data = segment_descs(data, axis, steps)
        segment_labels = segment_descs(labels or self.network.shapes.labels, axis, steps)
        if not labels:  # their values do not matter; without shapes many networks are unknown
            batch_axis, rows = 1 - axis, segment_data[0].shape[1 - axis]
            segment_labels = [
                d.with_shape((*d.shape[:batch_axis], rows, *d.shape[batch_axis + 1 :]))
                for d in segment_labels
            ]
        shapes = BatchShapes(segment_data, segment_labels)
        segment = self._segments.get(shapes.signature)
        if segment is None:
            segment = self._segments[shapes.signature] = self._build(steps, shapes)
        return segment

    def _build(self, steps: int, shapes: BatchShapes) -> Segment:
        bound = self.networks.get(steps)
        if bound is None:
            interface = self.recurrence.interface(steps)
            shapes = interface.select(shapes.data, shapes.labels)
            bound = bind_segment(interface, shapes, self.request, self.store, self.context)
        symbol = bound.network.symbol
        arrays = bound.arrays(bound.network.select(shapes.data, shapes.labels))
        parameters = {n: a for n, a in arrays.args.items() if n in self.store.args}
        grads = {n: a for n, a in arrays.grads.items() if n in self.store.grads}
        adding = [n for n, request in arrays.requests.items() if request == "add"]
        executor = FrameExecutor(
            symbol,
            self.context,
            {**parameters, **arrays.aux},
            {n: (a.shape, a.dtype) for n, a in arrays.args.items() if n not in parameters},
            arrays.grads,
            self.recurrence.state_names,
            adding,
            f"segments of {steps} steps",
            noise_clock=self.noise_clock,
        )
        sums = {n: a for n, a in grads.items() if n not in adding}
        segment = Segment(executor, self.recurrence.state_outputs(symbol), grads, sums)
        self._check(steps, segment, symbol)
        self.networks[steps] = bound
        return segment

    def _check(self, steps: int, segment: Segment, symbol: Symbol) -> None:
        """Raise an error if states do not fit each other, or an output is not a loss."""
        executor, names = segment.executor, self.recurrence.state_names
        for name, output in zip(names, segment.state_outputs):
            begin, end = executor.inputs[name][0], executor.outputs[output][0]
            if begin != end:
                raise ShapeError(
                    f"sym_gen({steps}): the state {name!r} has shape {begin}, the output "
                    f"{output!r} that becomes the next one has {end}. The last outputs must be "
                    f"the states in the order of state_names ({', '.join(names)})."
                )
        if self.request.for_training:
            heads = [n for n in executor.programs.heads if n not in segment.state_outputs]
            if heads:
                raise InvalidArgumentError(
                    f"sym_gen({steps}): {', '.join(heads)} is no loss. Outputs before the states "
                    "must be losses (SoftmaxOutput, MakeLoss) or have no gradient (BlockGrad)."
                )
            self._check_divisors(steps, executor, symbol)

    def _check_divisors(self, steps: int, executor: FrameExecutor, symbol: Symbol) -> None:
        """Raise an error if a loss divides its gradient by the steps of a segment."""
        losses = symbol.heads[: -len(self.recurrence.state_names)]
        for position, (node, _) in enumerate(losses):
            if node.op is None or not node.op.divides_by_sample:
                continue
            time = self._find_time_axes(executor)[position]
            if time.axis:
                raise InvalidArgumentError(
                    f"sym_gen({steps}): {node.name!r} divides its gradient by the values of a "
                    "sample, here those of all steps of a segment, so that gradients would depend "
                    "on unroll. Reshape its data and label to shape=(-1, values of one step), a "
                    "sum over steps, and divide with rescale_grad of the optimizer."
                )

    def segments_ran(self) -> list[Segment]:
        """Return the different segments of the last forward."""
        return list(dict.fromkeys(segment for segment, _ in self.ran))

    def frame(self, segment: Segment, position: int, states: dict[str, NDArray]) -> Frame:
        """Return the frame of the segment at a position of the sequence.

        ``states``: arrays of the frame at the position before it, which a new one shares.
        """
        frame = self._frames.get((segment, position))
        if frame is None:
            frame = self._frames[segment, position] = segment.executor.frame(states)
        return frame

    def state_gradients(self) -> list[dict[str, NDArray]]:
        """Return two sets of arrays for the gradients of states of the last forward."""
        inputs = self.ran[0][1].inputs
        shapes = {n: inputs[n].shape for n in self.recurrence.state_names}
        if not self._state_gradients or any(
            self._state_gradients[0][n].shape != shape for n, shape in shapes.items()
        ):
            self._state_gradients = [
                {n: NDArray.zeros(s, inputs[n].dtype, inputs[n].context) for n, s in shapes.items()}
                for _ in range(2)
            ]
        return self._state_gradients

    def time_axes(self) -> list[TimeAxis]:
        """Return where time lies in the outputs, for the batch size of the last forward."""
        return self._find_time_axes(self.ran[0][0].executor)

    def _find_time_axes(self, executor: FrameExecutor) -> list[TimeAxis]:
        recurrence = self.recurrence
        inputs = {n: shape for n, (shape, _) in executor.inputs.items()}
        inputs = {n: shape for n, shape in inputs.items() if n not in recurrence.state_names}
        rows = next(iter(inputs.values()))[1 - recurrence.time_axis]
        if rows not in self._time_axes:
            one, two = (recurrence.output_shapes(steps, inputs) for steps in (1, 2))
            names = self.network.network.output_names
            self._time_axes[rows] = find_time_axes(names, one, two, recurrence.time_axis == 1)
        return self._time_axes[rows]


def bind_segment(
    network: NetworkInterface,
    shapes: BatchShapes,
    request: GradientRequest,
    store: ParameterStore,
    context: Context,
    check_names: bool = False,
) -> BoundNetwork:
    """Return a network of a recurrence over the parameters in ``store``."""
    return BoundNetwork(
        network,
        shapes,
        request,
        store,
        ContextGroup([context]),
        CompilerOptions(),
        check_names=check_names,
    )
