"""An executor: one symbol with one set of shapes, bound to arrays, compiled once for each mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.compiler import (
    CompilerOptions,
    MetricSpec,
    Program,
    TrainingPrograms,
    compile_inference,
    compile_training,
    output_names,
)
from symbucket.context import Context
from symbucket.errors import DataError, InvalidArgumentError, ShapeError, StateError
from symbucket.runtime.accumulate import Accumulator
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session
from symbucket.symbol.bounds import input_bounds
from symbucket.symbol.infer import infer_shapes
from symbucket.symbol.symbol import Symbol


class Executor:
    """Runs a symbol over its arrays.

    ``arg_dict``, ``grad_dict`` and ``aux_dict`` map names to NDArrays; write into them with
    ``arg_dict["data"][:] = x``. Arrays may be shared with other executors: a parameter that one of
    them (or an optimizer) updates is updated for all.

    A training step runs forward and backward in one session where the outputs are losses; then
    gradients are there after ``forward(is_train=True)`` already. Where ``backward`` needs head
    gradients, the step is cut in two sessions that share a stash of activations.
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
    ) -> None:
        self.symbol = symbol
        self.context = context
        self.name = name
        self.arg_dict = dict(args)
        self.grad_dict = dict(grads)
        self.aux_dict = dict(aux)
        self.grad_req = dict(grad_req)
        self.options = options or CompilerOptions()
        self.builds: Counter[str] = Counter()
        self._names = output_names(symbol)
        self._shapes = {n: a.shape for n, a in [*self.arg_dict.items(), *self.aux_dict.items()]}
        self._dtypes = {n: a.dtype for n, a in [*self.arg_dict.items(), *self.aux_dict.items()]}
        nodes = symbol.nodes()
        self._bounds = input_bounds(nodes, infer_shapes(nodes, self._shapes))
        self._sessions: dict[tuple[str, tuple[MetricSpec, ...]], Session] = {}
        self._training: dict[tuple[MetricSpec, ...], TrainingPrograms] = {}
        self._buffers: dict[str, NDArray] = {}
        self._accumulator: Accumulator | None = None
        self._checked: set[str] = set()
        self._ran = ""
        self._metrics: tuple[MetricSpec, ...] = ()  # of the last run

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
        """The outputs of the last forward; the next one writes into the same arrays."""
        if not self._ran:
            raise StateError(f"{self.name}: no outputs yet; call forward first")
        if self._metrics:
            raise StateError(
                f"{self.name}: the last step returned the metric's sums only, no outputs. Set "
                "keep_outputs = True on the module to have them in fit and score."
            )
        return [self._buffers[n] for n in self._names]

    @property
    def output_dict(self) -> dict[str, NDArray]:
        """The outputs by name; a suffix tells apart outputs of one name."""
        listed = self.symbol.list_outputs()
        unique = len(set(listed)) == len(listed)
        return dict(zip(listed if unique else self._names, self.outputs))

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
        self._run(is_train, ())
        return self.outputs

    def measure(self, is_train: bool, metrics: Sequence[MetricSpec]) -> dict[str, float]:
        """Run the symbol for sums over the batch instead of outputs, which are not kept.

        Gives ``name.total`` and ``name.count`` of every metric. In training gradients are computed
        as by ``forward``.
        """
        self._run(is_train, tuple(metrics))
        sums = [f"{m.name}.{part}" for m in metrics for part in ("total", "count")]
        return {name: float(self._buffers[name].asscalar()) for name in sums}

    def _run(self, is_train: bool, metrics: tuple[MetricSpec, ...]) -> None:
        self._check_bounds()
        if not is_train:
            part = "inference"
        else:
            part = "step" if self._programs(metrics).step is not None else "forward"
        self._session(part, metrics).run()
        self._ran = "inference" if part == "inference" else "training"
        self._metrics = metrics

    def backward(self, out_grads: Any = None) -> None:
        """Put the gradients of the last ``forward(is_train=True)`` into ``grad_dict``.

        Args:
            out_grads: head gradients: one array, or a list with one for every output (None for
                outputs that are losses). May be left out where all outputs are losses.
        """
        if self._ran != "training":
            raise StateError(f"{self.name}: backward needs forward(is_train=True) before it")
        programs = self._programs(self._metrics)
        if programs.backward is not None:
            session = self._session("backward", self._metrics)
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
            ready.append((self._buffer(f"{name}.head", head.shape, output.dtype), head))
        for buffer, head in ready:
            buffer[...] = head

    # Building --------------------------------------------------------------------------------

    def inference_program(self, metrics: Sequence[MetricSpec] = ()) -> Program:
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
        )

    def _programs(self, metrics: tuple[MetricSpec, ...] = ()) -> TrainingPrograms:
        found = self._training.get(metrics)
        if found is None:
            wanted = [n for n, req in self.grad_req.items() if req != "null"]
            found = compile_training(
                self.symbol,
                self._shapes,
                self._dtypes,
                wanted,
                f"{self.name} training",
                () if metrics else None,
                metrics,
                self.options,
            )
            self.builds["training"] += 1
            self._training[metrics] = found
        return found

    def _session(self, part: str, metrics: tuple[MetricSpec, ...] = ()) -> Session:
        found = self._sessions.get((part, metrics))
        if found is None:
            if part == "inference":
                program = self.inference_program(metrics)
            else:
                program = getattr(self._programs(metrics), part)
            found = self._sessions[part, metrics] = self._bind(program, part)
        return found

    def _bind(self, program: Program, part: str) -> Session:
        session = Session(program.model, self.context, f"{self.name} {part}")
        own = {**self.arg_dict, **self.aux_dict}
        for tensor in program.inputs:
            if tensor.name not in own:
                own[tensor.name] = self._buffer(tensor.name, tensor.shape, tensor.dtype)
        session.bind_inputs(own)
        adding: list[tuple[NDArray, NDArray]] = []
        results: dict[str, NDArray] = {}
        for tensor in program.outputs:
            name, kind = tensor.name, ""
            if part != "inference" and name not in self._names:
                name, _, kind = tensor.name.rpartition(".")
            if kind == "new":
                results[tensor.name] = self.aux_dict[name]
            elif kind == "grad" and self.grad_req[name] == "write":
                results[tensor.name] = self.grad_dict[name]
            else:
                results[tensor.name] = self._buffer(tensor.name, tensor.shape, tensor.dtype)
                if kind == "grad":
                    adding.append((self.grad_dict[name], results[tensor.name]))
        session.bind_outputs(results)
        if adding:
            self._accumulator = Accumulator(adding, self.context, f"{self.name} add")
        return session

    def _buffer(self, name: str, shape: Sequence[int], dtype: Any) -> NDArray:
        found = self._buffers.get(name)
        if found is None:
            found = self._buffers[name] = NDArray.empty(shape, dtype, self.context)
        return found

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
