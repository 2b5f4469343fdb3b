"""One network run many times over before it is run backwards: every run keeps a frame of its own.

An ``Executor`` has one set of buffers, so its ``backward`` is that of the last ``forward``. A
recurrence that is scheduled from Python runs one network for step after step and then goes back
through all of them. Here the buffers of a run (inputs, outputs, and the stash of activations that
the backward model reads) are a ``Frame``, and sessions are bound to the frame that is run. A frame
may be built over arrays of another one: the state that step 3 writes is the array that step 4
reads, and nothing is copied on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from symbucket.compiler import (
    CompilerOptions,
    Program,
    Role,
    TrainingPrograms,
    compile_inference,
    compile_training,
    output_names,
)
from symbucket.context import Context
from symbucket.engine.accumulate import Accumulator
from symbucket.engine.target import target_of
from symbucket.errors import StateError, UnsupportedError
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session
from symbucket.symbol.bounds import input_bounds
from symbucket.symbol.infer import infer_shapes
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
        symbol: the network; at least one of its outputs must need a head gradient, which is what
            the frame after it will give.
        context: the device.
        shared: parameters and auxiliary states by name, the same arrays in every frame.
        inputs: the other arguments, as ``(shape, dtype)`` by name: each frame has its own.
        grads: where the gradients of parameters are added up. ``adding``: names of those that
            ``backward(first=True)`` must not start anew.
        wanted: the inputs whose gradients ``backward`` gives.
        name: how messages call it.
        options: of the compiler.
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
    ) -> None:
        self.symbol = symbol
        self.context = context
        self.name = name
        self.builds: Counter[str] = Counter()
        self.inputs = dict(inputs)
        """(shape, dtype) of the inputs of a frame by name."""
        self._shared = dict(shared)
        self._grads, self._wanted, self._adding = dict(grads), list(wanted), set(adding)
        self._options = options or CompilerOptions()
        self._shapes = {n: a.shape for n, a in shared.items()}
        self._shapes.update({n: shape for n, (shape, _) in inputs.items()})
        self._dtypes = {n: a.dtype for n, a in shared.items()}
        self._dtypes.update({n: dtype for n, (_, dtype) in inputs.items()})
        nodes = symbol.nodes()
        self.bounds = input_bounds(nodes, infer_shapes(nodes, self._shapes))
        """In which range inputs that are labels or row numbers must lie."""
        self.outputs = dict(zip(output_names(symbol), zip(*self._described_outputs())))
        """(shape, dtype) of the outputs of a frame by name."""
        self._programs: TrainingPrograms | None = None
        self._sessions: dict[str, Session] = {}
        self._parts: dict[str, NDArray] = {}
        self._accumulators: dict[bool, Accumulator | None] = {}

    def _described_outputs(self) -> tuple[list[Shape], list[DType]]:
        given = {n: s for n, s in self._shapes.items() if n in self.symbol.list_arguments()}
        types = {n: self._dtypes[n] for n in given}
        return self.symbol.infer_shape(**given)[1], self.symbol.infer_type(**types)[1]

    def frame(self, linked: Mapping[str, NDArray] | None = None) -> Frame:
        """A new frame; its inputs in ``linked`` are those arrays, others are allocated (zeros)."""
        given = linked or {}
        inputs = {
            n: given[n] if n in given else NDArray.zeros(shape, dtype, self.context)
            for n, (shape, dtype) in self.inputs.items()
        }
        outputs = {n: NDArray.empty(s, d, self.context) for n, (s, d) in self.outputs.items()}
        return Frame(inputs, outputs)

    def forward(self, frame: Frame, is_train: bool) -> None:
        """Run over the frame's inputs; in training mode its stash is written."""
        frame.trained = False
        part = "forward" if is_train else "inference"
        session = self._session(part)
        if is_train and not frame.stash:
            program = self.programs.forward
            assert program is not None
            frame.stash = {
                p.name: NDArray.empty(p.shape, p.dtype, self.context)
                for p in program.outputs_of(Role.STASH)
            }
        session.bind_inputs(frame.inputs)
        session.bind_outputs({**frame.outputs, **frame.stash})
        session.run()
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
            grads: where the gradients of ``wanted`` are written.
            first: begin the sums over parameters anew, except those in ``adding``; otherwise the
                frame's gradients are added to what is there.
        """
        if not frame.trained:
            raise StateError(f"{self.name}: backward needs a forward in training mode before it")
        session = self._session("backward")
        named = {Role.HEAD.tensor_name(n): a for n, a in heads.items()}
        session.bind_inputs({**frame.inputs, **frame.stash, **named})
        parts = [n for n in self._grads if not first or n in self._adding]
        results = {Role.GRAD.tensor_name(n): a for n, a in grads.items()}
        for name, total in self._grads.items():
            results[Role.GRAD.tensor_name(name)] = (
                self._part(name, total) if name in parts else total
            )
        session.bind_outputs(results)
        session.run()
        if first not in self._accumulators:
            pairs = [(self._grads[n], self._parts[n]) for n in parts]
            made = Accumulator(pairs, self.context, f"{self.name} add") if pairs else None
            self._accumulators[first] = made
        accumulator = self._accumulators[first]
        if accumulator is not None:
            accumulator.run()

    def _part(self, name: str, total: NDArray) -> NDArray:
        if name not in self._parts:
            self._parts[name] = NDArray.empty(total.shape, total.dtype, self.context)
        return self._parts[name]

    @property
    def programs(self) -> TrainingPrograms:
        """The forward and the backward model; compiled once.

        Raises UnsupportedError where no output needs a head gradient.
        """
        if self._programs is None:
            found = compile_training(
                self.symbol,
                self._shapes,
                self._dtypes,
                [*self._grads, *self._wanted],
                f"{self.name} training",
                options=self._options,
                target=target_of(self.context),
            )
            self.builds["training"] += 1
            if found.step is not None:
                raise UnsupportedError(
                    f"{self.name}: no output of the network needs a head gradient, so there is no "
                    "gradient to pass from one run to the run before it. Are the states among the "
                    "outputs, do they depend on parameters, and is there no BlockGrad before them?"
                )
            self._programs = found
        return self._programs

    def _session(self, part: str) -> Session:
        found = self._sessions.get(part)
        if found is not None:
            return found
        if part == "inference":
            program: Program = compile_inference(
                self.symbol,
                self._shapes,
                self._dtypes,
                f"{self.name} inference",
                options=self._options,
                target=target_of(self.context),
            )
            self.builds["inference"] += 1
        else:
            program = getattr(self.programs, part)
        need = 0 if program.plan is None else program.plan.arena
        session = Session(program.model, self.context, f"{self.name} {part}", need)
        session.bind_inputs(self._shared)
        if part == "forward":  # auxiliary states are updated in place, as an Executor does
            new = program.outputs_of(Role.NEXT_STATE)
            session.bind_outputs({p.name: self._shared[p.of] for p in new if p.of in self._shared})
        self._sessions[part] = session
        return session
