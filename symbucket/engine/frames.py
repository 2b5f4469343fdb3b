"""One network that runs many times before it runs backwards: each run has its own frame.

An ``Executor`` has one set of buffers, so its ``backward`` is that of the last ``forward``. A
recurrence that is scheduled from Python runs one network for segment after segment and then goes
back through all of them. Here the buffers of a run (inputs, outputs, and the stash of activations
that the backward model reads) are a ``Frame``, and programs are bound to the frame that runs. A
frame may be built over arrays of another one: the state that segment 3 writes is the array that
segment 4 reads, and nothing is copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from symbucket.compiler import (
    CompilerOptions,
    Role,
    TrainingPrograms,
    bounds_of_inputs,
    infer_interface,
    output_names,
)
from symbucket.context import Context
from symbucket.engine.accumulate import Accumulator
from symbucket.engine.noise import NoiseClock
from symbucket.engine.programs import NetworkPrograms, Part
from symbucket.engine.runner import PortArrays, Runner
from symbucket.errors import StateError, UnsupportedError
from symbucket.runtime.ndarray import NDArray
from symbucket.symbol.symbol import Symbol
from symbucket.types import DType, Shape


class Frame:
    """The buffers of one run of a ``FrameExecutor``.

    ``inputs`` and ``outputs`` are arrays by name. ``stash`` is filled by the first run in training
    mode; its arrays serve every later run of the frame.
    """

    def __init__(self, inputs: dict[str, NDArray], outputs: dict[str, NDArray]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.stash: dict[str, NDArray] = {}
        self.trained = False
        """Whether the last run was in training mode, so that ``backward`` may follow."""

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers; one that two frames share counts in both."""
        arrays = [*self.inputs.values(), *self.outputs.values(), *self.stash.values()]
        return sum(a.nbytes for a in arrays)


