"""An executor: one symbol with one set of shapes, bound to arrays, compiled once for each mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.compiler import CompilerOptions, Port, Program, Role, TrainingPrograms
from symbucket.context import Context
from symbucket.engine.accumulate import Accumulator
from symbucket.engine.bound_arrays import BoundArrays
from symbucket.engine.buffer_groups import buffer_group
from symbucket.engine.device_copy import DeviceCopy
from symbucket.engine.finite import first_failure
from symbucket.engine.inner_values import InnerValues
from symbucket.engine.noise import NoiseClock, lone_clock
from symbucket.engine.programs import (
    ALL_OUTPUTS,
    NO_BATCH,
    NetworkPrograms,
    Part,
    RunRequest,
)
from symbucket.engine.reshape import reshaped
from symbucket.engine.runner import PortArrays, Runner
from symbucket.errors import InvalidArgumentError, ShapeError, StateError
from symbucket.metric import GraphMetric
from symbucket.runtime import RowSparse
from symbucket.runtime.buffers import BACKWARD, OUTPUTS, STASH, Buffers, Pool
from symbucket.runtime.hidden_nan import refuse_nan
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.noise import NoiseKey
from symbucket.runtime.providers import provider_of
from symbucket.symbol.symbol import Symbol


class Executor(BoundArrays):
    """Runs a symbol over its arrays.

    A training step runs forward and backward in one session if the outputs are losses. If
    ``backward`` needs head gradients, the step is split in two sessions that share a stash of
    activations. Auxiliary states change in ``backward``.

    An executor with a pool, as modules have, writes gradients of losses where they belong in
    ``forward(is_train=True)`` already; without one they stay as they are until ``backward``, and
    ``outputs`` exist before the first run.

    Args:
        symbol: the network.
        context: where it runs.
        args, grads, aux: arrays by name; gradients of arguments whose ``grad_req`` is not "null".
        grad_req: "write", "add" or "null" for every argument.
        name: how messages call it.
        options: of the compiler.
        pool: memory for outputs and step buffers, which executors with the same pool share: what a
            run leaves is valid until another of them runs (see ``symbucket.runtime.buffers``).
        checks_inputs: whether a run checks labels and row numbers that were not written by
            ``feed`` or ``write``.
        noise_clock: counts runs, for random numbers; None: a clock of this executor alone.
        as_inference: a training step differentiates what inference computes.
        batch_axes: the batch axis of each argument that has one; then a step may run in shards.
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
        as_inference: bool = False,
        *,
        batch_axes: Mapping[str, int] = NO_BATCH,
    ) -> None:
        super().__init__(symbol, context, args, grads, grad_req, aux, name, options)
        differentiated = [n for n, request in self.grad_req.items() if request != "null"]
        self.programs = NetworkPrograms(
            symbol,
            context,
            self.types,
            differentiated,
            name,
            self.options,
            as_inference,
            batch_axes,
        )
        """What is compiled for it."""
        self.buffers = Buffers(context, pool)
        """Outputs, the stash, and other arrays of a step, by the names of their ports."""
        self._pooled = pool is not None
        if pool is not None:
            pool.join(self)
        self._inner = InnerValues(self)
        self._as_inference: Executor | None = None  # runs again what ran as inference
        self._checks_inputs = checks_inputs
        self._noise_clock = noise_clock or lone_clock(symbol)
        self._runners: dict[tuple[Part, RunRequest], Runner] = {}
        self._added = [n for n in differentiated if self.grad_req[n] == "add"]
        self._accumulator: Accumulator | None = None
        self._state_copy: DeviceCopy | None = None  # on devices whose memory is not the host's
        self._bound_buffers: Mapping[str, NDArray] = {}  # those that all programs are bound to
        # Of the last run.
        self._began = False
        self._ran = False
        self._trained = False
        self._request = ALL_OUTPUTS
        self._by_rows: dict[RunRequest, list[str]] = {}
        self._noise_key: NoiseKey = ()

    @property
    def builds(self) -> Counter[str]:
        return self.programs.builds

    @property
    def outputs(self) -> list[NDArray]:
        if not self._ran:
            if self._began or self._pooled:
                raise StateError(f"{self.name}: no outputs yet; call forward first")
            self._make_outputs()
        if self._request.metrics:
            raise StateError(
                f"{self.name}: the last step returned the metric's sums only, no outputs. Set "
                "keep_outputs = True on the module to have them in fit and score."
            )
        self._require_contents(OUTPUTS, "outputs", "forward")
        return [self.buffers[n] for n in self.unique_output_names]

    @property
    def outputs_by_context(self) -> list[list[NDArray]]:
        return [[output] for output in self.outputs]

    def _make_outputs(self) -> None:
        """Allocate the arrays that later runs write."""
        specs = [(n, *type_) for n, type_ in self.output_types.items()]
        fresh = [spec for spec in specs if spec[0] not in self.buffers]
        self.buffers.ensure(OUTPUTS, fresh)
        for name, _, _ in fresh:
            self.buffers[name][...] = 0

    def _require_contents(self, group: str, what: str, call: str) -> None:
        if not self.buffers.holds(group):
            raise StateError(
                f"{self.name}: the {what} of its last run are gone: another network of the module "
                f"ran since, in the same memory. Call {call} again, or copy what you need before."
            )

    # Running ---------------------------------------------------------------------------------

    def forward(self, is_train: bool = False, **data: Any) -> list[NDArray]:
        if data:
            self.feed(data, is_train)
        self._run(is_train, ALL_OUTPUTS)
        self.tell_watchers(is_train)
        return self.outputs

    def tell_watchers(self, is_train: bool) -> None:
        """Let those who watch see the values of the last run."""
        watchers = [watcher for watcher in self.watchers if watcher.activated]
        if watchers:
            self._inner.show(watchers, is_train, self._noise_key)

    def run(self, is_train: bool, noise_key: NoiseKey) -> None:
        """Run with the random numbers of another run."""
        self._run(is_train, ALL_OUTPUTS, noise_key)

    def sibling(self, symbol: Symbol, as_inference: bool = False) -> Executor:
        """Return an executor of a symbol over this one's arrays.

        It has gradients if it is to differentiate what inference computes.
        """
        requests = self.grad_req if as_inference else dict.fromkeys(self.grad_req, "null")
        return Executor(
            symbol,
            self.context,
            self.arg_dict,
            self.grads if as_inference else {},
            requests,
            self.aux_dict,
            self.name,
            self.options,
            checks_inputs=False,
            as_inference=as_inference,
        )

    def measure(
        self, is_train: bool, metrics: Sequence[GraphMetric], row_sparse: Iterable[str] = ()
    ) -> dict[str, float]:
        rows = [n for n in row_sparse if is_train and self.grad_req.get(n) == "write"]
        request = RunRequest(tuple(metrics), frozenset(rows))
        if request == self._request:
            request = self._request  # finds programs faster than one that is only equal
        self._run(is_train, request)
        names = [name for m in metrics for name in (m.total_name, m.count_name)]
        return {name: float(self.buffers[name].asscalar()) for name in names}

    def _run(self, is_train: bool, request: RunRequest, noise_key: NoiseKey | None = None) -> None:
        if self._checks_inputs:
            self._check_bounds(is_train)
        part: Part = "inference"
        if is_train:
            part = "forward" if self.programs.training(request).step is None else "step"
        runner = self._runner(part, request)
        for name in runner.hiding_nan:
            refuse_nan(self.arg_dict[name].view(), name, self.name)
        # A run that does not end leaves nothing to read, and does not count.
        self._began, self._ran, self._trained = True, False, False
        self.buffers.claim(*((OUTPUTS, STASH) if is_train else (OUTPUTS,)))
        self._noise_key = noise_key or self._noise_clock.next_key(self.name, is_train)
        if runner.noise:
            runner.draw_noise(self._noise_key)
        runner.run()
        self._noise_clock.tick(is_train)
        self._ran, self._trained, self._request = True, is_train, request

    @property
    def row_gradients(self) -> dict[str, RowSparse]:
        gradients = {}
        if self._trained and self._request.row_sparse:
            self._require_contents(STASH, "gradients", "forward(is_train=True)")
            for name in self._names_by_rows(self._request):
                rows = self.buffers[Role.ROWS.tensor_name(name)]
                gradients[name] = RowSparse(rows, self.buffers[Role.VALUES.tensor_name(name)])
        return gradients

    def _names_by_rows(self, request: RunRequest) -> list[str]:
        """Return the parameters whose gradients the step of a request returns by rows."""
        names = self._by_rows.get(request)
        if names is None:
            step = self.programs.training(request).step
            ports = () if step is None else step.outputs
            names = [port.of for port in ports if port.role is Role.ROWS]
            self._by_rows[request] = names
        return names

    def backward(self, out_grads: Any = None, is_train: bool = True) -> None:
        if not self._ran:
            self.forward(is_train=True)  # MXNet has outputs from bind on, whatever they hold
        if not self._trained:
            self._differentiate_inference(out_grads)
            return
        self._require_contents(STASH, "activations", "forward(is_train=True)")
        programs = self.programs.training(self._request)
        if programs.backward is not None:
            runner = self._runner("backward", self._request)
            self._write_heads(programs, self._head_list(out_grads))
            runner.run()
        elif not self._pooled:
            for name, grad in self._written.items():
                grad[...] = self.buffers[Role.GRAD.tensor_name(name)]
        if self._accumulator is not None:
            self._accumulator.run()
        self._take_states()

    def _take_states(self) -> None:
        """Let the auxiliary states be those that the last training step has computed."""
        next_states = [
            (state, self.buffers.get(Role.NEXT_STATE.tensor_name(name)))
            for name, state in self.aux_dict.items()
        ]
        pairs = [(state, new) for state, new in next_states if new is not None]
        if not pairs or provider_of(self.context).host_memory:
            for state, new in pairs:
                state[...] = new
            return
        if self._state_copy is None:
            self._state_copy = DeviceCopy(pairs, self.context, f"{self.name} states")
        self._state_copy.run()

    def _differentiate_inference(self, out_grads: Any) -> None:
        """Compute the gradients of what the last run, as inference, has computed."""
        if self._as_inference is None:
            self._as_inference = self.sibling(self.symbol, as_inference=True)
        self._as_inference.run(True, self._noise_key)
        self._as_inference.backward(out_grads)

    def _write_heads(self, programs: TrainingPrograms, out_grads: list[Any]) -> None:
        heads = dict(zip(self.unique_output_names, out_grads))
        missing = [n for n in programs.heads if heads[n] is None]
        if missing:
            raise InvalidArgumentError(
                f"{self.name}: backward needs head gradients (out_grads) for outputs that are not "
                f"losses: {', '.join(missing)}"
            )
        writes = []
        for name in programs.heads:
            head, output = np.asarray(heads[name]), self.buffers[name]
            if head.shape != output.shape:
                raise ShapeError(
                    f"{self.name}: the head gradient of {name} has shape {head.shape}, the output "
                    f"{output.shape}"
                )
            writes.append((self.buffers[Role.HEAD.tensor_name(name)], head))
        for buffer, head in writes:
            buffer[...] = head

    def first_failure(self) -> str | None:
        """Return the first node of the last training step that gives NaN or infinity, in words.

        The step is compiled and run again, with all its values as outputs. Auxiliary states and
        the noise clock must be as they were before it; None if nothing was found.
        """
        program = self.programs.whole_step(self._request)
        if program is None:
            return None
        key = self._noise_clock.next_key(self.name, True)
        return first_failure(program, self._arrays("step"), key, self.context)

    # Building --------------------------------------------------------------------------------

    def inference_program(self, metrics: Sequence[GraphMetric] = ()) -> Program:
        """Compile the inference program (a new one at each call)."""
        return self.programs.inference(RunRequest(tuple(metrics)))

    @property
    def _written(self) -> dict[str, NDArray]:
        """The gradients that each backward writes anew."""
        return {n: a for n, a in self.grads.items() if self.grad_req[n] == "write"}

    def _arrays(self, part: Part) -> PortArrays:
        """Return what a program is bound to."""
        grads = self._written if self._pooled or part == "backward" else {}
        arrays = self.buffers.arrays
        return PortArrays(self.arg_dict, self.aux_dict, grads, arrays, in_place=False)

    def _runner(self, part: Part, request: RunRequest) -> Runner:
        """Return the bound runner of a program; it is built if it is new."""
        runner = self._runners.get((part, request))
        self.buffers.refresh()
        if runner is None:
            runner = self.programs.runner(part, request)
            self._allocate(runner, part)
            runner.bind(self._arrays(part))
            self._runners[part, request] = runner
            self.programs.release(part, request)
        if self._bound_buffers is not self.buffers.arrays:
            self._bind_all()
        return runner

    def _allocate(self, runner: Runner, part: Part) -> None:
        """Allocate what a program needs besides the given arrays."""
        groups: dict[str, list[Port]] = {OUTPUTS: [], STASH: [], BACKWARD: []}
        for port in runner.unbound(self._arrays(part)):
            groups[buffer_group(port, part)].append(port)
        for group, ports in groups.items():
            self.buffers.ensure(group, [(p.name, p.shape, p.dtype) for p in ports])
        parts = self._gradient_parts()
        if self._accumulator is None and parts:
            self._accumulator = Accumulator(parts, self.context, f"{self.name} add")

    def _gradient_parts(self) -> list[tuple[NDArray, NDArray]]:
        """Return the gradients that are added up, each with the part to add."""
        parts = [(n, self.buffers.get(Role.GRAD.tensor_name(n))) for n in self._added]
        return [(self.grads[n], part) for n, part in parts if part is not None]

    def _bind_all(self) -> None:
        """Bind all programs to the buffers as they are now."""
        for (part, _), runner in self._runners.items():
            runner.bind(self._arrays(part))
        if self._accumulator is not None:
            self._accumulator.bind(self._gradient_parts())
        self._bound_buffers = self.buffers.arrays

    def release_buffers(self, group: str) -> None:
        """Drop the arrays of a group, whose memory was replaced; ``_runner`` makes new ones."""
        if not self.buffers.release(group):
            return
        for runner in self._runners.values():
            runner.release()
        if self._accumulator is not None:
            self._accumulator.release()

    @property
    def nbytes(self) -> int:
        return sum(r.nbytes for r in self._runners.values()) + self.buffers.nbytes

    def reshape(
        self, partial_shaping: bool = False, allow_up_sizing: bool = True, **kwargs: Sequence[int]
    ) -> Executor:
        """Return an executor for other input shapes, over the same arrays.

        An array that shrinks is the beginning of the old one's memory, as are outputs; one that
        grows is new and zero.

        The two flags are MXNet's; every change of shape is allowed here.
        """
        return reshaped(self, kwargs)
