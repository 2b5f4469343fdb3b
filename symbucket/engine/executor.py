"""An executor: one symbol with one set of shapes, bound to arrays, compiled once for each mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbucket.compiler import (
    CompilerOptions,
    Port,
    Program,
    Role,
    TrainingPrograms,
    compile_inference,
    compile_training,
    output_names,
)
from symbucket.compiler.memory.pool_plan import NODE, SESSION
from symbucket.context import Context
from symbucket.engine.accumulate import Accumulator
from symbucket.engine.target import target_of
from symbucket.errors import DataError, InvalidArgumentError, ShapeError, StateError
from symbucket.metric import GraphMetric
from symbucket.runtime import RowSparse
from symbucket.runtime.buffers import BACKWARD, OUTPUTS, STASH, Buffers, Pool
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session
from symbucket.symbol.bounds import input_bounds
from symbucket.symbol.infer import infer_shapes
from symbucket.symbol.symbol import Symbol


@dataclass(frozen=True)
class _Request:
    """What a run returns: all outputs, or the sums of metrics; and how gradients come."""

    metrics: tuple[GraphMetric, ...] = ()
    row_sparse: frozenset[str] = frozenset()


_OUTPUTS = _Request()


class Executor:
    """Runs a symbol over its arrays.

    ``arg_dict``, ``grad_dict`` and ``aux_dict`` map names to NDArrays; write into them with
    ``arg_dict["data"][:] = x``. Arrays may be shared with other executors: a parameter that one of
    them (or an optimizer) updates is updated for all.

    A training step runs forward and backward in one session where the outputs are losses; then
    gradients are there after ``forward(is_train=True)`` already. Where ``backward`` needs head
    gradients, the step is cut in two sessions that share a stash of activations.

    Executors that are given one ``pool`` lay their outputs and step buffers over each other: what
    a run leaves is valid until another of them runs (see ``symbucket.runtime.buffers``).
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
    ) -> None:
        self.symbol = symbol
        self.context = context
        self.name = name
        self.arg_dict = dict(args)
        self.grad_dict = dict(grads)
        self.aux_dict = dict(aux)
        self.grad_req = dict(grad_req)
        self.options = options or CompilerOptions()
        self._target = target_of(context)
        self.builds: Counter[str] = Counter()
        self._names = output_names(symbol)
        self._shapes = {n: a.shape for n, a in [*self.arg_dict.items(), *self.aux_dict.items()]}
        self._dtypes = {n: a.dtype for n, a in [*self.arg_dict.items(), *self.aux_dict.items()]}
        nodes = symbol.nodes()
        self._bounds = input_bounds(nodes, infer_shapes(nodes, self._shapes))
        self._sessions: dict[tuple[str, _Request], Session] = {}
        self._training: dict[_Request, TrainingPrograms] = {}
        self._buffers = Buffers(context, pool)
        self._accumulator: Accumulator | None = None
        self._adding: list[str] = []
        self._session_bytes = 0
        if pool is not None:
            pool.join(self)
        self._checked: set[str] = set()
        self._ran = ""
        self._request = _OUTPUTS  # of the last run

    # Arrays ----------------------------------------------------------------------------------

    @property
    def arg_arrays(self) -> list[NDArray]:
        """Arguments in the order of ``list_arguments``."""
        return [self.arg_dict[n] for n in self.symbol.list_arguments()]

    @property
    def grad_arrays(self) -> list[NDArray | None]:
        """Gradients in the order of ``list_arguments``; None where grad_req is "null"."""
        return [self.grad_dict.get(n) for n in self.symbol.list_arguments()]

    @property
    def aux_arrays(self) -> list[NDArray]:
        """Auxiliary states in the order of ``list_auxiliary_states``."""
        return [self.aux_dict[n] for n in self.symbol.list_auxiliary_states()]

    @property
    def outputs(self) -> list[NDArray]:
        """The outputs of the last forward; the next one writes into the same memory."""
        if not self._ran:
            raise StateError(f"{self.name}: no outputs yet; call forward first")
        if self._request.metrics:
            raise StateError(
                f"{self.name}: the last step returned the metric's sums only, no outputs. Set "
                "keep_outputs = True on the module to have them in fit and score."
            )
        self._require_contents(OUTPUTS, "outputs", "forward")
        return [self._buffers[n] for n in self._names]

    @property
    def output_dict(self) -> dict[str, NDArray]:
        """The outputs by name; a suffix tells apart outputs of one name."""
        listed = self.symbol.list_outputs()
        unique = len(set(listed)) == len(listed)
        return dict(zip(listed if unique else self._names, self.outputs))

    def _require_contents(self, group: str, what: str, call: str) -> None:
        if not self._buffers.holds(group):
            raise StateError(
                f"{self.name}: the {what} of its last run are gone: another network of the module "
                f"ran since, in the same memory. Call {call} again, or copy what you need before."
            )

    def feed(self, data: Mapping[str, Any]) -> None:
        """Copy arrays into arguments by name; all are checked before the first is written."""
        ready: list[tuple[NDArray, Any]] = []
        for name, values in data.items():
            target = self.arg_dict.get(name)
            if target is None:
                raise InvalidArgumentError(
                    f"{self.name}: the symbol has no argument {name!r}; it has "
                    f"{', '.join(self.arg_dict)}"
                )
            try:
                array = values.view() if isinstance(values, NDArray) else np.asarray(values)
            except ValueError as error:
                raise DataError(f"{self.name}: {name} is no array: {error}") from None
            if array.shape != target.shape:
                raise ShapeError(
                    f"{self.name}: {name} has shape {array.shape}, it is bound with {target.shape}"
                )
            if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
                raise DataError(f"{self.name}: {name} has dtype {array.dtype}, not numbers")
            for bounds in self._bounds:
                if bounds.name == name:
                    bounds.check(array, self.name)
            ready.append((target, array))
        for target, array in ready:
            target[...] = array
        self._checked.update(data)

    def _check_bounds(self) -> None:
        """Labels and row numbers that were written into ``arg_dict`` and not through ``feed``."""
        for bounds in self._bounds:
            if bounds.name not in self._checked:
                bounds.check(self.arg_dict[bounds.name].view(), self.name)
        self._checked.clear()

    def copy_params_from(
        self,
        arg_params: Mapping[str, Any],
        aux_params: Mapping[str, Any] | None = None,
        allow_extra_params: bool = False,
    ) -> None:
        """Copy parameters (and auxiliary states) by name; checked before any is written."""
        ready = []
        for kind, given, own in (
            ("argument", arg_params, self.arg_dict),
            ("auxiliary state", aux_params or {}, self.aux_dict),
        ):
            for name, values in given.items():
                if name not in own:
                    if allow_extra_params:
                        continue
                    raise InvalidArgumentError(f"{self.name}: there is no {kind} {name!r}")
                array = np.asarray(values)
                if array.shape != own[name].shape:
                    raise ShapeError(
                        f"{self.name}: {kind} {name!r} has shape {own[name].shape}, not "
                        f"{array.shape}"
                    )
                ready.append((own[name], array))
        for target, array in ready:
            target[...] = array

    # Running ---------------------------------------------------------------------------------

    def forward(self, is_train: bool = False, **data: Any) -> list[NDArray]:
        """Run the symbol; keyword arguments are copied into the arguments of those names first."""
        self.feed(data)
        self._run(is_train, _OUTPUTS)
        return self.outputs

    def measure(
        self, is_train: bool, metrics: Sequence[GraphMetric], row_sparse: Iterable[str] = ()
    ) -> dict[str, float]:
        """Run the symbol for sums over the batch instead of outputs, which are not kept.

        Gives ``name.total`` and ``name.count`` of every metric. In training gradients are computed
        as by ``forward``; those named in ``row_sparse`` may come in ``row_gradients`` instead.
        """
        request = _Request(tuple(metrics), frozenset(row_sparse if is_train else ()))
        self._run(is_train, request)
        sums = [name for m in metrics for name in (m.total_name, m.count_name)]
        return {name: float(self._buffers[name].asscalar()) for name in sums}

    @property
    def row_gradients(self) -> dict[str, RowSparse]:
        """The gradients of the last run that came by rows; ``grad_dict`` has the others."""
        found = {}
        if self._ran == "training":
            if self._request.row_sparse:
                self._require_contents(STASH, "gradients", "forward(is_train=True)")
            for name in self._request.row_sparse:
                rows = self._buffers.get(Role.ROWS.tensor_name(name))
                if rows is not None:
                    found[name] = RowSparse(rows, self._buffers[Role.VALUES.tensor_name(name)])
        return found

    def _run(self, is_train: bool, request: _Request) -> None:
        self._check_bounds()
        if not is_train:
            part = "inference"
        else:
            part = "step" if self._programs(request).step is not None else "forward"
        session = self._session(part, request)
        self._buffers.claim(*((OUTPUTS,) if part == "inference" else (OUTPUTS, STASH)))
        session.run()
        self._ran = "inference" if part == "inference" else "training"
        self._request = request

    def backward(self, out_grads: Any = None) -> None:
        """Put the gradients of the last ``forward(is_train=True)`` into ``grad_dict``.

        Args:
            out_grads: head gradients: one array, or a list with one for every output (None for
                outputs that are losses). May be left out where all outputs are losses.
        """
        if self._ran != "training":
            raise StateError(f"{self.name}: backward needs forward(is_train=True) before it")
        self._require_contents(STASH, "activations", "forward(is_train=True)")
        programs = self._programs(self._request)
        if programs.backward is not None:
            session = self._session("backward", self._request)
            self._set_heads(programs, out_grads)
            session.run()
        if self._accumulator is not None:
            self._accumulator.run()

    def _set_heads(self, programs: TrainingPrograms, out_grads: Any) -> None:
        given: list[Any]
        if isinstance(out_grads, (list, tuple)):
            given = list(out_grads)
        else:
            given = [] if out_grads is None else [out_grads]
        if given and len(given) != len(self._names):
            raise InvalidArgumentError(
                f"{self.name}: {len(given)} head gradients for {len(self._names)} outputs "
                f"({', '.join(self._names)}); give None for outputs that are losses"
            )
        by_name = dict(zip(self._names, given))
        missing = [n for n in programs.heads if by_name.get(n) is None]
        if missing:
            raise InvalidArgumentError(
                f"{self.name}: backward needs head gradients (out_grads) for outputs that are not "
                f"losses: {', '.join(missing)}"
            )
        ready = []
        for name in programs.heads:
            head, output = np.asarray(by_name[name]), self._buffers[name]
            if head.shape != output.shape:
                raise ShapeError(
                    f"{self.name}: the head gradient of {name} has shape {head.shape}, the output "
                    f"{output.shape}"
                )
            ready.append((self._buffers[Role.HEAD.tensor_name(name)], head))
        for buffer, head in ready:
            buffer[...] = head

    # Building --------------------------------------------------------------------------------

    def inference_program(self, metrics: Sequence[GraphMetric] = ()) -> Program:
        """Compile the inference model (a fresh one at each call)."""
        self.builds["inference"] += 1
        return compile_inference(
            self.symbol,
            self._shapes,
            self._dtypes,
            f"{self.name} inference",
            () if metrics else None,
            metrics,
            self.options,
            self._target,
        )

    def _programs(self, request: _Request) -> TrainingPrograms:
        found = self._training.get(request)
        if found is None:
            wanted = [n for n, req in self.grad_req.items() if req != "null"]
            found = compile_training(
                self.symbol,
                self._shapes,
                self._dtypes,
                wanted,
                f"{self.name} training",
                () if request.metrics else None,
                request.metrics,
                self.options,
                [n for n in request.row_sparse if self.grad_req.get(n) == "write"],
                self._target,
            )
            self.builds["training"] += 1
            self._training[request] = found
        return found

    def _session(self, part: str, request: _Request) -> Session:
        found = self._sessions.get((part, request))
        if found is None:
            if part == "inference":
                found = self._bind(self.inference_program(request.metrics), part)
            else:
                programs = self._programs(request)
                program = getattr(programs, part)
                found = self._bind(program, part)
                # The session has the model now; who wants to see it compiles it again.
                spent = replace(program, model=b"", plan=None)
                self._training[request] = replace(programs, **{part: spent})
            self._sessions[part, request] = found
        return found

    def _bind(self, program: Program, part: str) -> Session:
        plan = program.plan
        session = Session(
            program.model, self.context, f"{self.name} {part}", 0 if plan is None else plan.arena
        )
        self._session_bytes += SESSION + (0 if plan is None else NODE * plan.nodes)
        own = {**self.arg_dict, **self.aux_dict}
        buffered: dict[str, list[Port]] = {OUTPUTS: [], STASH: [], BACKWARD: []}
        for port in program.inputs:
            if port.role not in (Role.ARGUMENT, Role.STATE):
                buffered[BACKWARD if part == "backward" else STASH].append(port)
        results: dict[str, NDArray] = {}
        for port in program.outputs:
            if port.role is Role.NEXT_STATE:
                results[port.name] = self.aux_dict[port.of]
            elif port.role is Role.GRAD and self.grad_req[port.of] == "write":
                results[port.name] = self.grad_dict[port.of]
            else:
                kept = port.role in (Role.GRAD, Role.ROWS, Role.VALUES, Role.STASH)
                group = BACKWARD if part == "backward" else STASH if kept else OUTPUTS
                buffered[group].append(port)
                if port.role is Role.GRAD and port.of not in self._adding:
                    self._adding.append(port.of)
        moved = [
            self._buffers.ensure(group, [(p.name, p.shape, p.dtype) for p in ports], self)
            for group, ports in buffered.items()
        ]
        session.bind_inputs({**self._buffers.arrays, **own})
        session.bind_outputs({**self._buffers.arrays, **results})
        if any(moved):
            self._rebind()
        self._accumulate()
        return session

    def _rebind(self) -> None:
        """Bind all sessions to the buffers as they are now."""
        for session in self._sessions.values():
            session.bind_inputs(self._buffers.arrays)
            session.bind_outputs(self._buffers.arrays)

    def _accumulate(self) -> None:
        """Bind the sum over gradients with grad_req "add" to the buffers as they are now."""
        if self._adding:
            pairs = [
                (self.grad_dict[n], self._buffers[Role.GRAD.tensor_name(n)]) for n in self._adding
            ]
            self._accumulator = Accumulator(pairs, self.context, f"{self.name} add")

    def buffers_moved(self, group: str) -> None:
        """The pool has new memory for a group of buffers: use it from now on."""
        self._buffers.remake(group)
        self._rebind()
        self._accumulate()

    @property
    def nbytes(self) -> int:
        """An estimate of what this executor keeps beside the arrays that it was given: sessions,
        and buffers where it has no pool.
        """
        return self._session_bytes + self._buffers.nbytes

    def reshape(
        self, partial_shaping: bool = False, allow_up_sizing: bool = True, **shapes: Sequence[int]
    ) -> Executor:
        """A new executor for other input shapes that shares all arrays whose shape stays.

        The two flags are MXNet's; every change of shape is allowed here.
        """
        names = self.symbol.list_arguments()
        arg_shapes, _, aux_shapes = self.symbol.infer_shape(**shapes)
        args, grads = {}, {}
        for name, shape in zip(names, arg_shapes):
            old = self.arg_dict[name]
            args[name] = old if old.shape == shape else self._like(old, shape)
            if name in self.grad_dict:
                grad = self.grad_dict[name]
                grads[name] = grad if grad.shape == shape else self._like(grad, shape)
        aux = {}
        for name, shape in zip(self.symbol.list_auxiliary_states(), aux_shapes):
            old = self.aux_dict[name]
            aux[name] = old if old.shape == shape else self._like(old, shape)
        return Executor(
            self.symbol, self.context, args, grads, self.grad_req, aux, self.name, self.options
        )

    def _like(self, array: NDArray, shape: Iterable[int]) -> NDArray:
        return NDArray.zeros(tuple(shape), array.dtype, self.context)