class FrameExecutor:
    """Runs a symbol forward and backward over frames.

    Args:
        symbol: the network; at least one of its outputs must need a head gradient, which the next
            frame computes.
        context: the device.
        shared: parameters and auxiliary states by name, the same arrays in every frame.
        inputs: the other arguments, as ``(shape, dtype)`` by name: each frame has its own.
        grads: arrays in which the gradients of parameters are added up.
        wanted: the inputs whose gradients ``backward`` computes.
        adding: parameters whose sums ``backward(first=True)`` does not start anew.
        name: how messages call it.
        options: of the compiler.
        noise_clock: counts runs, for random numbers; None: a clock of this executor alone.
    """

    def __init__(
        self,
        symbol: Symbol,
        context: Context,
        shared: Mapping[str, NDArray],
        inputs: Mapping[str, tuple[Shape, DType]],
        grads: Mapping[str, NDArray],
        wanted: Sequence[str],
        adding: Sequence[str] = (),
        name: str = "frames",
        options: CompilerOptions | None = None,
        noise_clock: NoiseClock | None = None,
    ) -> None:
        self.symbol = symbol
        self.context = context
        self.name = name
        self.inputs = dict(inputs)
        """(shape, dtype) of the inputs of a frame by name."""
        types = {n: (a.shape, a.dtype) for n, a in shared.items()} | self.inputs
        self.bounds = bounds_of_inputs(symbol, {n: shape for n, (shape, _) in types.items()})
        """In which range inputs that are labels or row numbers must lie."""
        self.outputs = _output_types(symbol, types)
        """(shape, dtype) of the outputs of a frame by name."""
        self._shared, self._grads, self._adding = dict(shared), dict(grads), set(adding)
        self.options = options or CompilerOptions()
        self._compiled = NetworkPrograms(
            symbol, context, types, [*grads, *wanted], name, self.options
        )
        self._runners: dict[Part, Runner] = {}
        self._parts: dict[str, NDArray] = {}
        self._accumulators: dict[bool, Accumulator | None] = {}
        self._noise_clock = noise_clock or NoiseClock()

    @property
    def builds(self) -> Counter[str]:
        """How often models were compiled, by kind ("training", "inference")."""
        return self._compiled.builds

    def frame(self, linked: Mapping[str, NDArray] | None = None) -> Frame:
        """Return a new frame; inputs in ``linked`` are those arrays, others are new zeros."""
        arrays = linked or {}
        inputs = {
            n: arrays[n] if n in arrays else NDArray.zeros(shape, dtype, self.context)
            for n, (shape, dtype) in self.inputs.items()
        }
        outputs = {n: NDArray.empty(s, d, self.context) for n, (s, d) in self.outputs.items()}
        return Frame(inputs, outputs)

    def forward(self, frame: Frame, is_train: bool) -> None:
        """Run over the frame's inputs; in training mode its stash is written."""
        frame.trained = False
        runner = self._runner("forward" if is_train else "inference")
        ports = runner.inputs_of(Role.NOISE)
        if is_train:
            ports += runner.outputs_of(Role.STASH)
        for port in ports:
            if port.name not in frame.stash:
                frame.stash[port.name] = NDArray.empty(port.shape, port.dtype, self.context)
        runner.bind(PortArrays(frame.inputs, buffers={**frame.outputs, **frame.stash}))
        if runner.noise:
            runner.draw_noise(self._noise_clock.next_key(self.name, is_train))
        runner.run()
        self._noise_clock.tick(is_train)
        frame.trained = is_train

    def backward(
        self,
        frame: Frame,
        heads: Mapping[str, NDArray],
        grads: Mapping[str, NDArray],
        first: bool,
    ) -> None:
        """Run backwards over a frame whose last run was in training mode.

        Args:
            frame: of ``forward(frame, is_train=True)``.
            heads: head gradients, by output.
            grads: arrays into which the gradients of ``wanted`` are written.
            first: begin the sums over parameters anew, except those in ``adding``; otherwise the
                frame's gradients are added to what is there.
        """
        if not frame.trained:
            raise StateError(f"{self.name}: backward needs a forward in training mode before it")
        runner = self._runner("backward")
        added = [n for n in self._grads if not first or n in self._adding]
        parts = {n: self._part(n) for n in added}
        named_heads = {Role.HEAD.tensor_name(n): a for n, a in heads.items()}
        runner.bind(
            PortArrays(
                frame.inputs,
                gradients={**self._grads, **grads, **parts},
                buffers={**frame.stash, **named_heads},
            )
        )
        runner.run()
        if first not in self._accumulators:
            pairs = [(self._grads[n], part) for n, part in parts.items()]
            accumulator = Accumulator(pairs, self.context, f"{self.name} add") if pairs else None
            self._accumulators[first] = accumulator
        else:
            accumulator = self._accumulators[first]
        if accumulator is not None:
            accumulator.run()

    def _part(self, name: str) -> NDArray:
        """Return the array for what one frame adds to the gradient of a parameter."""
        if name not in self._parts:
            total = self._grads[name]
            self._parts[name] = NDArray.empty(total.shape, total.dtype, self.context)
        return self._parts[name]

    @property
    def programs(self) -> TrainingPrograms:
        """The forward and the backward program; compiled once.

        Raises UnsupportedError if no output needs a head gradient.
        """
        programs = self._compiled.training()
        if programs.step is not None:
            raise UnsupportedError(
                f"{self.name}: no output of the network needs a head gradient, so there is no "
                "gradient to pass from one run to the run before it. Are the states among the "
                "outputs, do they depend on parameters, and is there no BlockGrad before them?"
            )
        return programs

    def _runner(self, part: Part) -> Runner:
        """Return the runner of a program, bound to the shared arrays."""
        runner = self._runners.get(part)
        if runner is None:
            if part != "inference":
                _ = self.programs  # raises an error if the step is not split
            runner = self._compiled.runner(part)
            runner.bind(PortArrays(self._shared, self._shared))
            self._runners[part] = runner
            self._compiled.release(part)
        return runner


def _output_types(
    symbol: Symbol, types: Mapping[str, tuple[Shape, DType]]
) -> dict[str, tuple[Shape, DType]]:
    """Return (shape, dtype) of the outputs by their unique names."""
    arguments = {n: types[n] for n in symbol.list_arguments() if n in types}
    inferred = infer_interface(
        symbol,
        {n: shape for n, (shape, _) in arguments.items()},
        {n: dtype for n, (_, dtype) in arguments.items()},
    )
    return dict(zip(output_names(symbol), zip(inferred.shapes[1], inferred.dtypes[1])))
