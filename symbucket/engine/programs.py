"""The programs of a symbol with fixed shapes, compiled when they are first needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from symbucket.compiler import (
    CompilerOptions,
    Program,
    TrainingPrograms,
    compile_inference,
    compile_training,
    forget_network,
)
from symbucket.context import Context
from symbucket.engine.runner import Runner
from symbucket.metric import GraphMetric
from symbucket.runtime.target import target_of
from symbucket.stopwatch import timed
from symbucket.symbol.symbol import Symbol
from symbucket.types import DType, Shape

Part = Literal["inference", "step", "forward", "backward"]


@dataclass(frozen=True)
class RunRequest:
    """Selection of what a run returns.

    Attributes:
        metrics: the sums to return in place of all outputs; none: the outputs.
        row_sparse: parameters whose gradients may come as rows and values.
    """

    metrics: tuple[GraphMetric, ...] = ()
    row_sparse: frozenset[str] = frozenset()


ALL_OUTPUTS = RunRequest()

NO_BATCH: Mapping[str, int] = MappingProxyType({})
"""Batch axes of a network that runs its batches as a whole."""


class NetworkPrograms:
    """Compiles a symbol for inference and for training, each once for each request.

    Args:
        symbol: the network.
        context: where the programs run.
        types: (shape, dtype) of its variables by name.
        gradients: the arguments to differentiate by.
        name: how messages call it.
        options: of the compiler.
        as_inference: training programs differentiate what inference computes.
        batch_axes: the batch axis of each variable that has one; then a step may run in shards.
    """

    def __init__(
        self,
        symbol: Symbol,
        context: Context,
        types: Mapping[str, tuple[Shape, DType]],
        gradients: Collection[str],
        name: str,
        options: CompilerOptions,
        as_inference: bool = False,
        batch_axes: Mapping[str, int] = NO_BATCH,
    ) -> None:
        self.builds: Counter[str] = Counter()
        """How often models were compiled, by kind ("training", "inference")."""
        self._symbol = symbol
        self._context = context
        self._shapes = {n: shape for n, (shape, _) in types.items()}
        self._dtypes = {n: dtype for n, (_, dtype) in types.items()}
        self._gradients = list(gradients)
        self._name = name
        self._options = options
        self._as_inference = as_inference
        self._batch_axes = batch_axes
        self._target = target_of(context)
        self._training: dict[RunRequest, TrainingPrograms] = {}

    def inference(self, request: RunRequest = ALL_OUTPUTS) -> Program:
        """Compile the inference program (a new one at each call)."""
        self.builds["inference"] += 1
        return compile_inference(
            self._symbol,
            self._shapes,
            self._dtypes,
            f"{self._name} inference",
            () if request.metrics else None,
            request.metrics,
            self._options,
            self._target,
        )

    def training(self, request: RunRequest = ALL_OUTPUTS) -> TrainingPrograms:
        """Return the programs of a training step; those that run already have no model bytes."""
        programs = self._training.get(request)
        if programs is None:
            with timed("compile"):
                programs = self._training[request] = compile_training(
                    self._symbol,
                    self._shapes,
                    self._dtypes,
                    self._gradients,
                    f"{self._name} training",
                    () if request.metrics else None,
                    request.metrics,
                    self._options,
                    request.row_sparse,
                    self._target,
                    self._as_inference,
                    self._batch_axes,
                )
            self.builds["training"] += 1
        return programs

    @property
    def compiled(self) -> list[TrainingPrograms]:
        """The training programs that were compiled, one for each request."""
        return list(self._training.values())

    def runner(self, part: Part, request: RunRequest = ALL_OUTPUTS) -> Runner:
        """Return a new runner of one program, not bound yet."""
        name = f"{self._name} {part}"
        with timed("compile"):
            if part == "inference":
                return Runner(self.inference(request), self._context, name)
            return Runner(getattr(self.training(request), part), self._context, name)

    def whole_step(self, request: RunRequest) -> Program | None:
        """Compile the step of a whole batch, to look at it; None if it is split in two programs."""
        programs, axes = self._training.pop(request, None), self._batch_axes
        self._batch_axes = NO_BATCH
        try:
            return self.training(request).step
        finally:
            self._batch_axes = axes
            if programs is not None:
                self._training[request] = programs

    def release(self, part: Part, request: RunRequest = ALL_OUTPUTS) -> None:
        """Drop the model of a program whose runner is kept: compile it again to look at it."""
        forget_network(self._symbol)
        programs = self._training.get(request)
        if programs is not None and part != "inference":
            program: Program = getattr(programs, part)
            released: dict[str, Any] = {part: replace(program, model=b"", plan=None, values=())}
            self._training[request] = replace(programs, **released)
