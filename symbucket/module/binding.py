"""State that a module has from ``bind`` on, and a checkpoint that waits for it."""

from __future__ import annotations

import abc
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from symbucket.checkpoint import (
    Params,
    parameters_digest,
    params_path,
    read_params,
    states_path,
)
from symbucket.checks import listing
from symbucket.engine.bound_network import BoundNetwork
from symbucket.engine.cut import runs_python
from symbucket.engine.executor_pool import ExecutorPool
from symbucket.engine.graph_metrics import MetricSums, metric_sums
from symbucket.engine.network_interface import BatchShapes, GradientRequest, Signature
from symbucket.engine.noise import NoiseClock
from symbucket.engine.ownership import Runs
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import CheckpointError, ParameterError, StateError
from symbucket.metric import EvalMetric
from symbucket.module.output_rows import OutputRows
from symbucket.optimizer import Updater
from symbucket.runtime.buffers import OUTPUTS
from symbucket.symbol import Symbol
from symbucket.types import Shape


@dataclass
class Binding(abc.ABC):
    """State that ``bind`` makes. Kinds of modules add to it.

    Attributes:
        request: which gradients are computed.
        store: the parameters.
        updater: the optimizer with its states; None before ``init_optimizer``.
    """

    request: GradientRequest
    store: ParameterStore
    updater: Updater | None

    @property
    @abc.abstractmethod
    def runs(self) -> Runs:
        """Which thread's results the last forward left."""

    @property
    @abc.abstractmethod
    def clocks(self) -> list[NoiseClock]:
        """What counts the runs, for random numbers."""

    def begin_run(self) -> None:
        """Announce a forward of this thread."""
        if self.runs.elsewhere:
            self._part_outputs()
        self.runs.begin()

    @abc.abstractmethod
    def _part_outputs(self) -> None:
        """Let outputs that another thread may still read stay as they are."""


@dataclass
class PooledBinding(Binding):
    """A binding whose executors share memory.

    Attributes:
        pool: the executors, and those of modules that share memory with it.
    """

    pool: ExecutorPool

    @property
    def runs(self) -> Runs:
        """Which thread's results the last forward of the pool left."""
        return self.pool.runs

    def _part_outputs(self) -> None:
        self.pool.buffers.renew(OUTPUTS)


@dataclass
class ModuleBinding(PooledBinding):
    """State of a Module from ``bind`` on.

    Attributes:
        network: the network over the parameters.
        shapes: of the last batch, or as bound.
        labelled: the last data and labels that came together.
        rows: where the rows of a batch lie in the outputs.
        sums: of the last forward and their values, if it computed a metric in place of outputs.
    """

    network: BoundNetwork
    shapes: BatchShapes
    labelled: BatchShapes
    sums: tuple[MetricSums, Mapping[str, float]] | None = None
    rows: OutputRows = field(init=False)
    _metric_sums: dict[tuple[EvalMetric, Signature], MetricSums | None] = field(
        default_factory=dict
    )
    _output_shapes: dict[Signature, dict[str, Shape]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = OutputRows(self.network.network)

    @property
    def clocks(self) -> list[NoiseClock]:
        """The clock of each context."""
        return self.network.contexts.clocks

    def use(self, shapes: BatchShapes) -> None:
        """Make these the current shapes."""
        self.shapes = shapes
        if shapes.labels:
            self.labelled = shapes

    def metric_sums(self, metric: EvalMetric, shapes: BatchShapes) -> MetricSums | None:
        """Return the sums that the network can compute for a metric, if it can."""
        key = metric, shapes.signature
        if key not in self._metric_sums:
            outputs = self._outputs(shapes)
            labels = {d.name: d.shape for d in shapes.labels}
            in_graph = not runs_python(self.network.network.symbol)
            self._metric_sums[key] = metric_sums(metric, outputs, labels) if in_graph else None
        return self._metric_sums[key]

    def _outputs(self, shapes: BatchShapes) -> dict[str, Shape]:
        """Shapes of outputs by name, inferred once; every ``fit`` comes with a new metric."""
        signature = shapes.signature
        if signature not in self._output_shapes:
            self._output_shapes[signature] = dict(self.network.network.output_shapes(shapes))
        return self._output_shapes[signature]


_AnyBinding = TypeVar("_AnyBinding", bound=Binding)


def require_bound(binding: _AnyBinding | None) -> _AnyBinding:
    """Return what ``bind`` made; raise StateError for a module that is not bound yet."""
    if binding is None:
        raise StateError("call bind(data_shapes, label_shapes) first")
    return binding


@dataclass
class PendingCheckpoint:
    """A checkpoint that was read before its module is bound.

    Attributes:
        path: the file of parameters, for messages.
        params: parameters and auxiliary states; None once they are set.
        states_path: the file of the optimizer's states; None if they are not wanted, or are set.
        digest: of the parameters, which the states must belong to.
        network: the digest of the network that they were saved with; None if the file says none.
    """

    path: str
    params: tuple[Params, Params] | None
    states_path: str | None
    digest: str
    network: str | None = None

    @staticmethod
    def read(prefix: str, epoch: int, with_states: bool) -> PendingCheckpoint:
        """Read the parameters of ``prefix-EPOCH``; the states are read when they are set."""
        path = params_path(prefix, epoch)
        loaded = read_params(path)
        params = loaded.args, loaded.aux
        states = states_path(prefix, epoch) if with_states else None
        return PendingCheckpoint(path, params, states, parameters_digest(*params), loaded.network)

    def fill(self, store: ParameterStore) -> None:
        """Set the parameters of a store that has no values yet.

        Raises CheckpointError if they are not those of the network.
        """
        if self.params is None:
            return
        try:
            if not store.filled:
                tell_casts(self.path, store, *self.params)
                store.initialize(None, *self.params, allow_missing=False, allow_extra=False)
        except ParameterError as error:
            raise CheckpointError(f"{self.path!r} does not fit the network: {error}") from error
        self.params = None

    def tell_network(self, symbol: Symbol) -> None:
        """Warn if the parameters, which fit, were saved with another network than is trained."""
        if self.network not in (None, symbol.digest()):
            logging.warning(
                "%s was saved with another network than the one that trains now: parameters have "
                "the same names and shapes, what is computed from them differs (or the default "
                "bucket key is another one)",
                self.path,
            )
        self.network = None

    def set_states(self, updater: Updater) -> None:
        """Set the optimizer's states."""
        if self.states_path is not None:
            updater.load(self.states_path, self.digest)
            self.states_path = None


def tell_casts(path: str, store: ParameterStore, args: Params, aux: Params) -> None:
    """Warn if parameters of a file have other dtypes than the network's."""
    casts = [
        f"{name} ({values.dtype} to {array.dtype})"
        for params, arrays in ((args, store.args), (aux, store.aux))
        for name, values in params.items()
        if (array := arrays.get(name)) is not None and array.dtype != values.dtype
    ]
    if casts:
        logging.warning("%s: other dtypes than the network has: %s", path, listing(casts))
