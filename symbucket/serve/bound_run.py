"""Runs of one size in the memory of a lane: filled with requests, and cut into answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symbucket.export.spec import BATCH, KEY, NetworkSpec, TensorSpec
from symbucket.runtime import NDArray
from symbucket.runtime.serving_session import ServingSession
from symbucket.serve.batch import Cutter, check_served, fill
from symbucket.serve.route import Placed, required
from symbucket.types import Array

STATE = "state"
"""The kind of inputs and outputs that a session carries from request to request."""

Answer = dict[str, Array]
"""The outputs of one request, by name."""


class Ends:
    """The inputs and outputs of a network; raises ShapeError if its batches cannot be separated."""

    def __init__(self, network: NetworkSpec) -> None:
        served = check_served(network)
        self.network = network
        self.tensors: list[TensorSpec] = [*network.inputs, *network.outputs]
        self.cutters = [Cutter(spec, network) for spec in served if spec.kind != STATE]
        self.state_cutters = [Cutter(spec, network) for spec in served if spec.kind == STATE]
        counted = {spec.name for spec in required(network)}
        self.inputs = [(t.name, t.batch_axis, t.padding, t.name in counted) for t in network.inputs]

    def shapes(self, samples: int, length: int) -> list[tuple[int, ...]]:
        """Return the shapes of all tensors in a run of so many samples and steps."""
        return [self.network.shape_of(t, samples, length) for t in self.tensors]

    def sizes(self, samples: int, length: int) -> dict[str, int]:
        """Return the sizes of the axes that are free in such a run."""
        return {BATCH: samples, KEY: length} if KEY in self.network.free else {BATCH: samples}


class BoundRun:
    """What is the same in all runs of one size.

    Args:
        session: what runs.
        arrays: all its inputs and outputs by name.
        ends: those that are of requests.
        sizes: of the free axes, from ``ends.sizes``.
        on_host: whether the arrays lie in host memory, so that their views stay what they are.
    """

    def __init__(
        self,
        session: ServingSession,
        arrays: Mapping[str, NDArray],
        ends: Ends,
        sizes: Mapping[str, int],
        on_host: bool,
    ) -> None:
        self.binding = session.bind(arrays)
        """What all runs read and write."""
        self._session, self._sizes, self._on_host = session, sizes, on_host
        self._inputs = [(arrays[end[0]], *end) for end in ends.inputs]
        self._cutters, self._state_cutters = ends.cutters, ends.cutters + ends.state_cutters
        self._values: dict[str, Array] = {}
        self.positions = sum(arrays[name].size for name, _, _, counted in ends.inputs if counted)
        """Elements of the inputs that requests fill."""

    def fill(self, requests: Sequence[Placed]) -> int:
        """Write requests, and padding; returns how many elements they fill."""
        used = 0
        for buffer, name, axis, padding, counted in self._inputs:
            host = buffer.view()
            written = fill(host, axis, padding, [one.arrays.get(name) for one in requests])
            if not self._on_host:
                buffer[...] = host
            if counted:
                used += written
        return used

    def run(self, seconds: float | None) -> None:
        """Run once; after ``seconds`` it is broken off with DeadlineError."""
        self._session.run(self.binding, seconds)

    def answers(self, requests: Sequence[Placed], states: bool) -> list[Answer]:
        """Return the parts of each request, with ``states`` also the last states."""
        cutters = self._state_cutters if states else self._cutters
        sizes = [one.sizes for one in requests]
        parts = [(c.name, c.cut(self._expanded(c), sizes)) for c in cutters]
        return [{name: samples[row] for name, samples in parts} for row in range(len(requests))]

    def _expanded(self, cutter: Cutter) -> Array:
        values = self._values.get(cutter.name)
        if values is None:
            values = cutter.expand(self.binding.arrays[cutter.name].view(), self._sizes)
            if self._on_host:
                self._values[cutter.name] = values
        return values
